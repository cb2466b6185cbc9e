"""Sentences about singular values, gaps and the trade-off over β."""

from components.words.html import escape, facts_line, reading, term
from components.words.labels import layer_name
from eggs_core.bos import bos_words
from eggs_core.config import words_of
from eggs_core.pruning.beta_curve import BetaCurve
from eggs_core.report_types import LayerEntry


def density_reading(layer: LayerEntry, exact: bool) -> str:
    """Where σ₂ of the chosen layer lies, in one sentence."""
    edge = layer["sigma2"] + layer["ramanujan_margin"]
    side = "below" if layer["ramanujan_margin"] >= 0 else "above"
    how = "" if exact else " The density is a stochastic estimate, as the layer is large."
    apart = " The graph falls apart, so σ₂ is 1 and the gap 0." if layer["components"] > 1 else ""
    return reading(
        f"{layer_name(layer)}: {term('σ₂')} = {layer['sigma2']:.3f} lies {side} the "
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
        f"From β = {first.beta:.0%} to {last.beta:.0%} the worst-connected input rises from {first.min_in_degree} to "
        f"{last.min_in_degree} kept weights and {term('perplexity')} goes from {first.perplexity:.2f} to "
        f"{last.perplexity:.2f} ({verdict}); the lowest, "
        f"{best.perplexity:.2f}, is at β = {best.beta:.0%}. The dense model has {curve.dense_perplexity:.2f}.",
        "degree-bound",
    )


def curve_facts(curve: BetaCurve) -> str:
    """What a curve was measured on."""
    c, e = curve.config, curve.evaluation
    made = " · ".join(map(escape, (c["model"], c["pattern"], words_of({**c, "beta": None}))))
    text = f"{e['windows']} × {e['window']} tokens of “{escape(e['text'])}”{bos_words(e)}"
    return facts_line(f"{made} · {text} · SHA-256 {escape(e['sha256'][:12])}… · seed {escape(c['seed'])}")


def weighted_reading(layer: LayerEntry, weighted: float | None) -> str:
    """What the kept weights' sizes make of σ₂, in one sentence; empty where it is not known."""
    if weighted is None:
        return ""
    how = "less" if weighted > layer["sigma2"] else "more"
    return reading(
        f"{layer_name(layer)}: weighted by the sizes of the kept dense weights, σ₂ is {weighted:.3f} "
        f"(gap {1 - weighted:.3f}): strong weights mix {how} evenly than connections alone."
    )


def reach_reading(reach: tuple[str, str, int, int] | None) -> str:
    """Reach across the next layer, in one sentence; empty where there is none."""
    if reach is None:
        return ""
    first, second, lost, total = reach
    pairs = f"every one of the {total:,} pairs" if not lost else f"all but {lost:,} of the {total:,} pairs"
    return reading(f"Through {escape(first)} and {escape(second)}, {pairs} of an input and an output stay connected.")


def gap_reading(label: str, layers: list[LayerEntry], means: dict[str, float]) -> str:
    """How the gaps compare with random masks and between methods, in one sentence."""
    below = sum(layer["gap_z"] < -2 for layer in layers)
    best = max(means, key=means.__getitem__)
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
