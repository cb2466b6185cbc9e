"""What is said of the experts of a block when they are drawn as one."""

from collections.abc import Sequence

from components.words.glossary import MEASURES, measure_of
from components.words.html import hint
from components.words.phrases import plural
from eggs_core.models.experts import expert_of
from eggs_core.report_types import LayerEntry
from eggs_core.runs.layer_rows import Cell

MEANS = "A * stands for all experts of a block: they are drawn as one, by their mean; Masks shows each of them."


def means_hint(layers: Sequence[LayerEntry], bars: bool = False) -> str:
    """What a figure says that draws experts by their mean, perhaps with bars; empty for a model without experts."""
    text = MEANS + (" Thin bars reach from the lowest expert to the highest." if bars else "")
    return hint(text) if any(expert_of(layer["projection"]) for layer in layers) else ""


def mean_text(cell: Cell, key: str) -> str:
    """A measure of one layer, or its mean over experts; a mean of whole numbers has a digit more."""
    form = MEASURES[key][1]
    return (form.replace(".0f", ".1f") if cell.numbers else form).format(cell.mean(lambda x: measure_of(x, key)))


def spread_text(cell: Cell, key: str) -> str:
    """Over how many experts a mean was taken, and between which values; empty for one layer."""
    if not cell.numbers:
        return ""
    form = MEASURES[key][1]
    low, high = cell.extremes(lambda layer: measure_of(layer, key))
    ends = [f"{form.format(measure_of(cell.layers[i], key))} (expert {cell.numbers[i]})" for i in (low, high)]
    return f"mean of {plural(len(cell.numbers), 'expert')}, lowest {ends[0]}, highest {ends[1]}"


def expert_text(cell: Cell, key: str) -> str:
    """Both in one line."""
    spread = spread_text(cell, key)
    return f"{mean_text(cell, key)}, {spread}" if spread else mean_text(cell, key)
