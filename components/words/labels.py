"""What a run is called."""

from eggs_core.registry import METHODS, stage_words
from eggs_core.report_types import LayerEntry, Report
from eggs_core.rules import plan_name
from eggs_core.runs.run import Run

SEPARATOR = " · "  # between a method, or its choices, and a plan


def run_label(run: Run) -> str:
    """The method's name, its plan's and what recovery read; a custom combination is spelled out."""
    return label_of(run.report)


def short_name(layer: LayerEntry) -> str:
    """A layer by its block, counted from 1, and the last part of its name, for example Block 12 · v_proj."""
    return f"Block {layer['block'] + 1} · {layer['projection'].rpartition('.')[2]}"


def label_of(report: Report) -> str:
    """What `run_label` gives, of a report."""
    config = report["config"]
    if report["method"] in METHODS:
        choices = [METHODS[report["method"]].label]
    else:
        named = (config["score"], config["selection"], config["permutation"], config["reconstruction"])
        choices = [choice for choice in named if choice != "none"]
    return SEPARATOR.join(filter(None, (*choices, plan_name(config.get("layers", ())), stage_words(config))))


def method_in(label: str) -> str:
    """The method's name in a label, which its plans share."""
    return label.split(SEPARATOR)[0]
