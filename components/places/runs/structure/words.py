"""What structure costs, in sentences."""

from collections.abc import Sequence

from components.words.html import escape, facts_line, hint, reading
from components.words.phrases import plural
from eggs_core.evaluation.structure import Curve, Step
from eggs_core.pattern import NMPattern
from eggs_core.registry import METHODS


def structure_reading(curves: Sequence[Curve]) -> str:
    """The answer of the method that is best in the smallest groups, then what larger groups win back."""
    curve = min(curves, key=lambda one: one.steps[0].perplexity)
    first, *between, last = curve.steps
    text = (
        f"By {escape(METHODS[curve.method].label)}, {escape(first.pattern)} takes {escape(curve.model)} from "
        f"{curve.dense:.2f} to {first.perplexity:.2f}. {_kept(last)} anywhere would have {last.perplexity:.2f}: "
        f"<b>× {last.ratio.value:.3f}</b> [{last.ratio.low:.3f}, {last.ratio.high:.3f}]. {_verdict(last)}"
    )
    won = ", ".join(f"{curve.won_back(step):.0%} by {escape(step.pattern)}" for step in between)
    if won and last.ratio.high < 1:
        text += f" Larger groups win back {won}."
    return reading(f"{text} Whole rows are a reference: they have no packed form and no speed.", "n-m")


def _kept(last: Step) -> str:
    pattern = NMPattern.parse(last.pattern)
    return f"As many weights ({pattern.density:.0%} of each row)"


def _verdict(last: Step) -> str:
    if last.ratio.high < 1:
        return f"That is what structure costs: perplexity is {1 / last.ratio.value - 1:.1%} higher."
    return "So structure costs nothing that could be told from chance."


def structure_facts(curves: Sequence[Curve]) -> str:
    """What was measured, and what whiskers mean."""
    seeds = ", ".join(
        f"{escape(METHODS[c.method].label)} {plural(min(len(s.perplexities) for s in c.steps), 'seed')}" for c in curves
    )
    return facts_line(
        f"{escape(curves[0].model)}; {escape(curves[0].text)}; {seeds}. Whiskers: paired bootstrap 95 % interval of "
        f"the ratio to {escape(curves[0].steps[0].pattern)}, over windows."
    )


def not_measured(model: str, shown: str) -> str:
    """That the curves are of another model than the one in view."""
    return hint(f"{escape(model)}, the model in view, was not measured; these are of {escape(shown)}.")
