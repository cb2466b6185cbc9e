"""What was drawn before, so that thirty visitors who look at the same run have it drawn once; no gradio here."""

import weakref
from collections.abc import Callable, Collection, Hashable, Iterable
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from eggs_core.cache import Bounded
from eggs_core.runs.run import Run

MOST_BYTES = 32 << 20


@dataclass(frozen=True, slots=True)
class Drawing:
    """Values of a page's outputs, figures as JSON, and about how many bytes they take."""

    values: list
    nbytes: int


class Drawings:
    """Values of a page's outputs by the runs that they show and a key, bounded in bytes; those used longest ago go.

    A run is told by its identity: one that was computed anew is drawn anew, and drawings of runs that are gone go too.
    Who asks for what is being drawn waits.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._kept: Bounded[tuple[Hashable, ...], Drawing] = Bounded(most_bytes, _bytes)

    def __call__(self, runs: Iterable[Run], key: Hashable, make: Callable[[], list]) -> list:
        """What `make` gave for these runs and this key the last time, or gives now; figures as JSON."""

        def draw() -> Drawing:
            self._kept.forget(_of_gone_runs)
            return _drawn(make())

        return [*self._kept.get_or_make((key, *map(weakref.ref, runs)), draw).values]


def _of_gone_runs(key: tuple[Hashable, ...]) -> bool:
    return any(run() is None for run in key[1:] if isinstance(run, weakref.ref))


def _drawn(values: list) -> Drawing:
    found = [value.to_json() if isinstance(value, go.Figure) else value for value in values]
    return Drawing(found, sum(map(_characters, found)))


def _bytes(drawings: Collection[Drawing]) -> int:
    return sum(drawing.nbytes for drawing in drawings)


def _characters(value: Any) -> int:
    """About how many bytes a value takes; only texts and what holds them count."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(map(_characters, value.values()))
    return sum(map(_characters, value)) if isinstance(value, list | tuple) else 8


draw_once = Drawings()
