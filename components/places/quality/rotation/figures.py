"""Importance kept before a rotation and after it, drawn with plotly."""

import plotly.graph_objects as go

from components.charts.colors import color
from components.charts.layout import base_layout
from components.charts.whiskers import GREY
from components.places.quality.rotation.view import Kept


def kept_chart(shares: list[Kept], label: str) -> go.Figure:
    """Two points for each projection, joined by a line."""
    figure = go.Figure()
    names = [share.projection for share in shares]
    for share in shares:
        figure.add_scatter(
            x=[100 * share.before, 100 * share.after],
            y=[share.projection] * 2,
            mode="lines",
            line={"color": GREY, "width": 2},
            hoverinfo="skip",
            showlegend=False,
        )
    for name, values, hue, symbol in (
        ("before", [100 * share.before for share in shares], GREY, "circle-open"),
        ("after", [100 * share.after for share in shares], color(label), "circle"),
    ):
        figure.add_scatter(
            x=values,
            y=names,
            name=f"{name} the rotation",
            mode="markers",
            marker={"size": 10, "color": hue, "symbol": symbol},
            customdata=[share.layers for share in shares],
            hovertemplate=f"%{{y}}, {name}: %{{x:.1f}} % kept<br>mean of %{{customdata}} layers<extra></extra>",
        )
    axes = {"xaxis": {"title": "importance kept (%)"}, "yaxis": {"autorange": "reversed", "type": "category"}}
    figure.update_layout(base_layout(**axes))
    return figure
