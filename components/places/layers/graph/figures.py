"""Figures of the graph: what sets of channels reach, and how a signal spreads."""

import plotly.graph_objects as go

from components.charts.colors import COLORS, color
from components.charts.layout import base_layout
from eggs_core.graph.expansion import CurvePoint, SpreadStep


def expansion_figure(points: list[CurvePoint], label: str, side: str) -> go.Figure:
    """|Γ(T)| ÷ |T| over sets of each size: random, lowest degrees, worst found, and what is certified."""
    figure = go.Figure()
    sizes = [p.size for p in points]
    lines = (
        ("random sets, mean", "random_mean", COLORS["Dense"], "circle", "solid"),
        ("lowest degrees", "lowest_degree", "#56B4E9", "square", "solid"),
        ("worst found", "worst_found", color(label), "diamond", "solid"),
        ("certificate", "certificate", "#CC79A7", "x", "dot"),
    )
    for name, key, hue, symbol, dash in lines:
        figure.add_scatter(
            x=sizes,
            y=[max(getattr(p, key), 1e-3) for p in points],
            name=name,
            mode="lines+markers",
            marker={"symbol": symbol, "size": 7, "color": hue},
            line={"dash": dash, "width": 1.8, "color": hue},
            hovertemplate=f"{name}: %{{y:.2f}} neighbours each at |T| = %{{x}}<extra></extra>",
        )
    axis = {"type": "log", "dtick": 1}
    figure.update_layout(base_layout(xaxis={"title": f"{side} in T", **axis}, yaxis={"title": "|Γ(T)| ÷ |T|", **axis}))
    return figure


def mixing_figure(rows: list[tuple[str, float, list[SpreadStep]]]) -> go.Figure:
    """How far a spreading signal is from even after each step, with the rate that σ₂ guarantees."""
    figure = go.Figure()
    for label, sigma2, steps in rows:
        hue = COLORS["Dense"] if label == "top-N" else color(label)
        count = list(range(len(steps)))
        start = steps[0].distance
        figure.add_scatter(
            x=count,
            y=[max(s.distance, 1e-9) for s in steps],
            name=label,
            mode="lines+markers",
            marker={"size": 8, "color": hue},
            line={"color": hue, "width": 1.8},
            hovertemplate=f"{label}, step %{{x}}: %{{y:.2g}}<extra></extra>",
        )
        figure.add_scatter(
            x=count,
            y=[max(start * sigma2**k, 1e-9) for k in count],
            name=f"{label}: bound σ₂ᵗ",
            mode="lines",
            line={"color": hue, "width": 1.2, "dash": "dot"},
            hoverinfo="skip",
        )
    figure.update_layout(
        base_layout(
            xaxis={"title": "steps (in → out → in …)", "dtick": 1},
            yaxis={"title": "distance from even, L²", "type": "log", "exponentformat": "power"},
        )
    )
    return figure
