"""Perplexity against bytes, and tokens a second, of pruned and of quantised models; no gradio here."""

from collections.abc import Callable

import plotly.graph_objects as go

from components.charts.layout import base_layout
from components.places.runs.front.labels import places
from eggs_core.evaluation.front import LLAMA_CPP, Front, Point, highest, leaders

KINDS = {  # what a point is -> (colour, symbol)
    "pruned": ("#D55E00", "circle"),
    "quantised alone": ("#0072B2", "square"),
    LLAMA_CPP: ("#009E73", "diamond"),
    "dense": ("#8A8F98", "star-diamond"),
}
INK = "#6B7587"
TOP = 1.7  # times the dense perplexity up to which points are drawn, see `highest`


def kind_of(point: Point, front: Front) -> str:
    """Which of KINDS a point is."""
    if point == front.dense:
        return "dense"
    return "pruned" if point.pruned else "quantised alone" if point.maker != LLAMA_CPP else LLAMA_CPP


def in_view(front: Front) -> list[Point]:
    """The points that are drawn: those far worse than the dense model would flatten all others."""
    return [point for point in front.points if point.perplexity <= highest(front, TOP)]


def bytes_figure(front: Front) -> go.Figure:
    """Perplexity against the whole model's bytes; what nothing beats is ringed and joined."""
    figure, best = go.Figure(), leaders(in_view(front))
    figure.add_scatter(
        x=[point.bytes / 1e6 for point in best],
        y=[point.perplexity for point in best],
        name="beaten by none",
        mode="lines+markers",
        line={"shape": "hv", "width": 1.5, "dash": "dot", "color": INK},
        hoverinfo="skip",
        marker={"symbol": "circle-open", "size": 19, "color": INK, "line": {"width": 2}},
    )
    _add_points(figure, front, in_view(front), lambda point: point.bytes / 1e6, "MB")
    figure.update_layout(
        base_layout(
            xaxis={"title": "megabytes of the whole model"}, yaxis={"title": "perplexity", "type": "log", "nticks": 6}
        )
    )
    return figure


def speed_figure(front: Front) -> go.Figure:
    """Perplexity against tokens a second, of the points that were timed."""
    figure, timed = go.Figure(), [point for point in in_view(front) if point.tokens_per_s]
    _add_points(figure, front, timed, lambda point: point.tokens_per_s, "tokens/s")
    figure.update_layout(
        base_layout(
            xaxis={"title": "tokens a second, one text"}, yaxis={"title": "perplexity", "type": "log", "nticks": 6}
        )
    )
    return figure


def _add_points(
    figure: go.Figure, front: Front, points: list[Point], cost: Callable[[Point], float | None], unit: str
) -> None:
    """Points by kind; names stand where they do not lie on each other, those of the best first."""
    best = [id(point) for point in leaders(points)]
    ordered = sorted(points, key=lambda point: (id(point) not in best, point != front.dense))
    spots = places([(point.name, cost(point) or 0.0, point.perplexity) for point in ordered])
    named = {id(point): where for point, where in zip(ordered, spots, strict=True)}
    for kind, (hue, symbol) in KINDS.items():
        own = [point for point in points if kind_of(point, front) == kind]
        if not own:
            continue
        figure.add_scatter(
            x=[cost(point) for point in own],
            y=[point.perplexity for point in own],
            mode="markers+text",
            name=kind,
            text=[point.name if named[id(point)] else "" for point in own],
            textposition=[named[id(point)] or "top center" for point in own],
            textfont={"size": 10},
            marker={"symbol": symbol, "size": 10, "color": hue},
            customdata=[[point.maker, point.bits, point.name] for point in own],
            hovertemplate="%{customdata[2]}, made by %{customdata[0]}<br>perplexity %{y:.2f}, %{x:.1f} "
            + unit
            + "<br>%{customdata[1]:.2f} bits a weight<extra></extra>",
        )
