"""The lesson's steps: words, formula, question, and the mask that each step starts from; no gradio here."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from components.session import first_run
from components.text import overview_cards, reading, term
from eggs_core.expansion import spread
from eggs_core.pattern import NMPattern
from eggs_core.toy import (
    SIZE,
    Judgement,
    ToyLayer,
    crowded_layer,
    eggs_points,
    judge,
    largest,
    refit,
    reorder,
    suggest,
    toy_layer,
)

HALF = NMPattern(2, 4)
SIGNAL_STEPS = 6


@dataclass(frozen=True, slots=True)
class Scene:
    """A layer and its mask, bool (8, 8); the columns' order if not their own, and kept weights if they changed."""

    layer: ToyLayer
    mask: torch.Tensor
    pattern: NMPattern | None = HALF  # None: any mask is valid
    order: torch.Tensor | None = None
    values: torch.Tensor | None = None

    def judge(self, mask: torch.Tensor | None = None) -> Judgement:
        """What this mask, or a changed one, is worth."""
        mask = self.mask if mask is None else mask
        return judge(self.layer, mask, self.pattern or HALF, self.order, self.values)


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
    extra: Callable[[Scene, float], str] = lambda scene, level: ""  # HTML under the matrix
    matrix: bool = True
    clicks_stay: bool = False  # when the slider moves: it changes something else than the mask

    @property
    def key(self) -> str:
        """Its name in addresses, such as degree-bound."""
        return self.name.lower().replace(" ", "-").replace(":", "-")


def _toy(mask: Callable[[float], torch.Tensor], pattern: NMPattern | None = HALF) -> Callable[[float], Scene]:
    return lambda level: Scene(toy_layer(), mask(level), pattern)


def _of_four(score: str) -> Callable[[float], Scene]:
    def scene(level: float) -> Scene:
        pattern = NMPattern(int(level), 4)
        return Scene(toy_layer(), suggest(toy_layer(), pattern, score), pattern)

    return scene


def _loud(level: float) -> Scene:
    layer = toy_layer().louder(3, level)
    return Scene(layer, suggest(layer, HALF, "wanda"))


def _regrouped(level: float) -> Scene:
    layer = crowded_layer()
    if level < 1:
        return Scene(layer, suggest(layer, HALF, "ria"))
    mask, order = reorder(layer, HALF)
    return Scene(layer, mask, HALF, order, refit(layer, mask, HALF, order) if level > 1 else None)


def _signal(scene: Scene, level: float) -> str:
    """Bars: where a signal that started at input 1 is after some steps."""
    step = spread(scene.mask, "inputs", torch.tensor([0]), SIGNAL_STEPS)[int(level)]
    most = step.amounts.max().clamp_min(1e-9)
    bars = "".join(
        f'<div class="signal-bar" title="{step.side[:-1]} {i}: {amount:.1%}">'
        f'<i style="height:{100 * amount / most:.0f}%"></i><b>{amount:.0%}</b><span>{i}</span></div>'
        for i, amount in enumerate(step.amounts.tolist(), 1)
    )
    return (
        f'<div class="signal" role="img" aria-label="Share of the signal at each of the {step.side}">{bars}</div>'
        + reading(f"After {int(level)} steps the signal is on the {step.side}, {step.uneven:.0%} away from even.")
    )


def _costs(_scene: Scene, _level: float) -> str:
    """The shipped run's figures, on a real model."""
    run = first_run()
    if run is None:
        return reading("No run is stored yet: press Prune, then come back.")
    return overview_cards(run)


STEPS = (
    Step(
        "Weights", "Every output is a sum: each input times its weight. A row makes one output, a column is what one "
        "input is used for.\n\n$$y_r = \\sum_c W_{rc}\\,x_c$$\n\nClick a weight to drop it; watch the output error.",
        None, _toy(lambda _: torch.ones(SIZE, SIZE, dtype=torch.bool), None),
        "What happens to output 1 if all of row 1 is dropped?",
        ("It is always 0", "It doubles", "Nothing"), "A row is the whole sum; with no term left the output is 0.",
    ),
    Step(
        "Magnitude", "The simplest rule: drop the smallest weights, wherever they lie.\n\n$$S_{rc} = |W_{rc}|$$\n\n"
        "Move the slider from all 64 weights down to none.",
        ("weights kept", 0, 64, 1, 32), _toy(lambda level: largest(toy_layer(), int(level)), None),
        "Why does the error grow slowly at first?",
        ("The smallest weights go first", "The inputs get louder", "Columns are full"),
        "Small weights add little to the sums.",
    ),
    Step(
        "N:M", "Hardware skips zeros only if it knows where to look. N:M keeps just N of every M neighbours in a row; "
        "here M is 4. The gap between columns marks the groups.\n\n$$\\text{share kept} = N / M$$",
        ("N, weights kept of every 4", 1, 4, 1, 2),
        _of_four("magnitude"),
        "What share of the weights does 1:4 keep?", ("25 %", "40 %", "75 %"), "One kept of every four.",
    ),
    Step(
        "By hand", "Keep two of every four yourself. A click tells at once whether 2:4 holds, which inputs are cut off "
        "(orphans), how well the graph mixes (gap) and what the outputs lose (error).",
        None, _toy(lambda _: suggest(toy_layer(), HALF, "magnitude")),
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
        "RIA", "Some rows hold large weights only, some small ones only. Relative importance asks what share of its "
        "row and of its column a weight is, so that no row or column is forgotten as a whole.\n\n"
        "$$S_{rc} = \\left(\\frac{|W_{rc}|}{\\sum_r |W_{rc}|} + \\frac{|W_{rc}|}{\\sum_c |W_{rc}|}\\right)"
        "\\lVert x_c\\rVert_2^{1/2}$$",
        ("N, weights kept of every 4", 1, 4, 1, 2), _of_four("ria"),
        "Two weights are equal; one stands in a column of small weights. Which scores higher?",
        ("The one among small weights", "The one among large weights", "They score the same"),
        "It is a larger share of its column.",
    ),
    Step(
        "Orphans", "Top-N picks the best of each group in each row. Nobody looks after the columns: an input whose "
        "weights always come third loses all of them. Look at input 4, then try 3:4 and 1:4.",
        ("N, weights kept of every 4", 1, 4, 1, 2), _of_four("ria"),
        "What can an orphan input still change?", ("Nothing", "Half of the outputs", "Every output"),
        "With no kept weight in its column, nothing it carries goes on.",
    ),
    Step(
        "Expander", "See the mask as a graph: inputs on one side, outputs on the other, an edge for every kept weight. "
        "Put a signal on input 1 and let it cross, evenly over the edges, back and forth. In a good expander it is "
        "soon everywhere; how fast, the spectral gap says.\n\n$$\\text{gap} = 1 - \\sigma_2$$",
        ("steps of the signal", 0, SIGNAL_STEPS, 1, 0), _toy(lambda _: suggest(toy_layer(), HALF, "ria")),
        "Why does input 4 never get any of it?",
        ("It has no edge", "It is too far away", "It is not loud enough"),
        "An orphan has no edge, so no path leads there. Keep a weight of its column and move the slider again.",
        _signal, clicks_stay=True,
    ),
    Step(
        "EGGS", "EGGS-PTP first keeps whole diagonals: each gives every input of its group one weight. Then rows are "
        "filled up by score. This is our reading of the paper.\n\n$$(bM + i,\\; (i + d) \\bmod M)$$",
        ("B, diagonals per group of columns", 0, 4, 1, 1),
        _toy(lambda level: suggest(toy_layer(), HALF, "ria", "diagonal", diagonals=int(level))),
        "With B = 2, how many weights does every input keep at least?", ("2", "0", "8"),
        "Every diagonal meets every column of its group once.",
    ),
    Step(
        "Degree bound", "The same promise at the least cost: of all masks in which every input keeps at least "
        "B weights, take the one with the largest total score.\n\n$$B = \\lfloor\\beta \\cdot 8 \\cdot N/M\\rfloor$$",
        ("β", 0, 1, 0.25, 0.25),
        _toy(lambda level: suggest(toy_layer(), HALF, "ria", "degree", beta=level)),
        "What does β = 1 give?", ("Every input keeps equally many", "Plain top-N", "All weights kept"),
        "At β = 1 each of the 8 inputs keeps 4 of its 8 weights.",
    ),
    Step(
        "Order", "Another layer: its four strongest inputs share one group, so N:M must drop good weights. Two ways "
        "out. **1**: regroup the columns, so that the strong ones meet weak ones. **2**: give the kept weights new "
        "values, which make up for the dropped ones.\n\n$$\\min_{\\hat W}\\;\\lVert X(W-\\hat W)^\\top\\rVert$$",
        ("0 as it is · 1 regrouped · 2 and re-fitted", 0, 2, 1, 0), _regrouped,
        "Does a new order of the columns change what the full layer computes?",
        ("No", "Yes, a little", "Only at 2:4"),
        "Inputs and columns move together: the sum has the same terms.",
    ),
    Step(
        "Costs", "What all this costs and gains on a real language model: a shipped run, measured when it was made. "
        "Perplexity is how many next words the model hesitates between. Choose a method and press **Prune** to "
        "compare with your own.\n\n$$\\text{ppl} = e^{-\\frac1n\\sum_i \\ln p(x_i)}$$",
        None, _toy(lambda _: suggest(toy_layer(), HALF, "ria")),
        "2:4 drops half of the weights of the pruned layers. Why is the model not half as large?",
        ("Positions and embeddings take room", "It is not compressed", "Dropped weights are stored too"),
        "Every kept weight needs its position, and embeddings stay as they were.",
        _costs, matrix=False,
    ),
    Step(
        "Challenge", "Beat EGGS-PTP by hand: a valid 2:4 mask, no orphans, a large gap and a small error.\n\n"
        "$$\\text{score} = 100 \\cdot \\text{gap} \\cdot (1 - \\text{error})$$",
        None, _toy(lambda _: suggest(toy_layer(), HALF, "ria")),
        "Why multiply the two?", ("Neither may be bad", "To save time", "To keep more weights"),
        "A product is large only when both parts are.",
    ),
)  # fmt: skip


KEYS = [step.key for step in STEPS]


def bench_value(scene: Scene) -> dict:
    """What the matrix widget draws."""
    weights = scene.layer.weight if scene.values is None else torch.where(scene.mask, scene.values, scene.layer.weight)
    return {
        "weights": [[round(w, 1) for w in row] for row in weights.tolist()], "mask": scene.mask.int().tolist(),
        "order": list(range(SIZE)) if scene.order is None else scene.order.tolist(),
        "group": scene.pattern.group if scene.pattern else SIZE,
    }  # fmt: skip


def measures(found: Judgement, pattern: NMPattern | None, challenge: bool) -> str:
    """The mask's figures, and in the challenge the score beside that of EGGS-PTP."""
    orphans = ", ".join(f"input {c + 1}" for c in found.orphans) if len(found.orphans) < 4 else len(found.orphans)
    broken = len(found.wrong_groups)
    cells = [
        ("kept", f"{found.kept} of {SIZE * SIZE}"), (term("orphans"), orphans or "none"),
        (term("spectral gap"), f"{found.gap:.3f}"), (term("output error"), f"{found.error:.3f}"),
    ]  # fmt: skip
    if pattern:
        valid = f"no: {broken} group{'s' if broken > 1 else ''}" if broken else "yes"
        cells.insert(1, (f"{pattern} holds", valid))
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
