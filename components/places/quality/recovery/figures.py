"""What recovery learns, as a curve."""

from collections.abc import Sequence

import plotly.graph_objects as go

from components.charts.colors import color
from components.charts.layout import base_layout
from eggs_core.pruning.recovery import RecoveryPoint


def recovery_curve(points: Sequence[RecoveryPoint], label: str) -> go.Figure:
    """Divergence from the dense model on held-out text, by tokens read; the best point, which is kept, is marked."""
    figure, best = go.Figure(), min(points, key=lambda point: point.loss)
    figure.add_scatter(
        x=[point.tokens for point in points],
        y=[point.loss for point in points],
        mode="lines+markers",
        name=label,
        line={"color": color(label)},
        hovertemplate="%{x:,} tokens: %{y:.4f} nats<extra></extra>",
    )
    figure.add_scatter(
        x=[best.tokens],
        y=[best.loss],
        mode="markers",
        name="best, kept",
        marker={"symbol": "star", "size": 14, "color": color(label)},
        hovertemplate="best: %{y:.4f} nats<extra></extra>",
    )
    figure.update_layout(
        base_layout(
            xaxis={"title": "tokens read", "rangemode": "tozero"},
            yaxis={"title": "divergence from dense (nats per token)", "rangemode": "tozero"},
        )
    )
    return figure
