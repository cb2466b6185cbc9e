"""Perplexity against the size of groups; no gradio here."""

from collections.abc import Sequence

import plotly.graph_objects as go

from components.charts.colors import COLORS, color
from components.charts.layout import base_layout
from components.charts.whiskers import whiskers
from eggs_core.evaluation.structure import Curve
from eggs_core.pattern import NMPattern
from eggs_core.registry import METHODS

WHOLE = "whole row"


def size_words(pattern: str) -> str:
    """How many weights a pattern chooses among, as the axis says it."""
    found = NMPattern.parse(pattern)
    return f"{WHOLE}<br>{pattern}" if found.unstructured else f"M = {found.group}<br>{pattern}"


def structure_figure(curves: Sequence[Curve]) -> go.Figure:
    """A line for each method, with the interval of each step's ratio to the first, and the dense model as a line."""
    figure = go.Figure()
    sizes = list(dict.fromkeys(size_words(step.pattern) for curve in curves for step in curve.steps))
    for curve in curves:
        label, first = METHODS[curve.method].label, curve.steps[0].perplexity
        values = [first * step.ratio.value for step in curve.steps]
        figure.add_scatter(
            x=[size_words(step.pattern) for step in curve.steps],
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
        x=sizes,
        y=[curves[0].dense] * len(sizes),
        name="dense",
        mode="lines",
        line={"color": COLORS["Dense"], "width": 1.5, "dash": "dash"},
        hovertemplate="dense<br>perplexity %{y:.2f}<extra></extra>",
    )
    figure.update_layout(
        base_layout(
            xaxis={"title": "the best half of each group of M weights", "type": "category"},
            yaxis={"title": "perplexity", "rangemode": "normal"},
        )
    )
    return figure
