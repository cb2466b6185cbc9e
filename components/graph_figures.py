"""Figures of graphs and spectra, drawn with plotly; no gradio here."""

import numpy as np
import plotly.graph_objects as go

from components.chart import base_layout
from components.figures import COLORS, color
from eggs_core.beta_curve import BetaCurve
from eggs_core.expansion import CurvePoint, SpreadStep
from eggs_core.spectral import Density


def expansion_figure(points: list[CurvePoint], label: str, side: str) -> go.Figure:
    """|Γ(T)| ÷ |T| over sets of each size: random, lowest degrees, worst found, and what is certified."""
    figure = go.Figure()
    sizes = [p.size for p in points]
    lines = (
        ("random sets, mean", "random_mean", COLORS["Dense"], "circle", "solid"),
        ("lowest degrees", "lowest_degree", "#56B4E9", "square", "solid"),
        ("worst found", "worst_found", color(label), "diamond", "solid"),
        ("certificate", "certificate", "#CC79A7", "x", "dot"),
    )
    for name, key, hue, symbol, dash in lines:
        figure.add_scatter(
            x=sizes, y=[max(getattr(p, key), 1e-3) for p in points], name=name, mode="lines+markers",
            marker={"symbol": symbol, "size": 7, "color": hue}, line={"dash": dash, "width": 1.8, "color": hue},
            hovertemplate=f"{name}: %{{y:.2f}} neighbours each at |T| = %{{x}}<extra></extra>",
        )  # fmt: skip
    axis = {"type": "log", "dtick": 1}
    figure.update_layout(base_layout(xaxis={"title": f"{side} in T", **axis}, yaxis={"title": "|Γ(T)| ÷ |T|", **axis}))
    return figure


def mixing_figure(rows: list[tuple[str, float, list[SpreadStep]]]) -> go.Figure:
    """How far a spreading signal is from even after each step, with the rate that σ₂ guarantees."""
    figure = go.Figure()
    for label, sigma2, steps in rows:
        hue = COLORS["Dense"] if label == "top-N" else color(label)
        count = list(range(len(steps)))
        start = steps[0].distance
        figure.add_scatter(
            x=count, y=[max(s.distance, 1e-9) for s in steps], name=label, mode="lines+markers",
            marker={"size": 8, "color": hue}, line={"color": hue, "width": 1.8},
            hovertemplate=f"{label}, step %{{x}}: %{{y:.2g}}<extra></extra>",
        )  # fmt: skip
        figure.add_scatter(
            x=count, y=[max(start * sigma2**k, 1e-9) for k in count], name=f"{label}: bound σ₂ᵗ", mode="lines",
            line={"color": hue, "width": 1.2, "dash": "dot"}, hoverinfo="skip",
        )  # fmt: skip
    figure.update_layout(
        base_layout(
            xaxis={"title": "steps (in → out → in …)", "dtick": 1},
            yaxis={"title": "distance from even, L²", "type": "log", "exponentformat": "power"},
        )
    )
    return figure


def density_figure(density: Density, random: Density | None, layer: dict, label: str) -> go.Figure:
    """The distribution of a layer's singular values, with σ₂, the Ramanujan edge and the band of random masks."""
    middles = (density.edges[1:] + density.edges[:-1]) / 2
    width = density.edges[1] - density.edges[0]
    figure = go.Figure()
    figure.add_bar(
        x=middles.tolist(), y=(density.shares / width).tolist(), width=width, name=label,
        marker={"color": color(label)}, opacity=0.75,
        customdata=np.round(density.shares * min(layer["shape"]), 1).tolist(),
        hovertemplate="σ ≈ %{x:.2f}: %{customdata} values<extra></extra>",
    )  # fmt: skip
    if random is not None:
        figure.add_scatter(
            x=middles.tolist(), y=(random.shares / width).tolist(), name="a random mask",
            mode="lines", hoverinfo="skip",
            line={"color": COLORS["Dense"], "shape": "hvh"},
        )  # fmt: skip
    mean, std = 1 - layer["null_gap_mean"], layer["null_gap_std"]
    figure.add_vrect(x0=mean - 2 * std, x1=mean + 2 * std, fillcolor="rgba(138,143,152,0.45)", line_width=0)
    tall = float((density.shares / width).max()) * 1.08
    for name, x, hue, dash in (
        ("σ₂", layer["sigma2"], "#D55E00", "solid"),
        ("Ramanujan edge", layer["sigma2"] + layer["ramanujan_margin"], "#CC79A7", "dash"),
    ):
        figure.add_scatter(
            x=[x, x], y=[0, tall], mode="lines", name=f"{name} = {x:.3f}",
            line={"color": hue, "dash": dash, "width": 2}, hovertemplate=f"{name} = {x:.4f}<extra></extra>",
        )  # fmt: skip
    figure.add_scatter(
        x=[None], y=[None], mode="markers", name="σ₂ of random masks, ± 2 sd",
        marker={"symbol": "square", "size": 11, "color": "rgba(138,143,152,0.6)"},
    )  # fmt: skip
    figure.update_layout(
        base_layout(xaxis={"title": "singular value of Â", "range": [0, 1.02]}, yaxis={"title": "density"}, bargap=0)
    )
    return figure


def beta_figures(curve: BetaCurve) -> list[go.Figure]:
    """Perplexity, spectral gap and retained score over β, a figure each."""
    points, betas = curve.points, [p.beta for p in curve.points]
    value = [p.perplexity for p in points]
    bars = {
        "type": "data", "symmetric": False, "thickness": 1.5, "width": 5,
        "array": [p.high - p.perplexity for p in points], "arrayminus": [p.perplexity - p.low for p in points],
    }  # fmt: skip
    panels = (
        ("perplexity", [("perplexity", value, "#D55E00", "solid", bars, ".2f")]),
        ("spectral gap", [
            ("mean of all layers", [p.mean_gap for p in points], "#0072B2", "solid", None, ".4f"),
            ("smallest", [p.min_gap for p in points], "#56B4E9", "dot", None, ".4f"),
        ]),
        ("retained score, %", [("mean", [100 * p.retained_score for p in points], "#009E73", "solid", None, ".3f")]),
    )  # fmt: skip
    figures = []
    for title, lines in panels:
        figure = go.Figure()
        for name, y, hue, dash, error, form in lines:
            figure.add_scatter(
                x=betas, y=y, name=name, mode="lines+markers", marker={"color": hue, "size": 8}, error_y=error,
                line={"color": hue, "dash": dash}, hovertemplate=f"β = %{{x}}: {name} %{{y:{form}}}<extra></extra>",
            )  # fmt: skip
        axis = {"title": "β", "range": [-0.05, 1.05], "dtick": 0.25}
        figure.update_layout(base_layout(xaxis=axis, yaxis={"title": title}, showlegend=len(lines) > 1))
        figures.append(figure)
    return figures
