"""Accuracy of the dense and the pruned model on each task."""

import plotly.graph_objects as go

from components.charts.colors import COLORS, color
from components.charts.layout import base_layout
from eggs_core.evaluation.zeroshot import TaskScore


def task_chart(pairs: list[tuple[TaskScore, TaskScore]], label: str) -> go.Figure:
    """Accuracy (normalised where the task has it) on every task with its standard error, dense and pruned."""
    figure = go.Figure()
    names = [f"{dense.task} ({dense.items})" for dense, _ in pairs]
    for side, name, hue in ((0, "dense", COLORS["Dense"]), (1, label, color(label))):
        scores = [pair[side] for pair in pairs]
        best = [
            (s.acc, s.acc_stderr)
            if s.acc_norm is None or s.acc_norm_stderr is None
            else (s.acc_norm, s.acc_norm_stderr)
            for s in scores
        ]
        figure.add_bar(
            y=names,
            x=[100 * value for value, _ in best],
            orientation="h",
            name=name,
            marker={"color": hue},
            error_x={"type": "data", "array": [100 * error for _, error in best], "thickness": 1.5, "color": "#808895"},
            hovertemplate=f"{name}: %{{x:.1f}} %<extra>%{{y}}</extra>",
        )
    figure.add_scatter(
        y=names,
        x=[100 * dense.chance for dense, _ in pairs],
        mode="markers",
        name="guessing",
        marker={"symbol": "line-ns-open", "size": 44, "color": "#0072B2", "line": {"width": 3}},
        hovertemplate="guessing: %{x:.0f} %<extra></extra>",
    )
    figure.update_layout(
        base_layout(
            barmode="group",
            xaxis={"title": "accuracy ± standard error (%)", "range": [0, 100]},
            yaxis={"autorange": "reversed"},
        )
    )
    return figure
