"""Figures of the Spectrum tab: gaps of all layers, singular values, the trade-off over β."""

import numpy as np
import plotly.graph_objects as go

from components.charts.colors import COLORS, SYMBOLS, color
from components.charts.layout import base_layout
from components.charts.whiskers import whiskers
from components.words.glossary import MEASURES, measure_of
from components.words.labels import run_label
from eggs_core.graph.spectrum import Density
from eggs_core.pruning.beta_curve import BetaCurve
from eggs_core.report_types import LayerEntry
from eggs_core.runs.run import Run


def gap_by_layer(runs: list[Run], measure: str = "spectral_gap") -> go.Figure:
    """One measure of every layer in model order, one line per method, with the band of random masks."""
    name, form = MEASURES[measure]
    figure = go.Figure()
    if not runs:
        return figure
    layers = runs[0].report["layers"]
    ticks = list(range(len(layers)))
    if measure == "spectral_gap":
        _add_random_band(figure, layers)
    for i, run in enumerate(runs):
        label = run_label(run)
        rows = run.report["layers"]
        figure.add_scatter(
            x=ticks,
            y=[measure_of(layer, measure) for layer in rows],
            customdata=[layer["name"] for layer in rows],
            text=[form.format(measure_of(layer, measure)) for layer in rows],
            mode="markers" if len(rows) < 80 else "lines",
            name=label,
            marker={"size": 9, "symbol": SYMBOLS[i % len(SYMBOLS)], "color": color(label)},
            line={"color": color(label), "width": 1.5},
            hovertemplate=f"{label}<br>%{{customdata}}<br>{name} %{{text}}<extra></extra>",
        )
    step = max(1, len(layers) // 42)
    figure.update_layout(
        base_layout(
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


def _add_random_band(figure: go.Figure, layers: list[LayerEntry]) -> None:
    """The gaps of random masks, mean ± 2 standard deviations."""
    ticks = list(range(len(layers)))
    low = [layer["null_gap_mean"] - 2 * layer["null_gap_std"] for layer in layers]
    high = [layer["null_gap_mean"] + 2 * layer["null_gap_std"] for layer in layers]
    figure.add_scatter(x=ticks, y=high, mode="lines", line={"width": 0}, hoverinfo="skip", showlegend=False)
    figure.add_scatter(
        x=ticks,
        y=low,
        mode="lines",
        line={"width": 0},
        fill="tonexty",
        fillcolor="rgba(138,143,152,0.35)",
        name="random masks, mean ± 2 sd",
        hoverinfo="skip",
    )


def density_figure(density: Density, random: Density | None, layer: LayerEntry, label: str) -> go.Figure:
    """The distribution of a layer's singular values, with σ₂, the Ramanujan edge and the band of random masks."""
    middles = (density.edges[1:] + density.edges[:-1]) / 2
    width = density.edges[1] - density.edges[0]
    figure = go.Figure()
    figure.add_bar(
        x=middles.tolist(),
        y=(density.shares / width).tolist(),
        width=width,
        name=label,
        marker={"color": color(label)},
        opacity=0.75,
        customdata=np.round(density.shares * min(layer["shape"]), 1).tolist(),
        hovertemplate="σ ≈ %{x:.2f}: %{customdata} values<extra></extra>",
    )
    if random is not None:
        figure.add_scatter(
            x=middles.tolist(),
            y=(random.shares / width).tolist(),
            name="a random mask",
            mode="lines",
            hoverinfo="skip",
            line={"color": COLORS["Dense"], "shape": "hvh"},
        )
    _add_marks(figure, layer, tall=float((density.shares / width).max()) * 1.08)
    figure.update_layout(
        base_layout(xaxis={"title": "singular value of Â", "range": [0, 1.02]}, yaxis={"title": "density"}, bargap=0)
    )
    return figure


def _add_marks(figure: go.Figure, layer: LayerEntry, tall: float) -> None:
    """σ₂, the Ramanujan edge and the band of random masks, up to a height."""
    mean, std = 1 - layer["null_gap_mean"], layer["null_gap_std"]
    figure.add_vrect(x0=mean - 2 * std, x1=mean + 2 * std, fillcolor="rgba(138,143,152,0.45)", line_width=0)
    for name, x, hue, dash in (
        ("σ₂", layer["sigma2"], "#D55E00", "solid"),
        ("Ramanujan edge", layer["sigma2"] + layer["ramanujan_margin"], "#CC79A7", "dash"),
    ):
        figure.add_scatter(
            x=[x, x],
            y=[0, tall],
            mode="lines",
            name=f"{name} = {x:.3f}",
            line={"color": hue, "dash": dash, "width": 2},
            hovertemplate=f"{name} = {x:.4f}<extra></extra>",
        )
    figure.add_scatter(
        x=[None],
        y=[None],
        mode="markers",
        name="σ₂ of random masks, ± 2 sd",
        marker={"symbol": "square", "size": 11, "color": "rgba(138,143,152,0.6)"},
    )


def beta_figures(curve: BetaCurve) -> list[go.Figure]:
    """Perplexity, spectral gap and retained score over β, a figure each."""
    points, betas = curve.points, [p.beta for p in curve.points]
    value = [p.perplexity for p in points]
    bars = whiskers(value, [p.low for p in points], [p.high for p in points], width=5)
    panels = (
        ("perplexity", [("perplexity", value, "#D55E00", "solid", bars, ".2f")]),
        (
            "spectral gap",
            [
                ("mean of all layers", [p.mean_gap for p in points], "#0072B2", "solid", None, ".4f"),
                ("smallest", [p.min_gap for p in points], "#56B4E9", "dot", None, ".4f"),
            ],
        ),
        ("retained score, %", [("mean", [100 * p.retained_score for p in points], "#009E73", "solid", None, ".3f")]),
    )
    figures = []
    for title, lines in panels:
        figure = go.Figure()
        for name, y, hue, dash, error, form in lines:
            figure.add_scatter(
                x=betas,
                y=y,
                name=name,
                mode="lines+markers",
                marker={"color": hue, "size": 8},
                error_y=error,
                line={"color": hue, "dash": dash},
                hovertemplate=f"β = %{{x}}: {name} %{{y:{form}}}<extra></extra>",
            )
        axis = {"title": "β", "range": [-0.05, 1.05], "dtick": 0.25}
        figure.update_layout(base_layout(xaxis=axis, yaxis={"title": title}, showlegend=len(lines) > 1))
        figures.append(figure)
    return figures
