"""Steps on ZeroGPU, where a GPU is lent for some seconds at a time; anywhere else they simply run here."""

import os
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from components.jobs.work import Work, too_long
from eggs_core.errors import EggsError
from eggs_core.hub import hub_bytes
from eggs_core.models.source import BUNDLED
from eggs_core.progress import memory_errors

try:
    import spaces
except ImportError:  # only Spaces has it
    spaces = None


def gpu(seconds: Callable[..., float]) -> Callable[[Callable], Callable]:
    """A decorator that lends a GPU to a function for as long as `seconds` says of its arguments, on ZeroGPU."""
    return spaces.GPU(duration=seconds) if spaces else lambda function: function


@dataclass(frozen=True, slots=True)
class _Refused:
    """An EggsError on its way between processes: ZeroGPU would replace an exception by its class's name."""

    sentence: str


@gpu(lambda steps, args, seconds: seconds)
def _lent(steps: Callable[..., Iterator[Any]], args: tuple, seconds: float) -> Iterator[Any]:
    try:
        yield from steps(*args)
    except EggsError as error:
        yield _Refused(str(error))


def on_zero_gpu() -> bool:
    """Is this a Space to which GPUs are lent? There each lent one comes with a process of its own."""
    return spaces is not None and bool(os.environ.get("SPACES_ZERO_GPU"))


def lent_seconds(model: str) -> float:
    """For how long a GPU is asked for: a minute, and half a minute per GB of the model's files, five at most."""
    if not os.environ.get("SPACES_ZERO_GPU") or not model or model in BUNDLED:
        return 60
    return min(300, 60 + 30 * hub_bytes(model) / 1e9)


def on_gpu(steps: Callable[..., Iterator[Any]], args: tuple, model: str) -> Generator[Any, None, None]:
    """The values of `steps(*args)`, on ZeroGPU with a GPU lent for as long as the model needs; raises what they raise.

    There, the steps run in a process of their own: what they remember in memory is gone afterwards.
    """
    for value in _lent(steps, args, lent_seconds(model)):
        if isinstance(value, _Refused):
            raise EggsError(value.sentence)
        yield value


def in_this_process(work: Work, most: float | None, unwanted: Callable[[], bool]) -> Generator[Any, None, None]:
    """Do a work in the thread at hand, on ZeroGPU with a GPU lent to it; a step can be neither stopped nor outlived."""
    began, steps = time.monotonic(), on_gpu(work.steps, work.args, work.model)
    with closing(steps), memory_errors("This job"):
        for value in steps:
            yield value
            if most and time.monotonic() - began > most:
                raise too_long(most)
