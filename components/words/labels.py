"""What a run is called."""

from eggs_core.registry import METHODS
from eggs_core.report_types import Report
from eggs_core.runs.run import Run


def run_label(run: Run) -> str:
    """The method's name; a custom combination is spelled out."""
    return label_of(run.report)


def label_of(report: Report) -> str:
    """The method's name in a report; a custom combination is spelled out."""
    if report["method"] in METHODS:
        return METHODS[report["method"]].label
    config = report["config"]
    choices = (config["score"], config["selection"], config["permutation"], config["reconstruction"])
    return " · ".join(choice for choice in choices if choice != "none")
