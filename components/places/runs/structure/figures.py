"""Perplexity against the size of groups; no gradio here."""

from collections.abc import Sequence

import plotly.graph_objects as go

from components.charts.colors import COLORS, color
from components.charts.layout import base_layout
from components.charts.whiskers import whiskers
from eggs_core.evaluation.structure import Curve
from eggs_core.registry import METHODS


def structure_figure(curves: Sequence[Curve]) -> go.Figure:
    """A line for each method, with the interval of each step's ratio to the first, and the dense model as a line."""
    figure = go.Figure()
    patterns = list(dict.fromkeys(step.pattern for curve in curves for step in curve.steps))
    for curve in curves:
        label, first = METHODS[curve.method].label, curve.steps[0].perplexity
        values = [first * step.ratio.value for step in curve.steps]
        figure.add_scatter(
            x=[step.pattern for step in curve.steps],
            y=values,
            name=label,
            mode="lines+markers",
            line={"color": color(label), "width": 2},
            marker={"size": 9},
            error_y=whiskers(
                values,
                [first * step.ratio.low for step in curve.steps],
                [first * step.ratio.high for step in curve.steps],
                width=4,
            ),
            customdata=[[s.ratio.value, s.ratio.low, s.ratio.high, len(s.perplexities)] for s in curve.steps],
            hovertemplate=f"{label}, %{{x}}<br>perplexity %{{y:.2f}}<br>× %{{customdata[0]:.3f}} of "
            f"{curve.steps[0].pattern} [%{{customdata[1]:.3f}}, %{{customdata[2]:.3f}}]"
            "<br>seeds: %{customdata[3]}<extra></extra>",
        )
    figure.add_scatter(
        x=patterns,
        y=[curves[0].dense] * len(patterns),
        name="dense",
        mode="lines",
        line={"color": COLORS["Dense"], "width": 1.5, "dash": "dash"},
        hovertemplate="dense<br>perplexity %{y:.2f}<extra></extra>",
    )
    figure.update_layout(
        base_layout(
            xaxis={"title": "pattern (50%: of whole rows)", "type": "category", "tickangle": 0},
            yaxis={"title": "perplexity", "rangemode": "normal"},
        )
    )
    return figure
