"""The lesson's small live figures: what a scene shows beside its matrix, as HTML and SVG; no gradio here."""

from __future__ import annotations

from functools import cache

from components.places.learn.lesson.scene import HALF, Scene
from components.words.html import hint, reading
from components.words.phrases import plural
from eggs_core.graph.expansion import spread
from eggs_core.heavy import torch
from eggs_core.pattern import NMPattern
from eggs_core.pruning.toy_layer import (
    DEGREE,
    SIZE,
    judge,
    largest,
    promised,
    star_marks,
    star_points,
    suggest,
    toy_layer,
    two_halves,
)

SIGNAL_STEPS = 6
WIDTH, TOP, BOTTOM, RADIUS = 480, 42, 158, 14  # of the drawn graph
LOUD_INPUT, SCALED_INPUT = 3, 4  # of the steps on Wanda and RIA, from 0
BOTTLENECK_STEP = 8


def outputs(scene: Scene, _level: float) -> str:
    """One token's inputs, and every output before and after pruning."""
    token = scene.layer.token
    dense = scene.layer.weight @ token
    now = (scene.layer.weight * scene.mask) @ token
    most = dense.abs().max().item()
    bars = "".join(
        f'<tr data-row="{r - 1}"><th scope="row">{r}</th><td>{_number(was)}</td><td><b>{_number(y)}</b></td>'
        f'<td class="out-bar">'
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
    found = errors()

    def at(kept: int, error: float) -> str:
        return f"{44 + 420 * (SIZE * SIZE - kept) / (SIZE * SIZE):.1f},{150 - 130 * min(error, 1):.1f}"

    line = " ".join(at(SIZE * SIZE - k, e) for k, e in enumerate(found))
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
        rows.append(f'<tr data-row="{r}"><th scope="row">{r + 1}</th>{cells}</tr>')
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
    return _drawn(scene.mask)


def signal(scene: Scene, level: float) -> str:
    """The same graph, with the share of a signal from input 1 that every channel has after some steps."""
    steps = spread(scene.mask, "inputs", torch.tensor([0]), SIGNAL_STEPS)
    step, before = steps[int(level)], steps[int(level) - 1] if level else None
    even = scene.mask.sum(0 if step.side == "inputs" else 1) / scene.mask.sum().clamp_min(1)
    drawn = _drawn(scene.mask, step.amounts, even, step.side, before.amounts if before else None)
    return drawn + reading(
        f"After {plural(int(level), 'step')} the signal is on the {step.side}, {step.uneven:.0%} away from fully "
        f"mixed: that is when every channel holds its goal, a share in proportion to its lines."
    )


def promises(scene: Scene, level: float) -> str:
    """Every promise of B weights for each input, by diagonals and exactly: least kept, score, gap and error."""
    bound = round(level * DEGREE) if level <= 1 and scene.marks is None else int(level)
    rows = ""
    for count in range(DEGREE + 1):
        by_diagonals, exact = (judge(toy_layer(), mask, HALF) for mask in promised(count))
        cells = f"<td>{by_diagonals.retained:.1%}</td><td>{exact.retained:.1%}</td>"
        cells += f"<td>{by_diagonals.error:.3f}</td><td>{exact.error:.3f}</td>"
        gaps = (f"{one.gap:.3f}{'*' if one.orphans else ''}" for one in (by_diagonals, exact))
        cells += "".join(f"<td>{gap}</td>" for gap in gaps)
        rows += f'<tr{" class=chosen" if count == bound else ""}><th scope="row">{count or "0, top-N"}</th>{cells}</tr>'
    halves = judge(toy_layer(), two_halves(0), HALF)
    head = "".join(f'<th scope="colgroup" colspan="2">{name}</th>' for name in ("score kept", "error", "gap"))
    kinds = '<th scope="col">diagonals</th><th scope="col">exact</th>' * 3
    return hint("What each promise B costs, by diagonals and by the exact bound:") + (
        '<div class="wide" tabindex="0" role="region" aria-label="What each promise costs"><table class="lesson-table">'
        f'<thead><tr><th></th>{head}</tr><tr><th scope="col">B</th>{kinds}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
        + hint(
            f"* of the other seven inputs; with the orphan it would be 0. The halves of step {BOTTLENECK_STEP} give "
            f"every input {min(halves.in_degrees)} weights too, and their gap is {abs(halves.gap):.3f}."
        )
    )


@cache
def errors() -> list[float]:
    """The output error with 0 to 64 of the largest weights kept, from all kept to none."""
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
    amounts: torch.Tensor | None = None,
    goals: torch.Tensor | None = None,
    side: str = "inputs",
    before: torch.Tensor | None = None,
) -> str:
    """The graph as SVG, inputs above; one side's shares and goals beside it; edges that just carried some stand out."""

    def x(i: int) -> float:
        return WIDTH * (i + 0.5) / SIZE

    lines, nodes = "", ""
    for r, c in mask.nonzero().tolist():
        carried = before is not None and before[r if side == "inputs" else c] > 0
        ends = f'x1="{x(c):.0f}" y1="{TOP}" x2="{x(r):.0f}" y2="{BOTTOM}"'
        on = " on" if carried else ""
        lines += f'<g class="edge{on}" data-row="{r}" data-col="{c}"><line {ends}/><line class="reach" {ends}/></g>'
    fill = amounts / amounts.max().clamp_min(1e-9) if amounts is not None else torch.zeros(SIZE, dtype=torch.float32)
    for name, axis, y, dy, degrees in (
        ("inputs", "col", TOP, -33, mask.sum(0)),
        ("outputs", "row", BOTTOM, 30, mask.sum(1)),
    ):
        for i in range(SIZE):
            lost = " lost" if degrees[i] == 0 else ""
            amount, share, goal = 0.0, "", ""
            if amounts is not None and goals is not None and name == side:
                amount, share, goal = float(fill[i]), f"{amounts[i]:.0%}", f"of {goals[i]:.0%}"
            nodes += (
                f'<g class="node {name}{lost}" data-channel="{i + 1}" data-{axis}="{i}" data-share="{share}" '
                f'style="--amount:{amount:.2f}"><circle cx="{x(i):.0f}" cy="{y}" r="{RADIUS}"/>'
                f'<text x="{x(i):.0f}" y="{y + 5}">{i + 1}</text>'
                f'<text class="share" x="{x(i):.0f}" y="{y + dy}">{share}</text>'
                f'<text class="share goal" x="{x(i):.0f}" y="{y + dy + 13}">{goal}</text></g>'
            )
    return (
        '<svg class="lesson-svg lesson-graph" viewBox="0 -6 480 214" role="img" aria-label="Inputs above, outputs '
        f'below, a line for each of {int(mask.sum())} kept weights">{lines}{nodes}</svg>'
    )


def challenge(scene: Scene, _level: float) -> str:
    """What stands between this mask and the next star."""
    found, goals = scene.judge(), star_points()
    if found.wrong_groups:
        row, group = found.wrong_groups[0]
        return reading(f"No points yet: group {group + 1} of row {row + 1} does not keep exactly two weights.")
    if found.orphans:
        return reading(f"No points yet: input {found.orphans[0] + 1} is cut off. Keep one of its weights.")
    names = ("EGGS-PTP’s mask", "the best exact bound", "the best mask that our search found")
    rows = "".join(
        f'<tr{" class=chosen" if found.points >= goal else ""}><th scope="row">{"★" * count}</th><td>{points:.1f}</td>'
        f"<td>{name}</td></tr>"
        for count, (goal, points, name) in enumerate(zip(goals, star_marks(), names, strict=True), 1)
    )
    stars = sum(found.points >= goal for goal in goals)
    said = (
        f"<b>{'★' * stars}{'☆' * (3 - stars)}</b> {goals[stars] - found.points:.1f} points to the next star."
        if stars < 3
        else "<b>★★★</b> As good as the best mask that our search found."
    )
    return f'<table class="lesson-table"><tbody>{rows}</tbody></table>{reading(said)}'
