"""What the queue takes and what it tells: a piece of heavy work, a place to wait at, and an end of all interest."""

from collections.abc import Callable, Generator, Hashable, Iterator
from dataclasses import dataclass
from typing import Any

from eggs_core.errors import EggsError

NICENESS = 10  # of heavy work, so that clicks are answered first


def too_long(seconds: float) -> EggsError:
    """What is said of a work that took longer than so many seconds."""
    return EggsError(
        f"This took longer than {seconds / 60:.3g} minutes, the limit here, and was stopped; "
        "choose a smaller model or fewer windows."
    )


class Withdrawn(Exception):
    """Whoever watched the work has withdrawn."""


@dataclass(frozen=True, slots=True)
class Work:
    """A piece of heavy work: `steps(*args)` is a generator whose newest value is all that a page needs to draw.

    Works with equal keys are the same work. The last value is the result; `keep` stores it when the work is complete.
    The steps run in another process: steps, arguments and values are pickled. `keep` runs in this one, and `grow` where
    values hold only what is new: it makes of what pages have drawn (None at first) and a value what they draw next.
    """

    key: Hashable
    steps: Callable[..., Iterator[Any]]
    args: tuple = ()
    model: str = ""
    keep: Callable[[Any], None] | None = None
    grow: Callable[[Any, Any], Any] | None = None
    alone: bool = False  # it takes times, so nothing runs beside it
    lasting: bool = True  # it goes on when the pages that asked for it are closed
    expected: float | None = None  # seconds that it takes, where that is known
    kind: Hashable = None  # works of one kind take about equally long; by default those of equal steps and model

    def after(self, before: Any, value: Any) -> Any:
        """What pages draw once `value` has come."""
        return value if self.grow is None else self.grow(before, value)

    @property
    def sort(self) -> Hashable:
        """What its duration is remembered by."""
        return self.kind or (self.steps, self.model)


Run = Callable[[Work, float | None, Callable[[], bool]], Generator[Any, None, None]]
# Does a work until it took so many seconds or is unwanted; yields its values.


@dataclass(frozen=True, slots=True)
class Waiting:
    """A place among the works that wait, from 1, and the seconds until its turn as far as they can be told."""

    place: int
    seconds: float | None
