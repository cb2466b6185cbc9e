"""How long work tells where it stands, and one sentence when memory does not suffice."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

from eggs_core.errors import OutOfMemory
from eggs_core.heavy import torch

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands: what it does now, the share done in 0..1, and the seconds left once they can be told."""

    text: str
    share: float
    seconds_left: float | None = None


def part_of(steps: Generator[Progress, None, T], first: float, last: float) -> Generator[Progress, None, T]:
    """The same steps as a part of longer work, between the shares `first` and `last`; returns what they return."""
    try:
        while True:
            step = next(steps)
            yield replace(step, share=first + (last - first) * step.share)
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        steps.close()


@contextmanager
def memory_errors(what: str) -> Iterator[None]:
    """Turn an out-of-memory error of any device into one sentence."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise OutOfMemory(f"{what} ran out of memory; choose a smaller model, fewer or shorter windows.") from error
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):
            raise
        raise OutOfMemory(f"{what} ran out of memory; choose a smaller model, fewer or shorter windows.") from error
