"""Sentences about the graph: chosen sets, certificates, β."""

from components.places.layers.graph.frame import Frame
from components.places.layers.graph.view import (
    TOPN,
    Graph,
    Pair,
    differences_in_view,
    edges_in_view,
    share_of_weakest,
)
from components.state.workspace import GraphView
from components.words.html import ARROW, escape, heading, hint, lesson_link, mini, reading, term
from components.words.labels import layer_name
from components.words.phrases import NO_TOPN, plural
from eggs_core.graph.expansion import SIDES, CurvePoint, Expansion, SpreadStep
from eggs_core.pruning.one_layer import BetaStep
from eggs_core.report_types import LayerEntry

LEGEND = (
    '<p class="legend"><span><i class="swatch score"></i>kept by both</span>'
    '<span><i class="swatch link"></i>edge that the other graph lacks</span>'
    '<span><i class="swatch orphan"></i>input without any edge in view</span>'
    '<span><i class="swatch ring"></i>member of T</span><span><i class="swatch yolk"></i>signal</span></p>'
)
LEGEND_ALONE = LEGEND.replace("kept by both", f"kept; {NO_TOPN}").replace(
    '<span><i class="swatch link"></i>edge that the other graph lacks</span>', ""
)


def graph_heading(graph: Graph | None, frame: Frame) -> str:
    """The name of a graph, its edges in view and its gap; top-N's, where the run does not hold it."""
    if graph is None:
        return heading(TOPN, "not recorded with this run")
    return heading(escape(graph.label), f"{edges_in_view(graph, frame):,} edges in view · gap {1 - graph.sigma2:.3f}")


def window_reading(layer: LayerEntry, pair: Pair, frame: Frame) -> str:
    """Which part of the layer is in view, and what its graphs leave without connections."""
    known = [g for g in pair if g is not None]
    lost = " and ".join(f"{int((g.mask.sum(0) == 0).sum())} under {escape(g.label)}" for g in known)
    fewest = ", ".join(f"{int(g.mask.sum(0).min())} with {escape(g.label)}" for g in known)
    if frame.whole:
        each = ", ".join(f"{frame.each[s]} {s}" for s in SIDES)
        where = f"whole layer in bundles of {each}; the darker a line, the more of its possible connections are kept"
    else:
        ends = {s: f"{s} {frame.first[s]}–{frame.first[s] + frame.count[s] - 1}" for s in SIDES}
        where = f"{ends['outputs']} of {frame.total['outputs']} and {ends['inputs']} of {frame.total['inputs']}"
    apart = [g.label for g in known if g.sigma2 > 1 - 1e-4]
    message = f" {escape(' and '.join(apart))} falls apart: its gap is 0." if apart else ""
    if pair[0] is not None and not differences_in_view(pair[0], pair[1], frame):
        message += " Both masks are identical here."
    return reading(
        f"{layer_name(layer)}, {where}. {term('orphans', 'Orphans')} in the whole layer: {lost}; the "
        f"worst-connected input keeps {fewest}.{message}",
        "orphans",
    )


def set_table(rows: list[tuple[str, Expansion]], side: str) -> str:
    """T, Γ(T), their ratio and the certificate, one row per graph, over the whole layer."""
    body = "".join(
        f"<tr><th>{escape(label)}</th><td>{e.size}</td><td>{e.neighbours}</td><td><b>{e.ratio:.2f}</b></td>"
        f"<td>≥ {e.certificate:.2f}</td></tr>"
        for label, e in rows
    )
    return (
        f'<table class="set-table"><caption>The chosen set T of {side}, in the whole layer</caption>'
        f"<thead><tr><th></th><th>|T|</th><th>{term('Γ(T)', '|Γ(T)|')}</th><th>|Γ(T)| ÷ |T|</th>"
        f"<th>{term('certificate')}</th></tr></thead><tbody>{body}</tbody></table>"
    )


def set_reading(rows: list[tuple[str, Expansion]], side: str, others: int) -> str:
    """What the chosen set reaches, in one sentence."""
    if not rows or not rows[0][1].size:
        return reading("Pick a set T: click channels in a graph, or let one of the buttons choose.")
    reach = " and ".join(f"{e.neighbours} under {escape(label)}" for label, e in rows)
    label, last = rows[-1]
    return reading(
        f"{plural(last.size, side[:-1])} ({last.share:.1%} of the edges) reach {reach}, of {others} on the other side; "
        f"no set with this share of the edges of {escape(label)} can have fewer than {last.certificate:.2f} "
        f"neighbours for each of its members.",
        "expander",
    )


def curve_reading(points: list[CurvePoint], label: str, side: str) -> str:
    """How close the worst sets come to the certificate, in one sentence."""
    closest = min((p for p in points if p.certificate), key=lambda p: p.worst_found / p.certificate, default=None)
    if closest is None:
        return reading(
            f"Nothing is certified for {side} of {escape(label)}: at least one of them has no connection.", "expander"
        )
    times = closest.worst_found / closest.certificate
    return reading(
        f"The certificate of {escape(label)} holds everywhere; the closest set found has "
        f"{plural(closest.size, side[:-1])} and reaches {closest.worst_found:.2f} neighbours each, "
        f"{times:.1f} × the certified {closest.certificate:.2f}.",
        "expander",
    )


def origin_of(view: GraphView, sources: tuple[int, ...]) -> str:
    """What the place is called where a signal starts."""
    return "T" if view.members else f"{view.side[:-1]} {sources[0]}, the least connected,"


def mixing_reading(rows: list[tuple[str, float, list[SpreadStep]]], origin: str) -> str:
    """How fast the signal from `origin`, as it should be called, becomes even, in one sentence."""
    parts = " and ".join(
        f"{steps[2].uneven:.1%} away from even under {escape(label)} (σ₂ = {sigma2:.3f})"
        for label, sigma2, steps in rows
    )
    lost = [1 - steps[-1].amounts.sum().item() for _, _, steps in rows]
    tail = f" Of the signal {lost[-1]:.0%} is lost in orphans." if lost[-1] > 1e-6 else ""
    return reading(f"After one step across and one back, a signal from {escape(origin)} is {parts}.{tail}", "expander")


def beta_cards(step: BetaStep, topn: BetaStep, source: str) -> str:
    """What follows the β slider: gap, orphans, lowest degree and kept score, beside top-N."""
    rows = [
        ("spectral gap", f"{1 - topn.sigma2:.4f}", f"{1 - step.sigma2:.4f}"),
        ("orphans", str(topn.orphans), str(step.orphans)),
        ("min in-degree", str(topn.min_in_degree), str(step.min_in_degree)),
        ("retained score", "100 %", f"{100 * step.retained:.3f} %"),
    ]
    note = (
        f"Exact selection with at least {step.bound} weights per input (β = {step.beta:.0%}), retained score relative "
        f"to top-N; scores from {escape(source)}, channels in their original order." + lesson_link("degree-bound")
    )
    return _minis(rows, note, f"{step.beta:.0%}")


def pruned_cards(layer: LayerEntry, pair: Pair) -> str:
    """Gap, orphans and lowest degree of the mask as pruned, beside top-N's where that is known."""
    topn, degrees = pair[0], pair[1].mask.sum(0)
    gap, orphans, least = "", "", ""
    if topn is not None:
        kept = topn.mask.sum(0)
        gap, orphans, least = f"{1 - topn.sigma2:.4f}", str(int((kept == 0).sum())), str(int(kept.min()))
    rows = [
        ("spectral gap", gap, f"{layer['spectral_gap']:.4f}"),
        ("orphans", orphans, str(int((degrees == 0).sum()))),
        ("min in-degree", least, str(int(degrees.min()))),
        ("retained score", "", f"{layer['retained_score']:.1%}"),
    ]
    beside = f"; {NO_TOPN}" if topn is None else ", beside top-N by the same scores"
    reached = f"{share_of_weakest(pair[1].mask):.0%}"
    return _minis(
        rows,
        f"The mask as pruned{beside}: its worst-connected input keeps {reached} of the mean, where the handle of β "
        "stands. Retained: share of all score.",
    )


def _minis(rows: list[tuple[str, str, str]], note: str, beta: str = "") -> str:
    cells = "".join(
        mini(
            term(name),
            f'<span class="before">{before}</span> {ARROW if before else ""} <span class="after">{after}</span>',
        )
        for name, before, after in rows
    )
    return f'<div class="minis" data-beta="{beta}">{cells}</div>{hint(note)}'
