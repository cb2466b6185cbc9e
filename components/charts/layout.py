"""What all plotly figures share."""

from typing import Any


def base_layout(**options: Any) -> dict[str, Any]:
    """A layout with tight margins and the legend above the plot; options override it."""
    defaults = {
        "margin": {"l": 8, "r": 8, "t": 8, "b": 8},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "traceorder": "normal"},
        "hovermode": "closest",
    }
    return {**defaults, **options}
