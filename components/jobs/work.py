"""What the queue takes and what it tells: a piece of heavy work, a place to wait at, and an end of all interest."""

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Any


class Withdrawn(Exception):
    """Whoever watched the work has withdrawn."""


@dataclass(frozen=True, slots=True)
class Work:
    """A piece of heavy work: `steps(*args)` is a generator whose newest value is all that a page needs to draw.

    Works with equal keys are the same work. The last value is the result; `keep` stores it when the work is complete.
    On ZeroGPU the steps run in another process: steps, arguments and values are pickled, `keep` runs in this one.
    """

    key: Hashable
    steps: Callable[..., Iterator[Any]]
    args: tuple = ()
    model: str = ""
    keep: Callable[[Any], None] | None = None
    alone: bool = False  # it takes times, so nothing runs beside it
    lasting: bool = True  # it goes on when the pages that asked for it are closed
    expected: float | None = None  # seconds that it takes, where that is known
    kind: Hashable = None  # works of one kind take about equally long; by default those of equal steps and model

    @property
    def sort(self) -> Hashable:
        """What its duration is remembered by."""
        return self.kind or (self.steps, self.model)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A place among the works that wait, from 1, and the seconds until its turn as far as they can be told."""

    place: int
    seconds: float | None
