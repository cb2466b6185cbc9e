"""How many weights each input channel keeps, as a histogram."""

import plotly.graph_objects as go

from components.charts.colors import COLORS, color
from components.charts.layout import base_layout as _layout


def degree_histogram(degrees: list[int], topn_degrees: list[int] | None, label: str) -> go.Figure:
    """How many weights each input keeps, under a method and, where that is known, top-N by the same score."""
    figure = go.Figure()
    for name, values, hue in (("top-N", topn_degrees, COLORS["Dense"]), (label, degrees, color(label))):
        if values is None:
            continue
        figure.add_histogram(
            x=values,
            name=name,
            opacity=0.65,
            marker={"color": hue},
            nbinsx=40,
            hovertemplate=f"{name}: %{{y}} inputs keep %{{x}} weights<extra></extra>",
        )
    figure.update_layout(
        _layout(barmode="overlay", xaxis={"title": "weights kept per input channel"}, yaxis={"title": "input channels"})
    )
    return figure
