"""A run in words: cards, facts and sentences."""

from components.words.html import becomes, card, escape, reading, term
from components.words.labels import layer_name
from components.words.phrases import even, plural
from eggs_core.report_types import Latency, Report
from eggs_core.runs.patterns import MOST_NAMED, others_words, pattern_counts
from eggs_core.runs.run import Run
from eggs_core.units import rate, size

NO_PACKED_FORM = "no packed form: an unstructured pattern is a reference"


def _card(label: str, before: str, after: str, note: str) -> str:
    return card(label, becomes(before, after), note)


def overview_cards(run: Run, here: Latency | None = None) -> str:
    """Dense → pruned: perplexity, accuracy, size and speed, as cards; `here`: the speed measured on this machine."""
    evaluation, space = run.report["evaluation"], run.report["size"]
    dense, pruned = evaluation["dense"], evaluation["pruned"]
    ratio = pruned["perplexity"] / dense["perplexity"]
    share = space["packed_bytes"] / space["dense_bytes"]
    cards = [
        _card(
            term("perplexity", "Perplexity"),
            f"{dense['perplexity']:.1f}",
            f"{pruned['perplexity']:.1f}",
            f"× {ratio:.2f}, lower is better",
        ),
        _card(
            term("top-1 accuracy", "Next token right"),
            f"{dense['top1']:.1%}",
            f"{pruned['top1']:.1%}",
            f"in the first five: {dense['top5']:.1%} → {pruned['top5']:.1%}",
        ),
        _card(
            term("packed size", "Size"),
            size(space["dense_bytes"]),
            size(space["packed_bytes"]),
            f"packed, {share:.0%} of dense, {run.bits_per_weight:.3g} bits a weight in pruned layers; saved with zeros "
            "it would not shrink"
            if run.packs
            else NO_PACKED_FORM,
        ),
        latency_card(here or run.report.get("latency"), "here" if here else "where the run was made", run.packs),
    ]
    return f'<div class="cards">{"".join(cards)}</div>'


def decode_ratio(latency: Latency) -> float:
    """How fast the packed model decodes, as a multiple of the dense one's rate."""
    return latency["packed"]["decode_tokens_per_s"]["median"] / latency["dense"]["decode_tokens_per_s"]["median"]


def latency_card(latency: Latency | None, where: str, packs: bool = True) -> str:
    """Decode speed, dense → packed, as a card that says where; why not, where there is none."""
    if latency is None:
        why = "not measured: the model is larger than memory" if packs else NO_PACKED_FORM
        return _card(term("decode", "Decode speed"), "–", "–", why)
    dense, packed = (latency[side]["decode_tokens_per_s"]["median"] for side in ("dense", "packed"))
    ratio = decode_ratio(latency)
    word = "as fast" if even(ratio) else "faster" if ratio > 1 else "slower"
    return _card(
        term("decode", "Decode speed"),
        rate(dense),
        f"{rate(packed)} tok/s",
        f"× {ratio:.2f}, {word} {where} ({escape(latency['kernel'])})",
    )


def overview_reading(run: Run, label: str) -> str:
    """What happened, in two sentences made from the figures."""
    layers, ratio = run.report["layers"], run.ratio
    orphans = sum(layer["orphans"] for layer in layers)
    worst = max(layers, key=lambda layer: layer["output_error"])
    return reading(
        f"{escape(label)} kept {_kept(run.report)}; "
        f"perplexity {'rose' if ratio >= 1 else 'fell'} by {abs(ratio - 1):.0%}. {_orphans(orphans)} "
        f"Of all layers the output of {layer_name(worst)} is the furthest from its dense one "
        f"({term('output error')} {worst['output_error']:.2f}).",
        "costs",
    )


def _kept(report: Report) -> str:
    """Which share of the weights was kept in how many layers."""
    (main, count), *others = pattern_counts(report)
    text = f"{main.keep} of every {main.group} weights in {plural(count, 'layer')}"
    if len(others) > MOST_NAMED:
        return f"{text} and other shares in {others_words(others).removesuffix(' otherwise')}"
    parts = [f"{pattern.keep} of every {pattern.group} in {plural(number, 'layer')}" for pattern, number in others]
    return " and ".join([text, *parts])


def _orphans(count: int) -> str:
    if count == 0:
        return "No input channel lost all its connections."
    return f"{count} input channel{'s' if count > 1 else ''} lost every connection."
