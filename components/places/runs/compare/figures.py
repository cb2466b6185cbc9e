"""Figures of a sweep, drawn with plotly; no gradio here."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from components.charts.colors import COLORS, SYMBOLS, color
from components.charts.layout import base_layout
from components.charts.whiskers import whiskers
from eggs_core.evaluation.intervals import Interval
from eggs_core.sweep.analysis import Group, pareto_front

INK = "#6B7587"
LEGEND = "compare-legend"  # the id of the one legend that all of these figures share
MEASURES = {  # of the heat map: name -> (title, figure of a group and the dense perplexity, format, higher is better)
    "ratio": ("perplexity ÷ dense", lambda g, dense: g.perplexity / dense, ".2f", False),
    "top1": ("next token right, %", lambda g, _: 100 * g.mean("top1"), ".1f", True),
    "gap": ("spectral gap, mean of layers", lambda g, _: g.mean("mean_gap"), ".3f", True),
    "orphans": ("orphans", lambda g, _: g.mean("orphans"), ".0f", False),
}


def front_of(points: Sequence[tuple[float, float]]) -> list[int]:
    """Numbers of the points that no other beats in both costs, from the first cost's lowest to its highest."""
    on = np.flatnonzero(pareto_front(np.array(points).reshape(-1, 2)))
    return sorted(map(int, on), key=lambda i: points[i])


def pareto_figure(
    groups: list[Group],
    costs: list[float],
    dense: tuple[float, float],
    title: str,
    unit: str,
    patterns: Sequence[str],
    hues: Mapping[str, str],
    named: bool = False,
) -> go.Figure:
    """Perplexity against a cost, one point per group and one for the dense model; what nothing beats is ringed.

    `patterns` are all that are in view, each with a symbol; `hues` are the labels' colours; one figure is `named`: it
    fills the legend.
    """
    figure = go.Figure()
    points = [*zip(costs, (g.perplexity for g in groups), strict=True), dense]
    _add_front(figure, points, [f"{g.label}, {g.pattern}" for g in groups] + ["dense"])
    for label in dict.fromkeys(g.label for g in groups):
        own = [i for i, g in enumerate(groups) if g.label == label]
        _add_method(figure, [groups[i] for i in own], [costs[i] for i in own], patterns, hues, unit)
    figure.add_scatter(
        x=[dense[0]],
        y=[dense[1]],
        mode="markers",
        name="dense",
        marker={"symbol": "star-diamond", "size": 13, "color": COLORS["Dense"]},
        hovertemplate=f"dense<br>perplexity %{{y:.2f}}, %{{x:.2f}} {unit}<extra></extra>",
    )
    for i, pattern in enumerate(patterns):
        marker = {"symbol": SYMBOLS[i % len(SYMBOLS)], "size": 10, "color": INK}
        figure.add_scatter(x=[None], y=[None], mode="markers", name=pattern, legendgroup="patterns", marker=marker)
    ticks = _log_ticks([y for _, y in points])
    figure.update_layout(
        base_layout(
            xaxis={"title": title, "rangemode": "normal"},
            yaxis={"title": "perplexity", "type": "log", "tickvals": ticks, "ticktext": [f"{t:g}" for t in ticks]},
            meta={"legend": LEGEND},
            showlegend=named,
        )
    )
    return figure


def _add_front(figure: go.Figure, points: list[tuple[float, float]], names: list[str]) -> None:
    """A ring about each point that no other beats, and a line through them."""
    front = front_of(points)
    figure.add_scatter(
        x=[points[i][0] for i in front],
        y=[points[i][1] for i in front],
        name="Pareto front",
        mode="lines+markers",
        line={"shape": "hv", "width": 1.5, "dash": "dot", "color": INK},
        hoverinfo="skip",
        marker={"symbol": "circle-open", "size": 19, "color": INK, "line": {"width": 2}},
        customdata=[names[i] for i in front],
    )


def _add_method(
    figure: go.Figure,
    own: list[Group],
    costs: list[float],
    patterns: Sequence[str],
    hues: Mapping[str, str],
    unit: str,
) -> None:
    """The groups of one label, a symbol for each pattern, with whiskers over seeds; variants are outlined."""
    label, values, spread = own[0].label, [g.perplexity for g in own], [g.spread for g in own]
    figure.add_scatter(
        x=costs,
        y=values,
        mode="markers",
        name=label,
        marker={
            "symbol": [SYMBOLS[patterns.index(g.pattern) % len(SYMBOLS)] for g in own],
            "size": 11,
            "color": hues[label],
            "line": {"width": 2 if hues[label] != color(label) else 0, "color": INK},
        },
        error_y=whiskers(values, [low for low, _ in spread], [high for _, high in spread], width=4),
        customdata=[[g.pattern, len(g.cells)] for g in own],
        hovertemplate=f"{label}, %{{customdata[0]}}<br>perplexity %{{y:.2f}}, %{{x:.2f}} {unit}"
        "<br>seeds: %{customdata[1]}<extra></extra>",
    )


def _log_ticks(values: list[float]) -> list[float]:
    """1, 2, 3 and 5 times powers of ten about the values; where they lie close, round steps between them."""
    least, most = min(values), max(values)
    low, high = math.floor(math.log10(least)), math.ceil(math.log10(most))
    ticks = [m * 10**e for e in range(low, high + 1) for m in (1, 2, 3, 5) if least / 2 < m * 10**e < most * 2]
    if least == most or sum(least <= tick <= most for tick in ticks) > 1:
        return ticks
    power = 10 ** math.floor(math.log10((most - least) / 5))
    step = next(m * power for m in (1, 2, 5, 10) if (most - least) / (m * power) <= 5)
    return [i * step for i in range(math.ceil(least / step), math.floor(most / step) + 1)]


def heat_figure(groups: list[Group], measure: str, dense: float) -> go.Figure:
    """One measure over patterns and methods; pairs that were not run stay empty."""
    title, value_of, form, better = MEASURES[measure]
    patterns = list(dict.fromkeys(g.pattern for g in groups))
    labels = list(dict.fromkeys(g.label for g in groups))[::-1]
    known = {(g.label, g.pattern): value_of(g, dense) for g in groups}
    values = [[known.get((label, pattern)) for pattern in patterns] for label in labels]
    shade = math.log if measure == "ratio" else float  # a ratio of 2 and one of 4 are as far apart as 4 and 8
    figure = go.Figure()
    figure.add_heatmap(
        x=patterns,
        y=labels,
        z=[[None if v is None else shade(v) for v in row] for row in values],
        text=[["" if v is None else format(v, form) for v in row] for row in values],
        texttemplate="%{text}",
        colorscale="Cividis",
        reversescale=not better,
        showscale=False,
        xgap=3,
        ygap=3,
        hoverongaps=False,
        hovertemplate=f"%{{y}}, %{{x}}: {title} %{{text}}<extra></extra>",
    )
    axis = {"type": "category", "showgrid": False}
    figure.update_layout(base_layout(xaxis={"title": "pattern", **axis}, yaxis={"title": "", **axis}))
    return figure


def significance_figure(
    rows: list[tuple[Group, Interval, int]], baseline: str, patterns: Sequence[str], hues: Mapping[str, str]
) -> go.Figure:
    """Perplexity of each method over the baseline's with 95 % intervals; filled where the interval excludes 1."""
    figure = go.Figure()
    labels = list(dict.fromkeys(g.label for g, _, _ in rows))[::-1]
    for number, pattern in enumerate(patterns):
        own = [row for row in rows if row[0].pattern == pattern]
        if not own:
            continue
        offset = 0.55 * ((len(patterns) - 1) / 2 - number) / max(1, len(patterns))
        heights = [labels.index(g.label) + offset for g, _, _ in own]
        _add_intervals(figure, own, heights, SYMBOLS[number % len(SYMBOLS)], hues)
    figure.add_vline(x=1, line={"dash": "dot", "color": COLORS["Dense"]})
    figure.update_layout(
        base_layout(
            xaxis={"title": f"perplexity ÷ {baseline}’s, 95 % interval"},
            yaxis={
                "title": "",
                "tickvals": list(range(len(labels))),
                "ticktext": labels,
                "showgrid": False,
                "zeroline": False,
                "range": [-0.6, len(labels) - 0.4],
            },
            meta={"legend": LEGEND},
            showlegend=False,
        )
    )
    return figure


def _add_intervals(
    figure: go.Figure,
    rows: list[tuple[Group, Interval, int]],
    heights: list[float],
    symbol: str,
    hues: Mapping[str, str],
) -> None:
    """The intervals of one pattern, and its symbol in the legend."""
    pattern = rows[0][0].pattern
    low, middle, high = ([getattr(found, end) for _, found, _ in rows] for end in ("low", "value", "high"))
    figure.add_scatter(
        x=middle,
        y=heights,
        mode="markers",
        name=pattern,
        showlegend=False,
        marker={
            "size": 10,
            "color": [hues[g.label] for g, _, _ in rows],
            "line": {"width": 2},
            "symbol": [symbol if clear(found) else f"{symbol}-open" for _, found, _ in rows],
        },
        error_x=whiskers(middle, low, high, width=4, color=INK),
        customdata=[[g.label, found.low, found.high, seeds] for g, found, seeds in rows],
        hovertemplate=f"%{{customdata[0]}}, {pattern}: × %{{x:.3f}} "
        "[%{customdata[1]:.3f}, %{customdata[2]:.3f}]<br>seeds in common: %{customdata[3]}<extra></extra>",
    )
    marker = {"symbol": symbol, "size": 10, "color": INK}
    figure.add_scatter(x=[None], y=[None], mode="markers", name=pattern, marker=marker)


def clear(found: Interval) -> bool:
    """Does the interval of a ratio exclude 1?"""
    return not found.low <= 1 <= found.high
