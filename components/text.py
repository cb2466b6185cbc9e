"""Words: explanations of every term, and sentences that read a result aloud. All text is escaped for HTML."""

import html
import re
from typing import Any

from eggs_core.runs import Run

GLOSSARY = {
    "perplexity": "How many next tokens the model hesitates between, on average; lower is better.",
    "top-1 accuracy": "How often the model's first guess of the next token is right.",
    "top-5 accuracy": "How often the right next token is among the model's first five guesses.",
    "packed size": "Bytes when the pruned layers store only kept weights and their positions, plus all the rest.",
    "spectral gap": "1 − σ₂ of the mask's normalised graph: near 1, information mixes fast; 0, the graph falls apart.",
    "z against random": "How many standard deviations the gap lies above that of random N:M masks of the same shape.",
    "min in-degree": "Weights kept for the worst-connected input channel.",
    "orphans": "Input channels that lost all their weights: what they carry can no longer reach the next layer.",
    "retained score": "Share of the layer's total importance score that the kept weights hold.",
    "score kept": "Total RIA score of the kept weights, as a share of what top-N keeps.",
    "output error": "Relative error of the layer's output on calibration tokens; 0 is unchanged.",
    "σ₂": "Second singular value of the mask's normalised graph: how much of a signal fails to mix in one step.",
    "Γ(T)": "The neighbours of T: all channels on the other side that at least one member of T is connected to.",
    "certificate": "A proven lower bound on |Γ(T)| ÷ |T| for every set with T's share of edges, from σ₂ and degrees.",
    "Ramanujan edge": "(√(d_R−1) + √(d_C−1)) ÷ √(d_R·d_C): about the least σ₂ that graphs of these degrees can have.",
    "decode": "Producing text one token at a time.",
    "accuracy": "Share of the items whose right choice got the highest log-likelihood.",
    "normalised accuracy": "Accuracy by log-likelihood per byte of the choice, so that long choices stand a chance.",
    "drift": "‖pruned − dense‖ ÷ ‖dense‖ of the hidden state behind a block; what all blocks before it did adds up.",
    "cosine": "Do both hidden states point the same way? 1 is the same direction, 0 none in common.",
    "Pareto front": "The results that no other one beats in both respects at once.",
    "prefill": "Reading the prompt, many tokens at once.",
}

LESSONS = {  # step of the lesson -> what a link to it says
    "n-m": "Learn: N:M",
    "orphans": "Learn: orphans",
    "expander": "Learn: expanders",
    "degree-bound": "Learn: the degree bound",
    "costs": "Learn: costs and gains",
}

MEASURES = {  # key in a layer's report -> (name, format)
    "spectral_gap": ("spectral gap", "{:.3f}"),
    "gap_z": ("z against random", "{:+.1f}"),
    "min_in_degree": ("min in-degree", "{:.0f}"),
    "orphans": ("orphans", "{:.0f}"),
    "retained_score": ("retained score", "{:.1%}"),
    "output_error": ("output error", "{:.3f}"),
}


# Control characters, and those that turn the direction of what follows: a name could hide behind them.
_UNSEEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def escape(text: object) -> str:
    """Text made safe for HTML, also inside a widget's template, where ${…} would be run; what hides text shows as �."""
    shown = html.escape(_UNSEEN.sub("�", str(text)))
    return shown.replace("$", "&#36;").replace("{", "&#123;").replace("}", "&#125;")


def term(name: str, shown: str | None = None) -> str:
    """A term with its explanation at hand."""
    return f'<abbr tabindex="0" title="{escape(GLOSSARY[name])}">{escape(shown or name)}</abbr>'


def size(count: float) -> str:
    """Bytes for people, for example 13.8 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return ""


def seconds(value: float) -> str:
    """A duration for people, for example 1 min 20 s."""
    if round(value) < 60:
        return f"{value:.0f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _card(label: str, before: str, after: str, note: str, tone: str = "") -> str:
    return (
        f'<div class="card {tone}"><div class="card-label">{label}</div>'
        f'<div class="card-figures"><span class="before">{before}</span>'
        '<span class="arrow" aria-label="becomes">→</span>'
        f'<span class="after">{after}</span></div><div class="card-note">{note}</div></div>'
    )


def overview_cards(run: Run) -> str:
    """Dense → pruned: perplexity, accuracy, size and speed, as cards."""
    evaluation, space = run.report["evaluation"], run.report["size"]
    dense, pruned = evaluation["dense"], evaluation["pruned"]
    ratio = pruned["perplexity"] / dense["perplexity"]
    share = space["packed_bytes"] / space["dense_bytes"]
    cards = [
        _card(
            term("perplexity", "Perplexity"), f"{dense['perplexity']:.1f}", f"{pruned['perplexity']:.1f}",
            f"× {ratio:.2f}, lower is better",
        ),
        _card(
            term("top-1 accuracy", "Next token right"), f"{dense['top1']:.1%}", f"{pruned['top1']:.1%}",
            f"in the first five: {dense['top5']:.1%} → {pruned['top5']:.1%}",
        ),
        _card(
            term("packed size", "Size"), size(space["dense_bytes"]), size(space["packed_bytes"]),
            f"packed, {share:.0%} of dense; saved with zeros it would not shrink",
        ),
        latency_card(run.report.get("latency")),
    ]  # fmt: skip
    return f'<div class="cards">{"".join(cards)}</div>'


def latency_card(latency: dict[str, Any] | None) -> str:
    """Decode speed, dense → packed, as a card that names the kernel; why not, for a model larger than memory."""
    if latency is None:
        return _card(term("decode", "Decode speed"), "–", "–", "not measured: the model is larger than memory")
    dense, packed = (
        latency["dense"]["decode_tokens_per_s"]["median"],
        latency["packed"]["decode_tokens_per_s"]["median"],
    )
    word = "faster" if packed >= dense else "slower"
    return _card(
        term("decode", "Decode speed"), f"{dense:.0f}", f"{packed:.0f} tok/s",
        f"× {packed / dense:.2f}, {word}; kernel: {escape(latency['kernel'])}",
    )  # fmt: skip


def reading(sentence: str, lesson: str = "") -> str:
    """A sentence that reads a figure aloud, and a link to the step of the lesson that explains what it shows."""
    return f'<p class="reading">{sentence}{lesson_link(lesson) if lesson else ""}</p>'


def lesson_link(step: str) -> str:
    """A link to a step of the lesson, which opens beside the page, so that no result is lost."""
    return f' <a class="lesson-link" href="?step={step}" target="_blank">{LESSONS[step]}</a>'


def overview_reading(run: Run, label: str) -> str:
    """What happened, in two sentences made from the figures."""
    layers, evaluation = run.report["layers"], run.report["evaluation"]
    ratio = evaluation["pruned"]["perplexity"] / evaluation["dense"]["perplexity"]
    orphans = sum(layer["orphans"] for layer in layers)
    worst = max(layers, key=lambda layer: layer["output_error"])
    keep, group = run.report["pattern"].split(":")
    return reading(
        f"{escape(label)} kept {keep} of every {group} weights in {len(layers)} layers; "
        f"perplexity {'rose' if ratio >= 1 else 'fell'} by {abs(ratio - 1):.0%}. {_orphans(orphans)} "
        f"Of all layers the output of <b>{escape(worst['name'])}</b> is the furthest from its dense one "
        f"({term('output error')} {worst['output_error']:.2f}).",
        "costs",
    )


def _orphans(count: int) -> str:
    if count == 0:
        return "No input channel lost all its connections."
    return f"{count} input channel{'s' if count > 1 else ''} lost every connection."


def layer_reading(layer: dict[str, Any]) -> str:
    """What the chosen layer's mask looks like, in words."""
    out_features, in_features = layer["shape"]
    z = layer["gap_z"]
    against = (
        "as well as random masks do" if abs(z) < 2 else
        f"{'better' if z > 0 else 'worse'} than random masks do (z = {z:+.1f})"
    )  # fmt: skip
    connected = (
        f"falls into {layer['components']} separate parts (gap 0)"
        if layer["components"] > 1
        else f"mixes information {against}: its {term('spectral gap')} is {layer['spectral_gap']:.3f}, "
        f"random ones reach {layer['null_gap_mean']:.3f} ± {layer['null_gap_std']:.3f}"
    )
    notes = "".join(f" Note: {escape(note)}." for note in layer["notes"])
    return reading(
        f"<b>{escape(layer['name'])}</b>, {out_features} outputs × {in_features} inputs: every input keeps "
        f"{layer['min_in_degree']} to {layer['max_in_degree']} weights, {layer['orphans']} are "
        f"{term('orphans')}. The graph {connected}.{notes}",
        "expander",
    )
