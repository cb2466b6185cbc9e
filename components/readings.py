"""Sentences under the figures of graphs and spectra, generated from the data; all text is escaped for HTML."""

import torch

from components.text import MEASURES, escape, lesson_link, reading, term
from eggs_core.beta_curve import BetaCurve
from eggs_core.betas import BetaStep
from eggs_core.evaluate import Interval
from eggs_core.expansion import CurvePoint, Expansion, SpreadStep
from eggs_core.graph import summarize


def plural(count: int, name: str) -> str:
    """A number with its noun, for example 1 input, 2 inputs."""
    return f"{count:,} {name}" if count == 1 else f"{count:,} {name}s"


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
    said = " and ".join(f"{e.neighbours} under {escape(label)}" for label, e in rows)
    label, last = rows[-1]
    return reading(
        f"{plural(last.size, side[:-1])} ({last.share:.1%} of the edges) reach {said}, of {others} on the other side; "
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


def mixing_reading(rows: list[tuple[str, float, list[SpreadStep]]], origin: str) -> str:
    """How fast the signal from `origin`, as it should be called, becomes even, in one sentence."""
    said = " and ".join(
        f"{steps[2].uneven:.1%} away from even under {escape(label)} (σ₂ = {sigma2:.3f})"
        for label, sigma2, steps in rows
    )
    lost = [1 - steps[-1].amounts.sum().item() for _, _, steps in rows]
    tail = f" Of the signal {lost[-1]:.0%} is lost in orphans." if lost[-1] > 1e-6 else ""
    return reading(f"After one step across and one back, a signal from {escape(origin)} is {said}.{tail}", "expander")


def beta_cards(step: BetaStep, topn: BetaStep, source: str) -> str:
    """What follows the β slider: gap, orphans, lowest degree and kept score, beside top-N."""
    rows = [
        ("spectral gap", f"{1 - topn.sigma2:.4f}", f"{1 - step.sigma2:.4f}"),
        ("orphans", str(topn.orphans), str(step.orphans)),
        ("min in-degree", str(topn.min_in_degree), str(step.min_in_degree)),
        ("retained score", "100 %", f"{100 * step.retained:.3f} %"),
    ]
    note = (
        f"Exact selection with at least {step.bound} weights per input (β = {step.beta:g}), retained score relative to "
        f"top-N; scores from {source}, channels in their original order." + lesson_link("degree-bound")
    )
    return _minis(rows, note, f"{step.beta:g}")


def pruned_cards(layer: dict, best: torch.Tensor, degrees: torch.Tensor, sigma2: float, recorded: bool = True) -> str:
    """Gap, orphans and lowest degree of the mask as pruned, beside top-N's (`best`, `sigma2`) if `recorded`."""
    rows = [
        ("spectral gap", f"{1 - sigma2:.4f}", f"{layer['spectral_gap']:.4f}"),
        ("orphans", str(int((best == 0).sum())), str(int((degrees == 0).sum()))),
        ("min in-degree", str(int(best.min())), str(int(degrees.min()))),
        ("retained score", "", f"{layer['retained_score']:.1%}"),
    ]
    beta = layer.get("choice", {}).get("beta")
    chosen = "" if beta is None else f", at β = {beta:.2f}"
    beside = "beside top-N by the same scores" if recorded else "alone, as top-N was not recorded with this run"
    rows = rows if recorded else [(name, "", after) for name, _, after in rows]
    return _minis(rows, f"The mask as pruned{chosen}, {beside}. Retained: share of all score.")


def _minis(rows: list[tuple[str, str, str]], note: str, beta: str = "") -> str:
    arrow = '<span class="arrow" aria-label="becomes">→</span>'
    cells = "".join(
        f'<div class="mini"><div class="card-label">{term(name)}</div><span class="before">{before}</span> '
        f'{arrow if before else ""} <span class="after">{after}</span></div>'
        for name, before, after in rows
    )
    return f'<div class="minis" data-beta="{beta}">{cells}</div><p class="hint">{escape(note)}</p>'


def model_summary(layers: list[dict], label: str) -> str:
    """The whole model's graphs, in one sentence."""
    if not layers:
        return ""
    s = summarize(layers)
    lost = f"{s['orphans']:,} of {plural(s['inputs'], 'input channel')} lost every connection"
    apart = f"; {plural(s['disconnected'], 'layer')} fall apart (gap 0)" if s["disconnected"] else ""
    return reading(
        f"Under {escape(label)}, {lost}, and none keeps fewer than {s['min_in_degree']}{apart}. The mean "
        f"{term('spectral gap')} of {plural(s['layers'], 'layer')} is {s['mean_gap']:.3f}; the weakest is "
        f"<b>{escape(s['weakest'])}</b> with {s['min_gap']:.3f}, and {s['below_null']} lie clearly below random masks.",
        "orphans",
    )


def density_reading(layer: dict, exact: bool) -> str:
    """Where σ₂ of the chosen layer lies, in one sentence."""
    edge = layer["sigma2"] + layer["ramanujan_margin"]
    side = "below" if layer["ramanujan_margin"] >= 0 else "above"
    how = "" if exact else " The density is a stochastic estimate, as the layer is large."
    apart = " The graph falls apart, so σ₂ is 1 and the gap 0." if layer["components"] > 1 else ""
    return reading(
        f"<b>{escape(layer['name'])}</b>: {term('σ₂')} = {layer['sigma2']:.3f} lies {side} the "
        f"{term('Ramanujan edge')} {edge:.3f} (degrees {layer['shape'][1] and layer['mean_in_degree']:.0f} per input, "
        f"{layer['mean_in_degree'] * layer['shape'][1] / layer['shape'][0]:.0f} per output); random masks have "
        f"σ₂ = {1 - layer['null_gap_mean']:.3f} ± {layer['null_gap_std']:.3f}.{apart}{how}",
        "expander",
    )


def beta_reading(curve: BetaCurve) -> str:
    """What β costs and gives, in one sentence."""
    first, last = curve.points[0], curve.points[-1]
    best = min(curve.points, key=lambda p: p.perplexity)
    sure = last.low > first.perplexity or last.high < first.perplexity
    verdict = "a difference beyond chance" if sure else "which these windows cannot tell from chance"
    return reading(
        f"From β = {first.beta:g} to β = {last.beta:g} the worst-connected input rises from {first.min_in_degree} to "
        f"{last.min_in_degree} kept weights and {term('perplexity')} goes from {first.perplexity:.2f} to "
        f"{last.perplexity:.2f} ({verdict}); the lowest, "
        f"{best.perplexity:.2f}, is at β = {best.beta:g}. The dense model has {curve.dense_perplexity:.2f}.",
        "degree-bound",
    )


def degree_reading(label: str, degrees: torch.Tensor, topn: torch.Tensor | None) -> str:
    """Which inputs lost their connections under top-N, where recorded, and under the method; both int64 (in,)."""
    kept, name, count = int((degrees == 0).sum()), escape(label), plural(len(degrees), "input")
    if topn is None:
        start = f"What top-N keeps of {count} was not recorded with this run"
    elif lost := int((topn == 0).sum()):
        start = f"{lost} of {count} lost every connection under top-N"
    else:
        start = f"Top-N leaves {int(topn.min())} weights to the worst-connected input"
    end = f"{name} cuts {kept} off" if kept else f"{name} leaves none below {int(degrees.min())}"
    return reading(f"{start}; {end}, of {degrees.double().mean().item():.0f} on average.", "orphans")


def comparison_reading(one: str, two: str, first: torch.Tensor, second: torch.Tensor) -> str:
    """How far two masks of a layer agree, in one sentence."""
    both = int((first & second).sum())
    only = int((first & ~second).sum())
    gained = int(((first.sum(0) > 0) & (second.sum(0) == 0)).sum())
    lost = int(((first.sum(0) == 0) & (second.sum(0) > 0)).sum())
    tail = f" {plural(gained, 'input')} that {escape(two)} cuts off stay connected." if gained else ""
    tail += f" {plural(lost, 'input')} that {escape(two)} keeps are cut off." if lost else ""
    return reading(
        f"{escape(one)} and {escape(two)} agree on {both / max(both + only, 1):.1%} of the kept weights and differ in "
        f"{only:,} choices.{tail}",
        "n-m",
    )


def layer_extras(layer: dict, weighted: float | None, reach: tuple[str, str, int, int] | None) -> str:
    """Weighted σ₂ and reach across the next layer, in one sentence; empty where neither is known."""
    said = []
    if weighted is not None:
        said.append(
            f"Weighted by the sizes of the kept dense weights, σ₂ is {weighted:.3f} (gap {1 - weighted:.3f}): strong "
            f"weights mix {'less' if weighted > layer['sigma2'] else 'more'} evenly than connections alone."
        )
    if reach is not None:
        first, second, lost, total = reach
        pairs = f"every one of the {total:,} pairs" if not lost else f"all but {lost:,} of the {total:,} pairs"
        said.append(f"Through {escape(first)} and {escape(second)}, {pairs} of an input and an output stay connected.")
    return reading(" ".join(said)) if said else ""


def measure_reading(layers: list[dict], key: str) -> str:
    """Where one measure is largest and smallest over the layers, in one sentence."""
    if not layers:
        return ""
    name, form = MEASURES[key]
    low, high = (f(layers, key=lambda layer: layer[key]) for f in (min, max))
    if low[key] == high[key]:
        return reading(f"The {escape(name)} is {form.format(low[key])} in every layer.", "orphans")
    return reading(
        f"The {escape(name)} runs from {form.format(low[key])} in <b>{escape(low['name'])}</b> to "
        f"{form.format(high[key])} in <b>{escape(high['name'])}</b>.",
        "orphans",
    )


def forest_reading(ratios: dict[str, Interval]) -> str:
    """Which methods lie how far above the dense model, in one sentence."""
    best, worst = (f(ratios, key=lambda label: ratios[label].value) for f in (min, max))
    say = lambda label: f"{escape(label)} at × {ratios[label].value:.2f}"  # noqa: E731
    tail = f", the farthest {say(worst)}" if worst != best else ""
    return reading(
        f"Closest to the dense model is {say(best)}{tail}; a bar is the 95 % interval over windows.", "costs"
    )


def scatter_reading(dense: list[float], pruned: list[float]) -> str:
    """How the windows of the text moved, in one sentence."""
    rise = [b - a for a, b in zip(dense, pruned, strict=True)]
    return reading(
        f"{sum(r > 0 for r in rise)} of {plural(len(rise), 'window')} lie above the line of no change; the "
        f"largest rise is {max(rise):.2f} nats per token, the mean {sum(rise) / len(rise):.2f}.",
        "costs",
    )


def gap_reading(label: str, layers: list[dict], means: dict[str, float]) -> str:
    """How the gaps compare with random masks and between methods, in one sentence."""
    below = sum(layer["gap_z"] < -2 for layer in layers)
    best = max(means, key=means.get)
    tail = (
        f" Of {len(means)} methods, {escape(best)} has the largest mean gap, {means[best]:.3f}."
        if len(means) > 1
        else ""
    )
    return reading(
        f"{escape(label)}: in {below} of {len(layers)} layers the {term('spectral gap')} lies more than two standard "
        f"deviations below that of random masks of the same shape; a mask that keeps strong weights is never random, "
        f"so this is the price of choosing.{tail}",
        "expander",
    )
