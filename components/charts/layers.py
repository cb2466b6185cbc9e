"""A measure of every layer, by block and projection."""

from typing import Any

import plotly.graph_objects as go

from components.charts.colors import COLORS, SYMBOLS
from components.charts.layout import base_layout
from components.charts.whiskers import whiskers
from components.words.experts import expert_text
from components.words.glossary import MEASURES, measure_of
from eggs_core.runs.layer_rows import Cell, cells_of, has_experts
from eggs_core.runs.run import Run


def layer_chart(run: Run, measure: str) -> go.Figure:
    """One measure of every layer, one line per projection over the blocks; of a block's experts mean and extremes."""
    name, _ = MEASURES[measure]
    figure = go.Figure()
    rows: dict[str, list[Cell]] = {}
    for cell in cells_of(run.report["layers"]):
        rows.setdefault(cell.row, []).append(cell)
    hues = list(COLORS.values())[2:]
    for i, (projection, cells) in enumerate(rows.items()):
        hue = hues[i % len(hues)]
        figure.add_scatter(
            x=[cell.block + 1 for cell in cells],
            y=[cell.mean(lambda layer: measure_of(layer, measure)) for cell in cells],
            customdata=[cell.name for cell in cells],
            text=[expert_text(cell, measure) for cell in cells],
            name=projection,
            mode="lines+markers",
            marker={"symbol": SYMBOLS[i % len(SYMBOLS)], "size": 8, "color": hue},
            line={"width": 1.5},
            error_y=_extremes(cells, measure) if has_experts(cells) else None,
            hovertemplate="%{customdata}<br>" + name + " %{text}<extra></extra>",
        )
    figure.update_layout(
        base_layout(
            xaxis={"title": "decoder block", "dtick": 1 if rows and _blocks(run) <= 16 else 5},
            yaxis={"title": name, "rangemode": "normal"},
        )
    )
    return figure


def _extremes(cells: list[Cell], measure: str) -> dict[str, Any]:
    """Whiskers from the lowest to the highest of a block's experts, thin enough to stay behind the line of means."""
    values = [[measure_of(layer, measure) for layer in cell.layers] for cell in cells]
    means = [sum(own) / len(own) for own in values]
    low, high = ([f(own) for own in values] for f in (min, max))
    return whiskers(means, low, high, thickness=1, width=2)


def _blocks(run: Run) -> int:
    return 1 + max((layer["block"] for layer in run.report["layers"]), default=0)
