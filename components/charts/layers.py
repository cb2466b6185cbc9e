"""A measure of every layer, by block and projection."""

import plotly.graph_objects as go

from components.charts.colors import COLORS, SYMBOLS
from components.charts.layout import base_layout
from components.words.glossary import MEASURES, measure_of
from eggs_core.runs.run import Run


def layer_chart(run: Run, measure: str) -> go.Figure:
    """One measure of every layer, one line per projection over the blocks."""
    name, form = MEASURES[measure]
    figure = go.Figure()
    projections = list(dict.fromkeys(layer["projection"] for layer in run.report["layers"]))
    hues = list(COLORS.values())[2:]
    for i, projection in enumerate(projections):
        layers = [layer for layer in run.report["layers"] if layer["projection"] == projection]
        figure.add_scatter(
            x=[layer["block"] + 1 for layer in layers],
            y=[measure_of(layer, measure) for layer in layers],
            customdata=[layer["name"] for layer in layers],
            text=[form.format(measure_of(layer, measure)) for layer in layers],
            name=projection,
            mode="lines+markers",
            marker={"symbol": SYMBOLS[i % len(SYMBOLS)], "size": 8, "color": hues[i % len(hues)]},
            line={"width": 1.5},
            hovertemplate="%{customdata}<br>" + name + " %{text}<extra></extra>",
        )
    figure.update_layout(
        base_layout(
            xaxis={"title": "decoder block", "dtick": 1 if len(projections) and _blocks(run) <= 16 else 5},
            yaxis={"title": name, "rangemode": "normal"},
        )
    )
    return figure


def _blocks(run: Run) -> int:
    return 1 + max((layer["block"] for layer in run.report["layers"]), default=0)
