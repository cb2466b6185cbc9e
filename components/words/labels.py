"""What a run and its layers are called."""

from components.words.html import escape
from eggs_core.config import words_of
from eggs_core.report_types import LayerEntry, Report
from eggs_core.runs.run import Run

SEPARATOR = " · "  # between a method, or its choices, and a plan


def run_label(run: Run) -> str:
    """The method's name with its options, its plan's name and its stages; a custom combination is spelled out."""
    return label_of(run.report)


def short_name(layer: LayerEntry) -> str:
    """A layer by its block, counted from 1, and the last part of its name, for example Block 12 · v_proj."""
    return f"Block {layer['block'] + 1} · {layer['projection'].rpartition('.')[2]}"


def layer_name(layer: LayerEntry) -> str:
    """A layer's short name, and beside it what its module is called; HTML."""
    return f'<b>{escape(short_name(layer))}</b> <span class="module">({escape(layer["name"])})</span>'


def label_of(report: Report) -> str:
    """What `run_label` gives, of a report."""
    return words_of({**report["config"], "method": report["method"]})


def method_in(label: str) -> str:
    """The method's name in a label, which its plans and options share."""
    return label.split(SEPARATOR)[0].split(", ")[0]
