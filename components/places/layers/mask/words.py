"""Sentences about masks: the model, a layer, two masks compared."""

from __future__ import annotations

from typing import Any

from components.words.html import escape, heading, reading, term
from components.words.labels import layer_name
from components.words.phrases import NO_TOPN, plural
from eggs_core.graph.measures import summarize
from eggs_core.heavy import torch
from eggs_core.report_types import LayerEntry


def mask_heading(value: dict[str, Any] | None) -> str:
    """Whose mask a canvas draws, given what it draws; two names for a difference."""
    if value and value["difference"]:
        return heading(escape(" against ".join(value["names"])))
    return heading(escape(value["label"] if value else ""))


def layer_reading(layer: LayerEntry) -> str:
    """What the chosen layer's mask looks like, in words."""
    out_features, in_features = layer["shape"]
    z = layer["gap_z"]
    against = (
        "as well as random masks do"
        if abs(z) < 2
        else f"{'better' if z > 0 else 'worse'} than random masks do (z = {z:+.1f})"
    )
    connected = (
        f"falls into {layer['components']} separate parts (gap 0)"
        if layer["components"] > 1
        else f"mixes information {against}: its {term('spectral gap')} is {layer['spectral_gap']:.3f}, "
        f"random ones reach {layer['null_gap_mean']:.3f} ± {layer['null_gap_std']:.3f}"
    )
    notes = "".join(f" Note: {escape(note)}." for note in layer["notes"])
    return reading(
        f"{layer_name(layer)}, {out_features} outputs × {in_features} inputs: every input keeps "
        f"{layer['min_in_degree']} to {layer['max_in_degree']} weights, {layer['orphans']} are "
        f"{term('orphans')}. The graph {connected}.{notes}",
        "expander",
    )


def model_summary(layers: list[LayerEntry], label: str) -> str:
    """The whole model's graphs, in one sentence."""
    if not layers:
        return ""
    s = summarize(layers)
    weakest = next(layer for layer in layers if layer["name"] == s["weakest"])
    lost = f"{s['orphans']:,} of {plural(s['inputs'], 'input channel')} lost every connection"
    apart = f"; {plural(s['disconnected'], 'layer')} fall apart (gap 0)" if s["disconnected"] else ""
    return reading(
        f"Under {escape(label)}, {lost}, and none keeps fewer than {s['min_in_degree']}{apart}. The mean "
        f"{term('spectral gap')} of {plural(s['layers'], 'layer')} is {s['mean_gap']:.3f}; the weakest is "
        f"{layer_name(weakest)} with {s['min_gap']:.3f}, and {s['below_null']} lie clearly below random masks.",
        "orphans",
    )


def degree_reading(label: str, degrees: torch.Tensor, topn: torch.Tensor | None) -> str:
    """Which inputs lost their connections under top-N, where that is known, and under the method; int64 (in,)."""
    kept = int((degrees == 0).sum())
    name, count = escape(label), plural(len(degrees), "input")
    if topn is None:
        start = f"{NO_TOPN[0].upper()}{NO_TOPN[1:]}"
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
