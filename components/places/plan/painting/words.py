"""Sentences about a plan: what its predictions rest on, which layers bear pruning least, and what became of it."""

import math
from collections.abc import Sequence

from components.words.html import escape, facts_line, hint, reading, term
from components.words.phrases import plural
from eggs_core.allocation.sizes import LayerSize
from eggs_core.allocation.stored import MeasuredLosses
from eggs_core.pattern import NMPattern
from eggs_core.runs.patterns import pattern_words
from eggs_core.runs.run import Run
from eggs_core.units import size

MOST_NAMED = 3  # layers
INTRODUCTION = (
    "Choose a pattern above the layers, then click or drag over those that are to have it; the others follow the "
    "sidebar’s. Prune runs what you see."
)


def sources_note(model: str, method: str, losses: MeasuredLosses | None, shipped: bool) -> str:
    """What the predicted losses were measured on, or that they were not yet."""
    made = f"{escape(model)}, {escape(method)}"
    if losses is None:
        return hint(f"What layers lose was not measured for {made} and this calibration yet.")
    where = "ships with the app" if shipped else "measured here"
    day, seed = escape(losses.created[:10]), escape(losses.config.get("seed", 0))
    return facts_line(
        f"Predicted losses: {made}, measured on {losses.tokens:,} calibration tokens (seed {seed}) · {day} · {where}"
    )


def weakest_reading(losses: MeasuredLosses, layers: Sequence[LayerSize]) -> str:
    """Which layers bear the sparsest pattern least, and which best; blocks count from 1, as on the canvas."""
    by_name = {name: own for name, own in losses.losses.items() if own}
    measured = [pattern for own in by_name.values() for pattern in own]
    if not measured:
        return ""
    sparsest = min(dict.fromkeys(measured), key=lambda text: NMPattern.parse(text).density)
    found = {name: own[sparsest] for name, own in by_name.items() if sparsest in own}
    order = sorted(found, key=lambda name: -found[name])
    *worst, best = (*order[:MOST_NAMED], order[-1])
    placed = {layer.name: layer for layer in layers if layer.name in (*worst, best)}

    def named(name: str) -> str:
        where = f"block {placed[name].block + 1}, {placed[name].projection}" if name in placed else name
        return f"<b>{escape(where)}</b> ({'+' if name in worst else ''}{found[name]:.2g})"

    return reading(
        f"By {escape(sparsest)}, the model is predicted to lose most with {'; '.join(map(named, worst))} nats a "
        f"token, each pruned alone. With {named(best)} it loses least."
    )


def in_use(differing: int, rules: int, pattern: str) -> str:
    """What stands beside Prune while a plan of some rules is in use."""
    if not rules:
        return ""
    verb = "differs" if differing == 1 else "differ"
    return hint(f"With your plan: {plural(differing, 'layer')} {verb} from {escape(pattern)}.")


def dropped(rules: tuple[str, ...], model: str) -> str:
    """Which rules were let go, as the model has no layer that they name; nothing if there is none."""
    if not rules:
        return ""
    named = ", ".join(f"“{escape(rule)}”" for rule in rules[:MOST_NAMED])
    more = f" and {len(rules) - MOST_NAMED} more" if len(rules) > MOST_NAMED else ""
    return hint(f"{escape(model)} has no layer for {named}{more}; your plan goes on without.", bad=True)


def outcome_reading(run: Run, predicted: float | None) -> str:
    """A finished run's plan beside what it came to."""
    report = run.report
    evaluation, space = report["evaluation"], report["size"]
    rose = math.log(evaluation["pruned"]["perplexity"] / evaluation["dense"]["perplexity"])
    share = space["packed_pruned"] / space["dense_pruned"] if space["dense_pruned"] else 1.0
    expected = "" if predicted is None else f"; predicted were {predicted:+.3f}, as the sum over layers"
    return reading(
        f"The run in view kept {escape(pattern_words(report))}. Its pruned layers take {size(space['packed_pruned'])} "
        f"packed, {share:.1%} of dense, and the loss changed by {rose:+.3f} nats a token on the evaluation text"
        f"{expected}. {term('perplexity', 'Perplexity')}: {evaluation['dense']['perplexity']:.2f} → "
        f"{evaluation['pruned']['perplexity']:.2f}.",
        "costs",
    )
