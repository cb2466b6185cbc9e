"""The lesson's figures of real models: memory, shipped runs, the best plan, and the page to keep; no gradio here."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from math import ceil

from components.places.learn.lesson.figures import errors
from components.places.learn.lesson.scene import HALF, Scene
from components.state.fronts import fronts
from components.state.known_runs import DEFAULT_RUN, bundled_runs
from components.words.glossary import GLOSSARY
from components.words.html import escape, hint, reading
from components.words.run import overview_cards
from eggs_core.allocation.allocate import Allocation, best_plan
from eggs_core.allocation.sizes import LayerSize
from eggs_core.allocation.stored import SHIPPED, load_losses
from eggs_core.allocation.table import Choice, Estimate, LayerRow, Sensitivities, estimate
from eggs_core.evaluation.front import FEW_BITS, best_beside_plain
from eggs_core.evaluation.intervals import Interval, paired_ratio
from eggs_core.pruning.toy_layer import SIZE, judge, promised, toy_layer
from eggs_core.registry import METHODS
from eggs_core.rules import choice_text
from eggs_core.runs.model_card import shown_name
from eggs_core.runs.run import Run, layer_shape

PAPER = "https://arxiv.org/abs/2508.09471"
BILLIONS = (1, 7, 70)
BYTES = 2  # of a weight in 16 bits
PHONE, CARD = 8, 24  # GB: all memory of a usual phone, and of a graphics card that can be rented by the hour
SQUARE = (4096, 4096)  # a layer as large models have them
KEPT_TERMS = ("perplexity", "output error", "orphans", "spectral gap", "min in-degree", "retained score", "packed size")
PLANNED = "tiny-llama-eggs-ptp-plus.json"


def packed_share() -> float:
    """Bytes of a large 2:4 layer in 16 bits, positions included, as a share of dense."""
    from eggs_core.packed.byte_counts import layer_bytes  # here, as it imports torch at once

    return sum(layer_bytes(SQUARE, HALF, BYTES, permuted=False)) / (SQUARE[0] * SQUARE[1] * BYTES)


def memory(_scene: Scene, level: float) -> str:
    """What the weights of a model take, dense and packed at 2:4, beside a phone's memory and in rented cards."""
    dense = float(BILLIONS[int(level)] * BYTES)
    most, rows = max(dense, PHONE), ""
    for name, size in (("all weights", dense), ("half of them, packed", dense * packed_share()), ("a phone", PHONE)):
        cards = "" if name == "a phone" else f"{ceil(size / CARD)}"
        rows += (
            f'<tr><th scope="row">{name}</th><td>{size:,.1f} GB</td><td>{cards}</td>'
            f'<td class="out-bar"><i style="left:0;width:{size / most:.1%}"></i></td></tr>'
        )
    return (
        f'<table class="lesson-table"><thead><tr><th></th><th scope="col">memory</th><th scope="col">cards</th>'
        f"<th></th></tr></thead><tbody>{rows}</tbody></table>"
        + hint(
            f"Weights of {BYTES} bytes. A usual phone has {PHONE} GB for everything. A card holds {CARD} GB, and costs "
            f"its rent by the hour however full it is."
        )
        + reading(
            f"At 2:4 every pruned layer takes {packed_share():.0%} of its bytes: half of the values, and where they "
            "stood. A token needs nearly all of them read once, so fewer bytes are less time too."
        )
    )


def costs(_scene: Scene, level: float) -> str:
    """A shipped run's figures on a real model, and the perplexity of every method above the dense model's."""
    runs = shipped()
    if not runs:
        return reading("No finished run ships with this copy of the app: press Prune, and see the Overview tab.")
    method = list(METHODS)[int(level)]
    cards = overview_cards(runs[method]) if method in runs else reading("No run of this method ships with the app.")
    values = {name: run.report["evaluation"]["pruned"]["perplexity"] for name, run in runs.items()}
    dense = next(iter(runs.values())).report["evaluation"]["dense"]["perplexity"]
    span, rows = max(values.values()) - dense, ""
    for name, value in values.items():
        rows += (
            f'<tr{" class=chosen" if name == method else ""}><th scope="row">{escape(METHODS[name].label)}</th>'
            f'<td>{value:.1f}</td><td class="out-bar">'
            f'<i style="left:0;width:{max(0.0, value - dense) / span:.1%}"></i></td></tr>'
        )
    scale = f'<tfoot><tr><th colspan="2"></th><td class="lesson-scale"><span>{dense:.1f}, all weights</span>'
    return (
        cards
        + hint("Perplexity of the tiny Llama at 2:4, one run each. Bars start at the dense model’s, not at 0:")
        + f'<table class="lesson-table"><tbody>{rows}</tbody>{scale}'
        + f"<span>{dense + span:.1f}</span></td></tr></tfoot></table>"
    )


def plan(_scene: Scene, level: float) -> str:
    """Each layer of the tiny Llama: its pattern, coloured by what it is predicted to lose at 2:4."""
    table = sensitivities()
    equal, best = uniform(), planned()
    chosen: Mapping[str, Choice] = best.patterns if level else {row.name: HALF for row in table.layers}
    most = max(row.cells[HALF].loss for row in table.layers)
    blocks = sorted({row.block for row in table.layers})
    head = "".join(f'<th scope="col">block {block + 1}</th>' for block in blocks)
    rows = ""
    for projection in dict.fromkeys(row.projection for row in table.layers):
        own = {row.block: row for row in table.layers if row.projection == projection}
        cells = "".join(_plan_cell(own[block], chosen[own[block].name], most) for block in blocks)
        rows += f'<tr><th scope="row">{escape(projection.split(".")[-1])}</th>{cells}</tr>'
    predicted = best.predicted if level else equal
    return (
        hint("The tiny Llama’s layers. The darker, the more the model is predicted to lose if that layer goes to 2:4:")
        + f'<table class="lesson-table lesson-plan"><thead><tr><th></th>{head}</tr></thead>'
        + f"<tbody>{rows}</tbody></table>"
        + reading(
            f"{predicted.bytes / table.dense.bytes:.1%} of the layers’ bytes, predicted loss {predicted.loss:.3f} nats "
            f"a token; 2:4 everywhere: {equal.bytes / table.dense.bytes:.1%} and {equal.loss:.3f}."
        )
    )


def uniform() -> Estimate:
    """What 2:4 in every layer of the bundled model is predicted to come to."""
    return estimate(sensitivities(), {row.name: HALF for row in sensitivities().layers})


@cache
def planned() -> Allocation:
    """The best plan of as many bytes."""
    return best_plan(sensitivities(), uniform().bytes / sensitivities().dense.bytes)


def _plan_cell(row: LayerRow, choice: Choice, most: float) -> str:
    loss = row.cells[HALF].loss
    return (
        f'<td data-loss="{loss:.6f}" title="loss at 2:4: {loss:.4f} nats a token" style="--loss:{loss / most:.3f}">'
        f"{escape(choice_text(choice))}</td>"
    )


def takeaways() -> list[str]:
    """The lesson's three takeaways, with what was measured for each."""
    runs = shipped()

    def perplexity(name: str) -> str:
        return f"{runs[name].report['evaluation']['pruned']['perplexity']:.1f}"

    exact = judge(toy_layer(), promised(1)[1], HALF)
    measured = [f"On the matrix, dropping half of the weights moved the outputs by {errors()[SIZE * SIZE // 2]:.0%}."]
    measured += [f"On the matrix, the exact bound kept {exact.retained:.1%} of the score and left no orphan."]
    if {"ria", "ria-cp", "eggs-ptp", "eggs-ptp-plus"} <= runs.keys():
        dense = next(iter(runs.values())).report["evaluation"]["dense"]["perplexity"]
        free = guarantee()
        measured[0] += f" In perplexity EGGS-PTP+ costs {_prices()}."
        measured.insert(
            1,
            f"The tiny Llama at 2:4, perplexity {dense:.1f} with all weights: RIA {perplexity('ria')}, with another "
            f"order {perplexity('ria-cp')}, re-fitted too (EGGS-PTP+) {perplexity('eggs-ptp-plus')}.",
        )
        measured[2] += f" On the tiny Llama, EGGS-PTP has {free.value:.3f} × RIA’s perplexity: free, and no better."
    else:
        measured.insert(1, "No finished runs ship with this copy of the app.")
    said = (
        "Half of the weights can go, at a price that only measuring tells.",
        "N:M makes it pay; which half goes, in which order, and new values for the rest decide how good it is.",
        "A guarantee for every input is cheap if it is exact. It protects the worst channel, not the text.",
    )
    return [f"<b>{claim}</b> {figure}" for claim, figure in zip(said, measured, strict=True)]


def _prices() -> str:
    """What the last method costs at 2:4, model by model: each that ships with a finished run of it."""
    _, pattern, method = DEFAULT_RUN
    runs = [run for run in bundled_runs() if (run.report["pattern"], run.report["method"]) == (pattern, method)]
    return ", ".join(f"{shown_name(run.report['model'])} {run.ratio - 1:.0%}" for run in runs)


def prune_or_quantise() -> str:
    """Which of the two wins on the bundled model, where both take as many bits a weight."""
    front = next((one for one in fronts() if one.model == DEFAULT_RUN[0]), None)
    if front is None or (found := best_beside_plain(front, FEW_BITS)) is None:
        return "No such comparison ships with this copy of the app."
    ratio, point = found
    wins = "pruning wins" if ratio.high < 1 else "quantising wins" if ratio.low > 1 else "neither wins for sure"
    return (
        f"On the tiny Llama, at {point.bits:.2f} bits a weight, {wins}: {escape(point.name)} has {ratio.value:.3f} × "
        f"the perplexity of all weights in as many bits, 95 % interval {ratio.low:.3f} to {ratio.high:.3f}. All "
        "points: <i>Runs</i>, <i>Compare</i>."
    )


def page_to_keep(_scene: Scene, _level: float) -> str:
    """The three takeaways, the terms and where to go on: a page that can be printed."""
    points = "".join(f"<li>{point}</li>" for point in takeaways())
    terms = "".join(f"<dt>{escape(name)}</dt><dd>{escape(GLOSSARY[name])}</dd>" for name in KEPT_TERMS)
    return (
        f'<article class="lesson-keep"><h3>Pruning a language model: what to keep</h3><ol>{points}</ol>'
        f"<h3>Prune or quantise?</h3><p>{prune_or_quantise()}</p>"
        f"<h3>Words</h3><dl>{terms}</dl>"
        f'<p class="facts">The matrix illustrates and proves nothing; the runs are one each, on a small model. '
        f'EGGS-PTP: <a href="{PAPER}" target="_blank" rel="noopener">arXiv 2508.09471</a>. Figures by EGGS Explorer.'
        "</p></article>"
    )


def guarantee() -> Interval:
    """EGGS-PTP's perplexity over RIA's on the bundled model, paired over windows: what the guarantee costs."""
    plain, promised_too = (
        shipped()[name].report["evaluation"]["pruned"]["window_nats"] for name in ("ria", "eggs-ptp")
    )
    return paired_ratio(plain, promised_too)


@cache
def shipped() -> dict[str, Run]:
    """The bundled model's shipped runs at 2:4, by method, in the methods' order."""
    model, pattern, _ = DEFAULT_RUN
    same = [run for run in bundled_runs() if (run.report["model"], run.report["pattern"]) == (model, pattern)]
    runs = {run.report["method"]: run for run in same}
    return {name: runs[name] for name in METHODS if name in runs}


@cache
def sensitivities() -> Sensitivities:
    """What each layer of the bundled model is predicted to lose, as shipped; bytes in fp32."""
    layers = next(iter(shipped().values())).report["layers"]
    sizes = [
        LayerSize(layer["name"], layer["block"], layer["projection"], layer_shape(layer), 4, 1.0) for layer in layers
    ]
    return load_losses(SHIPPED / PLANNED).sensitivities(sizes)
