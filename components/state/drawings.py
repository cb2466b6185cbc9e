"""What was drawn before, so that thirty visitors who look at the same run have it drawn once; no gradio here."""

import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from typing import Any

import plotly.graph_objects as go

from eggs_core.runs.run import Run

MOST_BYTES = 32 << 20


class Drawings:
    """Values of a page's outputs by the runs that they show and a key, bounded in bytes; those used longest ago go.

    A run is told by its identity: one that was computed anew is drawn anew. Who asks for what is being drawn waits.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes, self._bytes = most_bytes, 0
        self._kept: OrderedDict[Hashable, tuple[list[weakref.ref], list, int]] = OrderedDict()
        self._drawing: dict[Hashable, threading.Lock] = {}
        self._lock = threading.Lock()

    def __call__(self, runs: Iterable[Run], key: Hashable, make: Callable[[], list]) -> list:
        """What `make` gave for these runs and this key the last time, or gives now; figures as JSON."""
        runs = list(runs)
        key = (key, *map(id, runs))
        if (found := self._find(key, runs)) is not None:
            return found
        with self._lock:
            drawing = self._drawing.setdefault(key, threading.Lock())
        with drawing:
            if (found := self._find(key, runs)) is not None:  # another thread was faster
                return found
            try:
                values = [value.to_json() if isinstance(value, go.Figure) else value for value in make()]
                self._keep(key, runs, values)
            finally:
                with self._lock:
                    self._drawing.pop(key, None)
        return [*values]

    def _find(self, key: Hashable, runs: list[Run]) -> list | None:
        with self._lock:
            if key not in self._kept:
                return None
            self._kept.move_to_end(key)
            references, values, _ = self._kept[key]
        # An identity is given away anew when a run is gone.
        return [*values] if all(r() is run for r, run in zip(references, runs, strict=True)) else None

    def _keep(self, key: Hashable, runs: list[Run], values: list) -> None:
        held = sum(map(_characters, values))
        with self._lock:
            if key in self._kept:
                self._bytes -= self._kept.pop(key)[2]
            self._kept[key] = ([weakref.ref(run) for run in runs], values, held)
            self._bytes += held
            while self._bytes > self._most_bytes:
                self._bytes -= self._kept.popitem(last=False)[1][2]


def _characters(value: Any) -> int:
    """About how many bytes a value takes; only texts and what holds them count."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(map(_characters, value.values()))
    return sum(map(_characters, value)) if isinstance(value, list | tuple) else 8


draw_once = Drawings()
