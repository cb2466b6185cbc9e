"""What was measured and computed of finished runs, by run and by the weights that it was made of; no gradio here.

A run's key is that of its configuration: it stays when the weights behind a model's name change. So whatever is kept of
a run is kept by `run_id`, and of a dense model by `model_id`; both hold the fingerprint of the weights.
"""

from collections.abc import Hashable
from typing import Any, NotRequired, TypedDict

from eggs_core.cache import Bounded
from eggs_core.models.source import BUNDLED
from eggs_core.runs.measurement import Measurement, measure_key
from eggs_core.runs.run import Run

MOST_SUBJECTS, MOST_VALUES = 256, 20
MOST_FIGURES = 512


class Weights(TypedDict):
    """What of a report, or of a part of one, tells the weights behind it."""

    model: str
    fingerprint: NotRequired[str]


class Results:
    """Values by subject, kind and name; what was used longest ago goes. Safe to share between threads."""

    def __init__(self, most_subjects: int = MOST_SUBJECTS, most_values: int = MOST_VALUES) -> None:
        self._most_values = most_values
        self._kept: Bounded[tuple[Hashable, Hashable], Bounded[Hashable, Any]] = Bounded(most_subjects)

    def of(self, subject: Hashable, kind: Hashable) -> dict[Hashable, Any]:
        """Everything of one kind that is kept of a subject, by name, the newest last."""
        found = self._kept.get((subject, kind))
        return {} if found is None else found.items()

    def keep(self, subject: Hashable, kind: Hashable, name: Hashable, value: Any) -> None:
        """Keep a value, in place of an older one of that name."""
        self._kept.get_or_make((subject, kind), lambda: Bounded(self._most_values)).put(name, value)


RESULTS = Results()
SPEED = "speed"  # the kind of what was measured of a model's shapes and patterns
FIGURES: Bounded[Hashable, Any] = Bounded(MOST_FIGURES)  # small ones
remember = FIGURES.get_or_make  # a figure that is computed once for each key


def run_id(run: Run) -> tuple[str, str]:
    """A run's key and its weights' fingerprint: another run of the configuration, on changed weights, has another."""
    return run.key, run.report.get("fingerprint") or str(run.report.get("begun", ""))


def model_id(run: Run) -> tuple[str, str]:
    """The dense model behind a run: its name and its weights' fingerprint."""
    return run.report["model"], run.report.get("fingerprint") or ""


def on_same_weights(a: Weights, b: Weights) -> bool:
    """Were two reports on a model of one name made of the same weights? Those that ship with the app do not change."""
    return a["model"] in BUNDLED or a.get("fingerprint") == b.get("fingerprint")


def speed_here(run: Run) -> Measurement | None:
    """What was measured on this machine for runs with these weights, pattern and orders; None before."""
    return RESULTS.of(model_id(run), SPEED).get(measure_key(run))
