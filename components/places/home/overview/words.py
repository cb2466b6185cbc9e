"""What the chart of layers shows, and what stands in the cards' place until a run is finished, in sentences."""

from components.words.glossary import MEASURES, measure_of
from components.words.html import escape, reading
from components.words.phrases import plural
from eggs_core.report_types import LayerEntry


def unfinished_card(layers: int, growing: bool) -> str:
    """That a run is under way, or that it was ended after so many layers."""
    text = (
        "Pruning… the layers appear below as they are finished."
        if growing
        else f"Ended after {plural(layers, 'layer')}, which stay below. Perplexity, size and speed belong to a finished"
        " run: press Prune for one."
    )
    return f'<div class="cards"><div class="card waiting">{text}</div></div>'


def measure_reading(layers: list[LayerEntry], key: str) -> str:
    """Where one measure is largest and smallest over the layers, in one sentence."""
    if not layers:
        return ""
    name, form = MEASURES[key]
    low, high = (f(layers, key=lambda layer: measure_of(layer, key)) for f in (min, max))
    least, most = measure_of(low, key), measure_of(high, key)
    if least == most:
        return reading(f"The {escape(name)} is {form.format(least)} in every layer.", "orphans")
    return reading(
        f"The {escape(name)} runs from {form.format(least)} in <b>{escape(low['name'])}</b> to "
        f"{form.format(most)} in <b>{escape(high['name'])}</b>.",
        "orphans",
    )
