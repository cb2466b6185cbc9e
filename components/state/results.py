"""What was measured and computed of finished runs, by run and by the weights that it was made of; no gradio here.

A run's key is that of its configuration: it stays when the weights behind a model's name change. So whatever is kept of
a run is kept by `run_id`, and of a dense model by `model_id`; both hold the fingerprint of the weights.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

from eggs_core.models.source import BUNDLED
from eggs_core.runs.run import Run

MOST_SUBJECTS, MOST_VALUES = 256, 20
MOST_FIGURES = 512


class Results:
    """Values by subject, kind and name; what was used longest ago goes. Safe to share between threads."""

    def __init__(self, most_subjects: int = MOST_SUBJECTS, most_values: int = MOST_VALUES) -> None:
        self._most_subjects, self._most_values = most_subjects, most_values
        self._kept: OrderedDict[Hashable, dict[Hashable, Any]] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, subject: Hashable, kind: Hashable) -> dict[Hashable, Any]:
        """Everything of one kind that is kept of a subject, by name, the newest last."""
        with self._lock:
            if (subject, kind) in self._kept:
                self._kept.move_to_end((subject, kind))
            return dict(self._kept.get((subject, kind), {}))

    def keep(self, subject: Hashable, kind: Hashable, name: Hashable, value: Any) -> None:
        """Keep a value, in place of an older one of that name."""
        with self._lock:
            values = self._kept.setdefault((subject, kind), {})
            values.pop(name, None)
            values[name] = value
            while len(values) > self._most_values:
                del values[next(iter(values))]
            self._kept.move_to_end((subject, kind))
            while len(self._kept) > self._most_subjects:
                self._kept.popitem(last=False)


class Memory:
    """Small figures that are computed once for each key; those used longest ago go. Safe to share between threads."""

    def __init__(self, most: int = MOST_FIGURES) -> None:
        self._most = most
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """The value that `make` gave for a key the last time, or gives now."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        value = make()
        with self._lock:
            self._kept[key] = value
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return value


RESULTS = Results()
remember = Memory()


def run_id(run: Run) -> tuple[str, str]:
    """A run's key and its weights' fingerprint: another run of the configuration, on changed weights, has another."""
    return run.key, run.report.get("fingerprint") or run.report.get("begun", "")


def model_id(run: Run) -> tuple[str, str]:
    """The dense model behind a run: its name and its weights' fingerprint."""
    return run.report["model"], run.report.get("fingerprint") or ""


def on_same_weights(a: dict[str, Any], b: dict[str, Any]) -> bool:
    """Were two reports on a model of one name made of the same weights? Those that ship with the app do not change."""
    return a["model"] in BUNDLED or a.get("fingerprint") == b.get("fingerprint")
