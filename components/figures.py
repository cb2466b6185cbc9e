"""Results drawn with plotly; no gradio here."""

import plotly.graph_objects as go

from components.chart import base_layout as _layout
from components.session import run_label
from components.text import MEASURES
from eggs_core.evaluate import paired_ratio
from eggs_core.runs import Run

# The same colour for the same method everywhere (Okabe and Ito's palette, safe for the colour-blind).
COLORS = {
    "Dense": "#8A8F98",
    "Magnitude": "#999999",
    "Wanda": "#E69F00",
    "RIA": "#56B4E9",
    "RIA + CP": "#0072B2",
    "SparseGPT": "#CC79A7",
    "EGGS-PTP": "#009E73",
    "EGGS-PTP + CP": "#44BB99",
    "EGGS-PTP+": "#D55E00",
}
SYMBOLS = ("circle", "square", "diamond", "cross", "x", "triangle-up", "star", "pentagon", "hexagon")
OTHER = "#B79F00"
BLOCK_PALETTE = "Viridis"


def color(label: str) -> str:
    """A method's colour."""
    return COLORS.get(label, OTHER)


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
            y=[layer[measure] for layer in layers],
            customdata=[layer["name"] for layer in layers],
            text=[form.format(layer[measure]) for layer in layers],
            name=projection,
            mode="lines+markers",
            marker={"symbol": SYMBOLS[i % len(SYMBOLS)], "size": 8, "color": hues[i % len(hues)]},
            line={"width": 1.5},
            hovertemplate="%{customdata}<br>" + name + " %{text}<extra></extra>",
        )
    figure.update_layout(
        _layout(xaxis={"title": "decoder block", "dtick": 1 if len(projections) and _blocks(run) <= 16 else 5},
                yaxis={"title": name, "rangemode": "normal"})
    )  # fmt: skip
    return figure


def _blocks(run: Run) -> int:
    return 1 + max((layer["block"] for layer in run.report["layers"]), default=0)


def gap_by_layer(runs: list[Run], measure: str = "spectral_gap") -> go.Figure:
    """One measure of every layer in model order, one line per method, with the band of random masks."""
    name, form = MEASURES[measure]
    figure = go.Figure()
    if not runs:
        return figure
    layers = runs[0].report["layers"]
    ticks = list(range(len(layers)))
    if measure == "spectral_gap":
        low = [layer["null_gap_mean"] - 2 * layer["null_gap_std"] for layer in layers]
        high = [layer["null_gap_mean"] + 2 * layer["null_gap_std"] for layer in layers]
        figure.add_scatter(x=ticks, y=high, mode="lines", line={"width": 0}, hoverinfo="skip", showlegend=False)
        figure.add_scatter(
            x=ticks, y=low, mode="lines", line={"width": 0}, fill="tonexty", fillcolor="rgba(138,143,152,0.35)",
            name="random masks, mean ± 2 sd", hoverinfo="skip",
        )  # fmt: skip
    for i, run in enumerate(runs):
        label = run_label(run)
        rows = run.report["layers"]
        figure.add_scatter(
            x=ticks,
            y=[layer[measure] for layer in rows],
            customdata=[layer["name"] for layer in rows],
            text=[form.format(layer[measure]) for layer in rows],
            mode="markers" if len(rows) < 80 else "lines",
            name=label,
            marker={"size": 9, "symbol": SYMBOLS[i % len(SYMBOLS)], "color": color(label)},
            line={"color": color(label), "width": 1.5},
            hovertemplate=f"{label}<br>%{{customdata}}<br>{name} %{{text}}<extra></extra>",
        )
    step = max(1, len(layers) // 42)
    figure.update_layout(
        _layout(
            xaxis={
                "title": "layer, in model order",
                "tickvals": ticks[::step],
                "ticktext": [f"{layer['block'] + 1}.{layer['projection'].split('.')[-1]}" for layer in layers][::step],
                "tickangle": -60,
            },
            yaxis={"title": name},
            legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "traceorder": "normal"},
        )
    )
    return figure


def perplexity_forest(runs: list[Run]) -> go.Figure:
    """Perplexity of each method over that of the dense model, with bootstrap 95 % intervals."""
    figure = go.Figure()
    for run in reversed(runs):
        evaluation, label = run.report["evaluation"], run_label(run)
        ratio = paired_ratio(evaluation["dense"]["window_nats"], evaluation["pruned"]["window_nats"])
        figure.add_scatter(
            x=[ratio.value], y=[label], mode="markers", name=label, showlegend=False,
            marker={"size": 11, "color": color(label)},
            error_x={"type": "data", "symmetric": False, "array": [ratio.high - ratio.value],
                     "arrayminus": [ratio.value - ratio.low], "thickness": 2, "width": 6},
            hovertemplate=f"{label}: × %{{x:.3f}} [{ratio.low:.3f}, {ratio.high:.3f}]<extra></extra>",
        )  # fmt: skip
    figure.add_vline(x=1, line={"dash": "dot", "color": COLORS["Dense"]}, annotation_text="dense")
    figure.update_layout(_layout(xaxis={"title": "perplexity ÷ dense perplexity, 95 % interval"}, yaxis={"title": ""}))
    return figure


def window_scatter(run: Run) -> go.Figure:
    """Loss of every evaluation window, dense against pruned."""
    evaluation, label = run.report["evaluation"], run_label(run)
    dense, pruned = evaluation["dense"]["window_nats"], evaluation["pruned"]["window_nats"]
    low, high = min(dense + pruned), max(dense + pruned)
    figure = go.Figure()
    figure.add_scatter(
        x=[low, high], y=[low, high], mode="lines", line={"dash": "dot", "color": COLORS["Dense"]},
        name="unchanged", hoverinfo="skip",
    )  # fmt: skip
    figure.add_scatter(
        x=dense, y=pruned, mode="markers", marker={"color": color(label), "size": 8, "opacity": 0.75}, name=label,
        customdata=list(range(1, len(dense) + 1)),
        hovertemplate="window %{customdata}<br>dense %{x:.3f}, pruned %{y:.3f} nats per token<extra></extra>",
    )  # fmt: skip
    figure.update_layout(
        _layout(xaxis={"title": "dense loss (nats per token)"}, yaxis={"title": "pruned loss (nats per token)"})
    )
    return figure


def degree_histogram(degrees: list[int], topn_degrees: list[int] | None, label: str) -> go.Figure:
    """How many weights each input keeps, under a method and, where that is known, top-N by the same score."""
    figure = go.Figure()
    for name, values, hue in (("top-N", topn_degrees, COLORS["Dense"]), (label, degrees, color(label))):
        if values is None:
            continue
        figure.add_histogram(
            x=values, name=name, opacity=0.65, marker={"color": hue}, nbinsx=40,
            hovertemplate=f"{name}: %{{y}} inputs keep %{{x}} weights<extra></extra>",
        )  # fmt: skip
    figure.update_layout(
        _layout(barmode="overlay", xaxis={"title": "weights kept per input channel"}, yaxis={"title": "input channels"})
    )
    return figure
