"""Every term with its one-line explanation."""

from collections.abc import Mapping
from typing import Any

from eggs_core.report_types import LayerEntry

GLOSSARY = {
    "perplexity": "How many next tokens the model hesitates between, on average; lower is better.",
    "top-1 accuracy": "How often the model's first guess of the next token is right.",
    "top-5 accuracy": "How often the right next token is among the model's first five guesses.",
    "packed size": "Bytes when the pruned layers store only kept weights and their positions, plus all the rest.",
    "spectral gap": "1 − σ₂ of the mask's normalised graph: near 1, information mixes fast; 0, the graph falls apart.",
    "vs. random mask": "How many standard deviations the gap lies above that of random N:M masks of the same shape.",
    "min in-degree": "Weights kept for the worst-connected input channel.",
    "orphans": "Input channels that lost all their weights: what they carry can no longer reach the next layer.",
    "kept weights": "Share of the layer's weights that its pattern keeps.",
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

MEASURES = {  # key in a layer's report, or "kept" -> (name, format)
    "spectral_gap": ("spectral gap", "{:.3f}"),
    "gap_z": ("vs. random mask", "{:+.1f}"),
    "min_in_degree": ("min in-degree", "{:.0f}"),
    "orphans": ("orphans", "{:.0f}"),
    "retained_score": ("retained score", "{:.1%}"),
    "output_error": ("output error", "{:.3f}"),
    "kept": ("kept weights", "{:.1%}"),
}


def measure_of(layer: LayerEntry, key: str) -> float:
    """What a layer's report says under a key of MEASURES; what is kept is what was not pruned."""
    figures: Mapping[str, Any] = layer
    return 1 - layer["sparsity"] if key == "kept" else figures[key]
