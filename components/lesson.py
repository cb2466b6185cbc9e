"""The lesson's steps: words, formula, question, and the mask that each step starts from; no gradio here."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from components.text import reading, term
from eggs_core.pattern import NMPattern
from eggs_core.toy import SIZE, Judgement, ToyLayer, eggs_points, largest, suggest, toy_layer

HALF = NMPattern(2, 4)
Scene = tuple[ToyLayer, torch.Tensor, NMPattern]


@dataclass(frozen=True, slots=True)
class Step:
    """One idea: its name, words in Markdown, the slider (label, low, high, step, start), a question."""

    name: str
    words: str
    slider: tuple[str, float, float, float, float] | None
    scene: Callable[[float], Scene]
    question: str
    answers: tuple[str, ...]  # the first is right; shown in alphabetical order
    why: str


def _toy(mask: Callable[[float], torch.Tensor], pattern: NMPattern) -> Callable[[float], Scene]:
    return lambda level: (toy_layer(), mask(level), pattern)


def _loud(level: float) -> Scene:
    layer = toy_layer().louder(3, level)
    return layer, suggest(layer, HALF, "wanda"), HALF


STEPS = (
    Step(
        "Weights", "Every output is a sum: each input times its weight. A row makes one output, a column is what one "
        "input is used for.\n\n$$y_r = \\sum_c W_{rc}\\,x_c$$\n\nClick a weight to drop it; watch the output error.",
        None, _toy(lambda _: torch.ones(SIZE, SIZE, dtype=torch.bool), NMPattern(4, 4)),
        "What happens to output 1 if all of row 1 is dropped?",
        ("It is always 0", "It doubles", "Nothing"), "A row is the whole sum; with no term left the output is 0.",
    ),
    Step(
        "Magnitude", "The simplest rule: drop the smallest weights, wherever they lie.\n\n$$S_{rc} = |W_{rc}|$$\n\n"
        "Move the slider from all 64 weights down to none.",
        ("weights kept", 0, 64, 1, 32), _toy(lambda level: largest(toy_layer(), int(level)), HALF),
        "Why does the error grow slowly at first?",
        ("The smallest weights go first", "The inputs get louder", "Columns are full"),
        "Small weights add little to the sums.",
    ),
    Step(
        "N:M", "Hardware skips zeros only if it knows where to look. N:M keeps just N of every M neighbours in a row; "
        "here M is 4. The gap between columns marks the groups.\n\n$$\\text{share kept} = N / M$$",
        ("N, weights kept of every 4", 1, 4, 1, 2),
        lambda level: (toy_layer(), suggest(toy_layer(), NMPattern(int(level), 4), "magnitude"),
                       NMPattern(int(level), 4)),
        "What share of the weights does 1:4 keep?", ("25 %", "40 %", "75 %"), "One kept of every four.",
    ),
    Step(
        "By hand", "Keep two of every four yourself. A click tells at once whether 2:4 holds, which inputs are cut off "
        "(orphans), how well the graph mixes (gap) and what the outputs lose (error).",
        None, _toy(lambda _: suggest(toy_layer(), HALF, "magnitude"), HALF),
        "How many weights does every valid 2:4 mask keep here?", ("32", "16", "48"), "8 rows × 2 groups × 2 weights.",
    ),
    Step(
        "Wanda", "A weight matters more if its input is loud. Wanda multiplies the two.\n\n"
        "$$S_{rc} = |W_{rc}| \\cdot \\lVert x_c \\rVert_2$$\n\nMake input 4 louder and watch its column fill up.",
        ("loudness of input 4, times", 0.5, 20, 0.5, 1), _loud,
        "A small weight on a very loud input is…", ("often kept", "always dropped", "set to 1"),
        "Its score is the product, which can be large.",
    ),
    Step(
        "Orphans", "RIA compares each weight with the rest of its row and column, then keeps the best of each group. "
        "Nobody looks after the inputs: some lose every weight.\n\n$$S_{rc} = \\left(\\frac{|W_{rc}|}{\\sum_r |W_{rc}|}"
        " + \\frac{|W_{rc}|}{\\sum_c |W_{rc}|}\\right)\\lVert x_c\\rVert_2^{1/2}$$",
        ("N, weights kept of every 4", 1, 4, 1, 2),
        lambda level: (toy_layer(), suggest(toy_layer(), NMPattern(int(level), 4), "ria"), NMPattern(int(level), 4)),
        "What can an orphan input still change?", ("Nothing", "Half of the outputs", "Every output"),
        "With no kept weight in its column, nothing it carries goes on.",
    ),
    Step(
        "EGGS", "EGGS-PTP first keeps whole diagonals: each gives every input of its group one weight. Then rows are "
        "filled up by score. This is our reading of the paper.\n\n$$(bM + i,\\; (i + d) \\bmod M)$$",
        ("B, diagonals per group of columns", 0, 4, 1, 1),
        _toy(lambda level: suggest(toy_layer(), HALF, "ria", "diagonal", diagonals=int(level)), HALF),
        "With B = 2, how many weights does every input keep at least?", ("2", "0", "8"),
        "Every diagonal meets every column of its group once.",
    ),
    Step(
        "Degree bound", "The same promise at the least cost: of all masks in which every input keeps at least "
        "B weights, take the one with the largest total score.\n\n$$B = \\lfloor\\beta \\cdot 8 \\cdot N/M\\rfloor$$",
        ("β", 0, 1, 0.25, 0.25),
        _toy(lambda level: suggest(toy_layer(), HALF, "ria", "degree", beta=level), HALF),
        "What does β = 1 give?", ("Every input keeps equally many", "Plain top-N", "All weights kept"),
        "At β = 1 each of the 8 inputs keeps 4 of its 8 weights.",
    ),
    Step(
        "Challenge", "Beat EGGS-PTP by hand: a valid 2:4 mask, no orphans, a large gap and a small error.\n\n"
        "$$\\text{score} = 100 \\cdot \\text{gap} \\cdot (1 - \\text{error})$$",
        None, _toy(lambda _: suggest(toy_layer(), HALF, "ria"), HALF),
        "Why multiply the two?", ("Neither may be bad", "To save time", "To keep more weights"),
        "A product is large only when both parts are.",
    ),
)  # fmt: skip


def bench_value(scene: Scene) -> dict:
    """What the matrix widget draws."""
    layer, mask, pattern = scene
    return {
        "weights": [[round(w, 1) for w in row] for row in layer.weight.tolist()], "mask": mask.int().tolist(),
        "order": list(range(SIZE)), "group": pattern.group,
    }  # fmt: skip


def measures(found: Judgement, pattern: NMPattern, challenge: bool) -> str:
    """The mask's figures, and in the challenge the score beside that of EGGS-PTP."""
    orphans = ", ".join(f"input {c + 1}" for c in found.orphans) or "none"
    valid = "yes" if not found.wrong_groups else f"no: {len(found.wrong_groups)} groups"
    cells = [
        ("kept", f"{found.kept} of {SIZE * SIZE}"), (f"{pattern} holds", valid), (term("orphans"), orphans),
        (term("spectral gap"), f"{found.gap:.3f}"), (term("output error"), f"{found.error:.3f}"),
    ]  # fmt: skip
    if challenge:
        cells.append(("your score · EGGS-PTP", f"{found.points:.1f} · {eggs_points():.1f}"))
    body = "".join(
        f'<div class="mini"><div class="card-label">{name}</div><div class="after">{value}</div></div>'
        for name, value in cells
    )
    return f'<div class="minis" data-gap="{found.gap:.6f}" data-error="{found.error:.6f}">{body}</div>'


def feedback(step: Step, answer: str | None) -> str:
    """Whether an answer is right, and why."""
    if answer is None:
        return ""
    right = answer == step.answers[0]
    return reading(
        f"{'Right. ' + step.why if right else 'Not quite. Try it on the matrix, then answer again.'}"
    ).replace('class="reading"', f'class="reading {"good" if right else "wrong"}"')
