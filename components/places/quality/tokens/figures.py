"""Which kinds of tokens suffer, drawn with plotly."""

import plotly.graph_objects as go

from components.charts.layout import base_layout
from eggs_core.evaluation.tokens import TOKEN_KINDS, TokenChange, mean_changes

HARDER, EASIER = "#D55E00", "#0072B2"


def kind_bars(changes: list[TokenChange]) -> go.Figure:
    """Mean rise of the loss by kind of token."""
    means = mean_changes(changes)
    figure = go.Figure()
    figure.add_bar(
        x=[value for value, _ in means.values()],
        y=[f"{kind} ({count})" for kind, (_, count) in means.items()],
        orientation="h",
        marker={"color": [HARDER if value > 0 else EASIER for value, _ in means.values()]},
        customdata=[[TOKEN_KINDS[kind], count] for kind, (_, count) in means.items()],
        showlegend=False,
        hovertemplate="%{customdata[0]}: %{x:+.3f} nats on average over %{customdata[1]} tokens<extra></extra>",
    )
    figure.update_layout(
        base_layout(xaxis={"title": "mean rise of the loss (nats per token)"}, yaxis={"autorange": "reversed"})
    )
    return figure
