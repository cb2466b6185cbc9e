"""What the chart of layers shows, in one sentence."""

from components.words.glossary import MEASURES, measure_of
from components.words.html import escape, reading
from eggs_core.report_types import LayerEntry


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
