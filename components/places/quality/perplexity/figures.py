"""Perplexity of the methods with intervals, and window against window."""

import plotly.graph_objects as go

from components.charts.colors import COLORS, color, shades
from components.charts.layout import base_layout
from components.charts.whiskers import whiskers
from components.words.labels import run_label
from eggs_core.evaluation.intervals import paired_ratio
from eggs_core.runs.run import Run


def perplexity_forest(runs: list[Run]) -> go.Figure:
    """Perplexity of each method over that of the dense model, with bootstrap 95 % intervals."""
    figure, hues = go.Figure(), shades(map(run_label, runs))
    for run in reversed(runs):
        evaluation, label = run.report["evaluation"], run_label(run)
        ratio = paired_ratio(evaluation["dense"]["window_nats"], evaluation["pruned"]["window_nats"])
        figure.add_scatter(
            x=[ratio.value],
            y=[label],
            mode="markers",
            name=label,
            showlegend=False,
            marker={"size": 11, "color": hues[label]},
            error_x=whiskers([ratio.value], [ratio.low], [ratio.high], thickness=2, width=6),
            hovertemplate=f"{label}: × %{{x:.3f}} [{ratio.low:.3f}, {ratio.high:.3f}]<extra></extra>",
        )
    figure.add_vline(x=1, line={"dash": "dot", "color": COLORS["Dense"]}, annotation_text="dense")
    figure.update_layout(
        base_layout(xaxis={"title": "perplexity ÷ dense perplexity, 95 % interval"}, yaxis={"title": ""})
    )
    return figure


def window_scatter(run: Run) -> go.Figure:
    """Loss of every evaluation window, dense against pruned."""
    evaluation, label = run.report["evaluation"], run_label(run)
    dense, pruned = evaluation["dense"]["window_nats"], evaluation["pruned"]["window_nats"]
    low, high = min(dense + pruned), max(dense + pruned)
    figure = go.Figure()
    figure.add_scatter(
        x=[low, high],
        y=[low, high],
        mode="lines",
        line={"dash": "dot", "color": COLORS["Dense"]},
        name="unchanged",
        hoverinfo="skip",
    )
    figure.add_scatter(
        x=dense,
        y=pruned,
        mode="markers",
        marker={"color": color(label), "size": 8, "opacity": 0.75},
        name=label,
        customdata=list(range(1, len(dense) + 1)),
        hovertemplate="window %{customdata}<br>dense %{x:.3f}, pruned %{y:.3f} nats per token<extra></extra>",
    )
    figure.update_layout(
        base_layout(xaxis={"title": "dense loss (nats per token)"}, yaxis={"title": "pruned loss (nats per token)"})
    )
    return figure
