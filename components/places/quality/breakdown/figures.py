"""The error that grows from block to block, and what each part costs alone, drawn with plotly."""

import plotly.graph_objects as go

from components.charts.colors import COLORS, color
from components.charts.layout import base_layout
from components.charts.whiskers import GREY, whiskers
from eggs_core.evaluation.by_part import BlockDrift, PartCost


def drift_chart(drifts: list[BlockDrift], label: str) -> go.Figure:
    """Relative error and cosine of the hidden states behind each block."""
    figure = go.Figure()
    places = [d.block + 1 for d in drifts]
    for name, values, symbol, hue in (
        ("relative error", [d.error for d in drifts], "circle", color(label)),
        ("1 − cosine", [1 - d.cosine for d in drifts], "diamond", COLORS["RIA + CP"]),
    ):
        figure.add_scatter(
            x=places,
            y=values,
            name=name,
            mode="lines+markers",
            marker={"symbol": symbol, "size": 8, "color": hue},
            hovertemplate=f"behind block %{{x}}: {name} %{{y:.3f}}<extra></extra>",
        )
    figure.update_layout(
        base_layout(
            xaxis={"title": "decoder block", "dtick": 1 if len(drifts) <= 16 else 5},
            yaxis={"title": "difference from the dense model", "rangemode": "tozero"},
        )
    )
    return figure


def cost_chart(parts: list[PartCost], label: str) -> go.Figure:
    """Rise of perplexity when one part alone is pruned, with intervals."""

    def percent(ratio: float) -> float:
        return 100 * (ratio - 1)

    middle = [percent(p.ratio.value) for p in parts]
    figure = go.Figure()
    figure.add_bar(
        x=middle,
        y=[p.name for p in parts],
        orientation="h",
        marker={"color": color(label)},
        showlegend=False,
        error_x=whiskers(
            middle, [percent(p.ratio.low) for p in parts], [percent(p.ratio.high) for p in parts], color=GREY
        ),
        customdata=[[p.layers, 100 * p.share] for p in parts],
        hovertemplate="%{y} alone: %{x:+.2f} %<br>%{customdata[0]} layers, %{customdata[1]:.0f} % of the weights"
        "<extra></extra>",
    )
    figure.update_layout(
        base_layout(
            xaxis={"title": "rise of perplexity (%)"},
            yaxis={"autorange": "reversed", "type": "category"},
        )
    )
    return figure
