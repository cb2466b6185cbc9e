"""Figures of the Spectrum tab: gaps of all layers, singular values, the trade-off over β."""

import numpy as np
import plotly.graph_objects as go

from components.charts.colors import COLORS, SYMBOLS, color, shades
from components.charts.layout import base_layout
from components.charts.whiskers import whiskers
from components.words.experts import expert_text
from components.words.glossary import MEASURES, measure_of
from components.words.labels import run_label
from eggs_core.graph.spectrum import Density
from eggs_core.pruning.beta_curve import BetaCurve
from eggs_core.report_types import LayerEntry
from eggs_core.runs.layer_rows import Cell, cells_of
from eggs_core.runs.run import Run


def gap_by_layer(runs: list[Run], measure: str = "spectral_gap") -> go.Figure:
    """One measure of every layer over the blocks, a small figure for each projection, with the band of random masks.

    The experts of a block that share a projection are one point, their mean.
    """
    figure = go.Figure()
    if not runs:
        return figure
    cells = [cells_of(run.report["layers"]) for run in runs]
    rows, hues = list(dict.fromkeys(cell.row for cell in cells[0])), shades(map(run_label, runs))
    for number, row in enumerate(rows):
        place = _tile(figure, number, row)
        if measure == "spectral_gap":
            _add_random_band(figure, [cell for cell in cells[0] if cell.row == row], place, number == 0)
        for i, run in enumerate(runs):
            own = [cell for cell in cells[i] if cell.row == row]
            label = run_label(run)
            _add_line(figure, own, (label, hues[label]), measure, place, i, number == 0)
    figure.update_yaxes(title=MEASURES[measure][0], selector=0)
    tiles = {"count": len(rows), "width": 250, "height": 210}
    grid = {"pattern": "independent", "columns": 1, "rows": len(rows), "xgap": 0.22, "ygap": 0.42}
    figure.update_layout(base_layout(grid=grid, meta={"tiles": tiles}, margin={"l": 8, "r": 8, "t": 26, "b": 8}))
    return figure


def _tile(figure: go.Figure, number: int, row: str) -> dict[str, str]:
    """The axes of a small figure, with its projection as a title; `number` counts from 0."""
    suffix = "" if number == 0 else str(number + 1)
    across = {"title": {"text": "decoder block", "font": {"size": 11}, "standoff": 2}, "nticks": 6, "tickformat": "d"}
    figure.layout[f"xaxis{suffix}"] = across
    figure.layout[f"yaxis{suffix}"] = {"nticks": 5, "title": {"font": {"size": 11}}}
    figure.add_annotation(
        text=f"<b>{row.rpartition('.')[2]}</b>",
        xref=f"x{suffix} domain",
        yref=f"y{suffix} domain",
        x=0,
        y=1,
        xanchor="left",
        yanchor="bottom",
        showarrow=False,
    )
    return {"xaxis": f"x{suffix}", "yaxis": f"y{suffix}"}


def _add_line(
    figure: go.Figure, cells: list[Cell], who: tuple[str, str], measure: str, place: dict[str, str], i: int, named: bool
) -> None:
    """The layers of one projection of a run, `who`: its label and colour; `named` in the legend once."""
    name, (label, hue) = MEASURES[measure][0], who
    figure.add_scatter(
        x=[cell.block + 1 for cell in cells],
        y=[cell.mean(lambda layer: measure_of(layer, measure)) for cell in cells],
        customdata=[cell.name for cell in cells],
        text=[expert_text(cell, measure) for cell in cells],
        mode="lines+markers",
        name=label,
        legendgroup=label,
        showlegend=named,
        marker={"size": 6, "symbol": SYMBOLS[i % len(SYMBOLS)], "color": hue},
        line={"color": hue, "width": 1.2, "dash": "solid" if hue == color(label) else "dash"},
        hovertemplate=f"{label}<br>%{{customdata}}<br>{name} %{{text}}<extra></extra>",
        **place,
    )


def _add_random_band(figure: go.Figure, cells: list[Cell], place: dict[str, str], named: bool) -> None:
    """The gaps of random masks, mean ± 2 standard deviations of one mask; `named` in the legend once."""
    blocks, name = [float(cell.block + 1) for cell in cells], "random masks, mean ± 2 sd"
    low = [cell.mean(lambda layer: layer["null_gap_mean"] - 2 * layer["null_gap_std"]) for cell in cells]
    high = [cell.mean(lambda layer: layer["null_gap_mean"] + 2 * layer["null_gap_std"]) for cell in cells]
    if len(blocks) == 1:  # a band needs two ends
        blocks, low, high = [blocks[0] - 0.4, blocks[0] + 0.4], low * 2, high * 2
    edge = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "legendgroup": name, **place}
    figure.add_scatter(x=blocks, y=high, showlegend=False, **edge)
    fill = {"fill": "tonexty", "fillcolor": "rgba(138,143,152,0.45)"}
    figure.add_scatter(x=blocks, y=low, name=name, showlegend=named, **fill, **edge)


BELOW_INSET = 0.54  # of the height: what stands at the right ends below the inset and its ticks


def density_end(layer: LayerEntry) -> float:
    """Where a figure of the layer's singular values may end so that all but σ₁ are in view; at most 1.02."""
    edges = layer["sigma2"], layer["sigma2"] + layer["ramanujan_margin"], 1 - layer["null_gap_mean"]
    return min(1.02, 1.12 * max(edges))


def density_figure(density: Density, random: Density | None, layer: LayerEntry, label: str) -> go.Figure:
    """The distribution of a layer's singular values, with σ₂, the Ramanujan edge and the band of random masks.

    It ends behind σ₂; an inset shows how far from all others σ₁ = 1 lies.
    """
    middles = (density.edges[1:] + density.edges[:-1]) / 2
    width, end = density.edges[1] - density.edges[0], density_end(layer)
    figure = go.Figure()
    figure.add_bar(
        x=middles.tolist(),
        y=(density.shares / width).tolist(),
        width=width,
        name=label,
        marker={"color": color(label)},
        opacity=0.75,
        customdata=np.round(density.shares * min(layer["shape"]), 1).tolist(),
        hovertemplate="σ ≈ %{x:.3f}: %{customdata} values<extra></extra>",
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
    inside = middles < end - width
    tall = 1.1 * float((density.shares[inside][1:] / width).max(initial=1e-9))
    if density.shares[0] / width > tall:  # values of 0: groups that keep equally many leave some
        count = round(density.shares[0] * min(layer["shape"]))
        figure.add_annotation(x=middles[0], y=tall, text=f"↑ {count:,} at 0", xanchor="left", yanchor="top", xshift=9)
        figure.update_annotations(showarrow=False)
    inset = end < 0.9
    _add_marks(figure, layer, BELOW_INSET * tall if inset else tall)
    if inset:
        _add_inset(figure, middles[inside], density.shares[inside], color(label))
    across, up = {"title": "singular value of Â", "range": [0, end]}, {"title": "density", "range": [0, tall * 1.02]}
    figure.update_layout(base_layout(xaxis=across, yaxis=up, bargap=0))
    return figure


def _add_inset(figure: go.Figure, values: np.ndarray, shares: np.ndarray, hue: str) -> None:
    """All singular values on the whole scale from 0 to 1, small: σ₁ by itself at 1."""
    plain = {"xaxis": "x2", "yaxis": "y2", "showlegend": False, "hoverinfo": "skip"}
    heights = shares / max(shares.max(), 1e-9)
    figure.add_scatter(x=values, y=heights, mode="lines", fill="tozeroy", line={"color": hue, "width": 1}, **plain)
    figure.add_scatter(
        x=[1, 1],
        y=[0, 1],
        mode="lines+text",
        text=["", "σ₁ = 1 "],
        textposition="middle left",
        line={"color": hue, "width": 3},
        **plain,
    )
    small = {"anchor": "y2", "domain": [0.7, 1], "range": [0, 1.04], "tickvals": [0, 0.5, 1], "tickfont": {"size": 10}}
    hidden = {"anchor": "x2", "domain": [0.66, 0.98], "range": [0, 1.25], "visible": False}
    figure.update_layout(xaxis2=small, yaxis2=hidden)


def _add_marks(figure: go.Figure, layer: LayerEntry, tall: float) -> None:
    """σ₂, the Ramanujan edge and the band of random masks, up to a height."""
    mean, std = 1 - layer["null_gap_mean"], layer["null_gap_std"]
    band = {"x0": mean - 2 * std, "x1": mean + 2 * std, "y0": 0, "y1": tall}
    figure.add_shape(type="rect", fillcolor="rgba(138,143,152,0.45)", line_width=0, **band)
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
                hovertemplate=f"β = %{{x:.0%}}: {name} %{{y:{form}}}<extra></extra>",
            )
        axis = {"title": "β", "range": [-0.05, 1.05], "dtick": 0.25, "tickformat": ".0%"}
        figure.update_layout(base_layout(xaxis=axis, yaxis={"title": title}, showlegend=len(lines) > 1))
        figures.append(figure)
    return figures
