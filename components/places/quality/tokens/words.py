"""A text coloured by how much harder each token became, and what it shows in words."""

import math

from components.places.quality.tokens.figures import EASIER, HARDER
from components.places.quality.tokens.view import Compared
from components.words.html import escape, facts_line, reading
from eggs_core.evaluation.tokens import Prediction, TokenChange, mean_changes

FULL_COLOUR = 3.0  # nats: a token becomes 20 times less likely
STRONGEST = 70  # per cent of the colour, so that text stays readable


def coloured_text(first: str, changes: list[TokenChange]) -> str:
    """Every token as a span: orange if harder after pruning, blue if easier; hover or focus shows the predictions."""
    spans = "".join(_span(change) for change in changes)
    legend = (
        f'<p class="legend token-legend"><span><i style="background:{EASIER}"></i>easier after pruning</span>'
        f'<span><i style="background:{HARDER}"></i>harder; full colour from {FULL_COLOUR:g} nats, where a token became '
        "20 times less likely</span></p>"
    )
    return f'{legend}<div class="tokens"><span class="token">{_visible(first)}</span>{spans}</div>'


def tokens_facts(found: Compared) -> str:
    """On what the tokens were compared, and when."""
    return facts_line(
        f"The first {len(found.changes) + 1} tokens of {escape(found.text)}, dense beside pruned; "
        f"computed {escape(found.day)}."
    )


def _span(change: TokenChange) -> str:
    strength = min(abs(change.change) / FULL_COLOUR, 1) * STRONGEST
    hue = HARDER if change.change > 0 else EASIER
    rows = "".join(
        f"<tr><td>{_likely(*a)}</td><td>{_likely(*b)}</td></tr>"
        for a, b in zip(change.dense.likeliest, change.pruned.likeliest, strict=True)
    )
    tip = (
        f'<span class="token-tip" role="tooltip"><b>{_visible(change.text)}</b> {change.change:+.2f} nats · '
        f"{change.kind}"
        f"<table><thead><tr><th>dense: {_share(change.dense)}</th><th>pruned: {_share(change.pruned)}</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></span>"
    )
    return (
        f'<span class="token" tabindex="0" data-change="{change.change:.4f}" '
        f'style="background:color-mix(in srgb, {hue} {strength:.0f}%, transparent)">{_visible(change.text)}{tip}</span>'
    )


def _share(prediction: Prediction) -> str:
    return f"{100 * math.exp(-prediction.nats):.3g} % for it"


def _likely(text: str, share: float) -> str:
    return f"{_visible(text)} {share:.0%}"


def _visible(text: str) -> str:
    return escape(text.replace("\n", "↵"))


def tokens_reading(changes: list[TokenChange]) -> str:
    """How many tokens became harder, which most, and which kind suffers most."""
    harder = [change for change in changes if change.change > 0]
    worst = max(changes, key=lambda change: change.change)
    means = mean_changes(changes)
    kind = max(means, key=lambda name: means[name][0])
    lost = sum(change.dense.likeliest[0][0] == change.text != change.pruned.likeliest[0][0] for change in changes)
    return reading(
        f"{len(harder)} of {len(changes)} tokens became harder, most “<b>{_visible(worst.text.strip())}</b>” "
        f"({worst.change:+.2f} nats); {lost} that the dense model guessed first are no longer the first guess. "
        f"On average “{escape(kind)}” suffer most ({means[kind][0]:+.2f} nats over {means[kind][1]}); a text this "
        "short tells little about kinds with few tokens.",
        "costs",
    )
