"""The lesson's small live figures: what a scene shows beside its matrix, as HTML and SVG; no gradio here."""

from __future__ import annotations

from functools import cache

from components.places.learn.lesson.scene import Scene
from components.state.known_runs import DEFAULT_RUN, bundled_runs
from components.words.html import escape, hint, reading
from components.words.run import overview_cards
from eggs_core.graph.expansion import spread
from eggs_core.heavy import torch
from eggs_core.pattern import NMPattern
from eggs_core.pruning.toy_layer import SIZE, best_points, eggs_points, judge, largest, suggest, toy_layer
from eggs_core.registry import METHODS
from eggs_core.runs.run import Run

SIGNAL_STEPS = 6
WIDTH, TOP, BOTTOM, RADIUS = 480, 42, 158, 14  # of the drawn graph
LOUD_INPUT, SCALED_INPUT = 3, 4  # of the steps on Wanda and RIA, from 0


def outputs(scene: Scene, _level: float) -> str:
    """One token's inputs, and every output before and after pruning."""
    token = scene.layer.token
    dense = scene.layer.weight @ token
    now = (scene.layer.weight * scene.mask) @ token
    most = dense.abs().max().item()
    bars = "".join(
        f'<tr><th scope="row">{r}</th><td>{_number(was)}</td><td><b>{_number(y)}</b></td><td class="out-bar">'
        f'<i class="was" style="{_bar(was, most)}"></i><i style="{_bar(y, most)}"></i></td></tr>'
        for r, (was, y) in enumerate(zip(dense.tolist(), now.tolist(), strict=True), 1)
    )
    inputs = ", ".join(_number(x) for x in token.tolist())
    return hint(f"One token’s inputs: x = ({inputs}). Its outputs:") + (
        f'<table class="lesson-table"><thead><tr><th scope="col">output</th><th scope="col">all weights</th>'
        f'<th scope="col">now</th><th></th></tr></thead><tbody>{bars}</tbody></table>'
    )


def error_curve(scene: Scene, _level: float) -> str:
    """The output error over the number of weights kept, and where this mask is."""
    errors = _errors()

    def at(kept: int, error: float) -> str:
        return f"{44 + 420 * (SIZE * SIZE - kept) / (SIZE * SIZE):.1f},{150 - 130 * min(error, 1):.1f}"

    line = " ".join(at(SIZE * SIZE - k, e) for k, e in enumerate(errors))
    x, y = at(int(scene.mask.sum()), scene.judge().error).split(",")
    return (
        '<svg class="lesson-svg" viewBox="0 0 480 190" role="img" aria-label="Output error over weights kept">'
        '<path class="axis" d="M44,20V150H464"/>'
        f'<polyline class="curve" points="{line}"/><circle class="here" cx="{x}" cy="{y}" r="6"/>'
        '<text x="36" y="24" text-anchor="end">1</text><text x="36" y="154" text-anchor="end">0</text>'
        '<text x="44" y="168">64 kept</text><text x="254" y="168" text-anchor="middle">32</text>'
        '<text x="464" y="168" text-anchor="end">none</text>'
        '<text x="52" y="32">output error</text></svg>'
    )


def stored(scene: Scene, _level: float) -> str:
    """What hardware would store of every row: the kept values and their places; groups that do not fit stand out."""
    pattern, rows = scene.judged_by, []
    for r in range(SIZE):
        cells = ""
        for first in range(0, SIZE, pattern.group):
            group = range(first, first + pattern.group)
            kept = [(scene.layer.weight[r, c].item(), c - first + 1) for c in group if scene.mask[r, c]]
            fits = "" if len(kept) == pattern.keep else ' class="misfit"'
            cells += f"<td{fits}>{' '.join(f'<span>{_number(w)}<sub>{place}</sub></span>' for w, place in kept)}</td>"
        rows.append(f'<tr><th scope="row">{r + 1}</th>{cells}</tr>')
    bits = pattern.keep * (16 + (pattern.group - 1).bit_length())
    full = bool((scene.mask.view(SIZE, -1, pattern.group).sum(2) == pattern.keep).all())
    message = (
        f"Every row fills the same {SIZE * pattern.keep // pattern.group} slots: a value of 16 bits and 2 bits for its "
        f"place. A group takes {bits} bits instead of {16 * pattern.group}."
        if full
        else f"Coloured groups do not fill exactly {pattern.keep} slots: this layout cannot hold them."
    )
    return hint("What the hardware stores of each row; the small number is the place in the group of four:") + (
        f'<table class="lesson-table stored"><tbody>{"".join(rows)}</tbody></table>{reading(message)}'
    )


def kept_by_method(scene: Scene, _level: float) -> str:
    """How many weights of every input three scores keep on the same layer."""
    head = "".join(f'<th scope="col"{_chosen(c)}>{c + 1}</th>' for c in range(SIZE))
    rows = ""
    for name, label in (("magnitude", "Magnitude"), ("wanda", "Wanda"), ("ria", "RIA")):
        degrees = suggest(scene.layer, scene.judged_by, name).sum(0).tolist()
        rows += f'<tr><th scope="row">{label}</th>'
        rows += "".join(f"<td{_chosen(c)}>{degree}</td>" for c, degree in enumerate(degrees)) + "</tr>"
    return hint("Weights kept of every input, by three scores:") + (
        f'<table class="lesson-table counts"><thead><tr><th>input</th>{head}</tr></thead><tbody>{rows}</tbody></table>'
    )


def graph(scene: Scene, _level: float) -> str:
    """The mask as a bipartite graph; orphans stand out."""
    return _drawn(scene.mask, [""] * SIZE, [""] * SIZE)


def signal(scene: Scene, level: float) -> str:
    """The same graph, with the share of a signal from input 1 that every channel has after some steps."""
    steps = spread(scene.mask, "inputs", torch.tensor([0]), SIGNAL_STEPS)
    step, before = steps[int(level)], steps[int(level) - 1] if level else None
    shares = [f"{amount:.0%}" for amount in step.amounts.tolist()]
    none = [""] * SIZE
    drawn = _drawn(
        scene.mask,
        shares if step.side == "inputs" else none,
        shares if step.side == "outputs" else none,
        step.amounts,
        step.side,
        before.amounts if before else None,
    )
    count = int(level)
    return drawn + reading(
        f"After {count} step{'' if count == 1 else 's'} the signal is on the {step.side}; "
        f"{step.uneven:.0%} of it would have to move for it to lie evenly on the edges."
    )


def costs(_scene: Scene, level: float) -> str:
    """A shipped run's figures on a real model, and the perplexity of every method."""
    runs = shipped()
    if not runs:
        return reading("No finished run ships with this copy of the app: press Prune, and see the Overview tab.")
    method = list(METHODS)[int(level)]
    cards = overview_cards(runs[method]) if method in runs else reading("No run of this method ships with the app.")
    worst = max(run.report["evaluation"]["pruned"]["perplexity"] for run in runs.values())
    rows = ""
    for name, run in runs.items():
        value = run.report["evaluation"]["pruned"]["perplexity"]
        rows += (
            f'<tr{" class=chosen" if name == method else ""}><th scope="row">{escape(METHODS[name].label)}</th>'
            f'<td>{value:.1f}</td><td class="out-bar"><i style="left:0;width:{value / worst:.1%}"></i></td></tr>'
        )
    dense = next(iter(runs.values())).report["evaluation"]["dense"]["perplexity"]
    message = hint(f"Perplexity of the tiny Llama at 2:4, one run each; with all weights it is {dense:.1f}:")
    return f'{cards}{message}<table class="lesson-table"><tbody>{rows}</tbody></table>'


def challenge(scene: Scene, _level: float) -> str:
    """What stands between this mask and the score of EGGS-PTP."""
    found, wanted = scene.judge(), eggs_points()
    if found.wrong_groups:
        row, group = found.wrong_groups[0]
        return reading(f"No points yet: group {group + 1} of row {row + 1} does not keep exactly two weights.")
    if found.orphans:
        return reading(f"No points yet: input {found.orphans[0] + 1} is cut off. Keep one of its weights.")
    if found.points <= wanted:
        return reading(f"EGGS-PTP earns {wanted:.1f}; {wanted - found.points:.1f} to go. Which swap widens the gap?")
    best = best_points()
    more = (
        f"The best mask that our search found earns {best:.1f}."
        if found.points < best - 0.05
        else ("That is as good as the best mask that our search found.")
    )
    return reading(f"<b>You beat EGGS-PTP by {found.points - wanted:.1f} points.</b> {more}")


@cache
def shipped() -> dict[str, Run]:
    """The bundled model's shipped runs at 2:4, by method, in the methods' order."""
    model, pattern, _ = DEFAULT_RUN
    same = [run for run in bundled_runs() if (run.report["model"], run.report["pattern"]) == (model, pattern)]
    runs = {run.report["method"]: run for run in same}
    return {name: runs[name] for name in METHODS if name in runs}


@cache
def _errors() -> list[float]:
    layer = toy_layer()
    return [judge(layer, largest(layer, kept), NMPattern(2, 4)).error for kept in range(SIZE * SIZE, -1, -1)]


def _number(value: float) -> str:
    return f"{value + 0:.1f}".replace("-0.0", "0.0").replace("-", "−")


def _bar(value: float, most: float) -> str:
    half = 50 * min(1.0, abs(value) / most)
    return f"left:{50 - half if value < 0 else 50:.1f}%;width:{half:.1f}%"


def _chosen(column: int) -> str:
    return ' class="chosen"' if column == SCALED_INPUT else ""


def _drawn(
    mask: torch.Tensor,
    above: list[str],
    below: list[str],
    amounts: torch.Tensor | None = None,
    side: str = "inputs",
    before: torch.Tensor | None = None,
) -> str:
    """The graph as SVG: inputs above, outputs below; amounts fill one side, edges that just carried some stand out."""

    def x(i: int) -> float:
        return WIDTH * (i + 0.5) / SIZE

    lines, nodes = "", ""
    for r, c in mask.nonzero().tolist():
        carried = before is not None and before[r if side == "inputs" else c] > 0
        lines += f'<line{" class=on" if carried else ""} x1="{x(c):.0f}" y1="{TOP}" x2="{x(r):.0f}" y2="{BOTTOM}"/>'
    fill = amounts / amounts.max().clamp_min(1e-9) if amounts is not None else torch.zeros(SIZE)
    for name, y, dy, shown, degrees in (
        ("inputs", TOP, -20, above, mask.sum(0)),
        ("outputs", BOTTOM, 30, below, mask.sum(1)),
    ):
        for i in range(SIZE):
            lost = " lost" if degrees[i] == 0 else ""
            amount = float(fill[i]) if name == side else 0.0
            nodes += (
                f'<g class="node {name}{lost}" data-channel="{i + 1}" data-share="{shown[i]}" '
                f'style="--amount:{amount:.2f}"><circle cx="{x(i):.0f}" cy="{y}" r="{RADIUS}"/>'
                f'<text x="{x(i):.0f}" y="{y + 5}">{i + 1}</text>'
                f'<text class="share" x="{x(i):.0f}" y="{y + dy}">{shown[i]}</text></g>'
            )
    return (
        '<svg class="lesson-svg lesson-graph" viewBox="0 0 480 200" role="img" aria-label="Inputs above, outputs '
        f'below, a line for each of {int(mask.sum())} kept weights">{lines}{nodes}</svg>'
    )
