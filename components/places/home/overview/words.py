"""What the chart of layers shows, in one sentence."""

from components.words.glossary import MEASURES
from components.words.html import escape, reading


def measure_reading(layers: list[dict], key: str) -> str:
    """Where one measure is largest and smallest over the layers, in one sentence."""
    if not layers:
        return ""
    name, form = MEASURES[key]
    low, high = (f(layers, key=lambda layer: layer[key]) for f in (min, max))
    if low[key] == high[key]:
        return reading(f"The {escape(name)} is {form.format(low[key])} in every layer.", "orphans")
    return reading(
        f"The {escape(name)} runs from {form.format(low[key])} in <b>{escape(low['name'])}</b> to "
        f"{form.format(high[key])} in <b>{escape(high['name'])}</b>.",
        "orphans",
    )
