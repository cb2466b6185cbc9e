"""The verdict on a run, what the chart of layers shows, and what stands in the cards' place until it is finished."""

from typing import Literal

from components.words.glossary import MEASURES, measure_of
from components.words.html import escape, reading
from components.words.labels import layer_name
from components.words.phrases import even, plural
from eggs_core.report_types import LayerEntry, Report
from eggs_core.units import rate

SHARES = {25: "A quarter of", 50: "Half", 75: "Three quarters of"}  # per cent -> how people say it
MARKS = {"good": "✓", "bad": "✗", "even": "–"}
Mark = Literal["good", "bad", "even"]


def verdict(report: Report, label: str, speedup: float | None, here: bool) -> str:
    """A finished run in one sentence, with marks for what is good and bad; `speedup` is packed to dense.

    While another run is computing, a line says that this is the earlier one.
    """
    layers = report["layers"]
    sizes = [layer["shape"][0] * layer["shape"][1] for layer in layers]
    gone = sum(n * layer["sparsity"] for n, layer in zip(sizes, layers, strict=True)) / max(sum(sizes), 1)
    said = [
        _perplexity(report),
        _smaller(report),
        _faster(speedup, "on this machine" if here else "where the run was made"),
    ]
    parts = [
        f'<span class="verdict-{mark}"><i aria-hidden="true">{MARKS[mark]}</i> {text}</span>' for mark, text in said
    ]
    share = f"{SHARES.get(round(100 * gone), f'{gone:.0%} of')} the weights gone" if gone else "All weights kept"
    return (
        f'<p class="verdict-earlier">Another run is computing. This is the earlier one: {escape(label)}.</p>'
        f'<p class="verdict"><b>{share}:</b> {", ".join(parts)}.</p>'
    )


def _perplexity(report: Report) -> tuple[Mark, str]:
    dense, pruned = (report["evaluation"][side]["perplexity"] for side in ("dense", "pruned"))
    ratio = pruned / dense
    if abs(ratio - 1) < 0.005:
        return "good", "the same perplexity"
    if ratio >= 3:
        return "bad", f"{rate(ratio)} times the perplexity"
    return ("bad" if ratio > 1 else "good"), f"{abs(ratio - 1):.0%} {'more' if ratio > 1 else 'less'} perplexity"


def _smaller(report: Report) -> tuple[Mark, str]:
    less = 1 - report["size"]["packed_bytes"] / report["size"]["dense_bytes"]
    return ("good", f"{less:.0%} smaller") if less >= 0.005 else ("bad", "no smaller")


def _faster(speedup: float | None, where: str) -> tuple[Mark, str]:
    if speedup is None:
        return "even", "speed not measured"
    if even(speedup):
        return "even", f"no faster {where}"
    return ("good", f"{rate(speedup)} × as fast {where}") if speedup > 1 else ("bad", f"slower {where}")


def unfinished_card(layers: int, growing: bool) -> str:
    """That a run is under way, or that it was ended after so many layers."""
    text = (
        "Pruning… the layers appear below as they are finished."
        if growing
        else f"Ended after {plural(layers, 'layer')}, which stay below. Perplexity, size and speed belong to a finished"
        " run: press Prune for one."
    )
    return f'<div class="cards"><div class="card waiting">{text}</div></div>'


def measure_reading(layers: list[LayerEntry], key: str) -> str:
    """Where one measure is largest and smallest over the layers, in one sentence."""
    if not layers:
        return ""
    name, form = MEASURES[key]
    low, high = (f(layers, key=lambda layer: measure_of(layer, key)) for f in (min, max))
    least, most = measure_of(low, key), measure_of(high, key)
    if least == most:
        return reading(f"The {escape(name)} is {form.format(least)} in every layer.", "orphans")
    return reading(
        f"The {escape(name)} runs from {form.format(least)} in {layer_name(low)} to "
        f"{form.format(most)} in {layer_name(high)}.",
        "orphans",
    )
