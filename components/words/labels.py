"""What a run is called."""

from typing import Any

from eggs_core.registry import METHODS
from eggs_core.runs.run import Run


def run_label(run: Run) -> str:
    """The method's name; a custom combination is spelled out."""
    return label_of(run.report)


def label_of(report: dict[str, Any]) -> str:
    """The method's name in a report; a custom combination is spelled out."""
    if report["method"] in METHODS:
        return METHODS[report["method"]].label
    config = report["config"]
    return " · ".join(
        config[name] for name in ("score", "selection", "permutation", "reconstruction") if config[name] != "none"
    )
