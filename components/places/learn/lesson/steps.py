"""The lesson's steps in order: what each says, asks and shows; no gradio here."""

from __future__ import annotations

from collections.abc import Callable

from components.places.learn.lesson import figures
from components.places.learn.lesson.scene import HALF, Scene, Step
from eggs_core.heavy import torch
from eggs_core.pattern import NMPattern
from eggs_core.pruning.toy_layer import (
    SIZE,
    crowded_layer,
    diagonals,
    largest,
    refit,
    reorder,
    suggest,
    toy_layer,
    two_halves,
)
from eggs_core.registry import METHODS

LOUD, SCALED = figures.LOUD_INPUT, figures.SCALED_INPUT
ALL = ("kept", "valid", "orphans", "gap", "error")


def _toy(mask: Callable[[float], torch.Tensor], pattern: NMPattern | None = HALF) -> Callable[[float], Scene]:
    return lambda level: Scene(toy_layer(), mask(level), pattern)


def _of_four(score: str) -> Callable[[float], Scene]:
    def scene(level: float) -> Scene:
        pattern = NMPattern(int(level), 4)
        return Scene(toy_layer(), suggest(toy_layer(), pattern, score), pattern)

    return scene


def _half_done(_level: float) -> Scene:
    mask = suggest(toy_layer(), HALF, "magnitude")
    mask[-2:] = True
    return Scene(toy_layer(), mask)


def _loud(level: float) -> Scene:
    layer = toy_layer().louder(LOUD, level)
    return Scene(layer, suggest(layer, HALF, "wanda"))


def _scaled(level: float) -> Scene:
    layer = toy_layer().heavier(SCALED, level)
    return Scene(layer, suggest(layer, HALF, "ria"))


def _diagonals(level: float) -> Scene:
    layer, count = toy_layer(), int(level)
    mask = suggest(layer, HALF, "ria", "diagonal", diagonals=count)
    return Scene(layer, mask, marks=diagonals(layer, HALF, count))


def _regrouped(level: float) -> Scene:
    layer = crowded_layer()
    if level < 1:
        return Scene(layer, suggest(layer, HALF, "ria"))
    mask, order = reorder(layer, HALF)
    return Scene(layer, mask, HALF, order, refit(layer, mask, HALF, order) if level > 1 else None)


STEPS = (
    Step(
        "Weights",
        "A layer turns 8 inputs into 8 outputs. Every output is a sum: each input times its weight. A "
        "**row** "
        "holds the weights of one output, a **column** those that one input meets.\n\n$$y_r = \\sum_c "
        "W_{rc}\\,x_c$$\n\n"
        "Click a weight to drop it, click again to bring it back. Which output moves?",
        _toy(lambda _: torch.ones(SIZE, SIZE, dtype=torch.bool), None),
        "What is output 1 if all of row 1 is dropped?",
        (
            ("always 0", "A row is the whole sum; with no term left the sum is 0, whatever the inputs are."),
            ("what it was", "Drop the eight weights of row 1, and look at output 1 in the table."),
            ("twice as large", "Dropping a weight takes a term away from the sum. Drop all of row 1, and look."),
        ),
        shows=("kept", "error"),
        extra=figures.outputs,
    ),
    Step(
        "Magnitude",
        "**Pruning** sets weights to 0. The simplest rule drops the smallest ones, wherever they lie. The "
        "output error says how far the outputs are off, on 64 tokens: 0 is unchanged, 1 is all lost.\n\n"
        "$$S_{rc} = |W_{rc}|$$\n\nMove the slider down from 64 weights to none.",
        _toy(lambda level: largest(toy_layer(), int(level)), None),
        "Why does the error grow so slowly at first?",
        (
            ("the smallest weights go first", "They add little to the sums, so little is missed. The large ones hurt."),
            ("the inputs get louder", "The inputs stay the same; look at which weights go as the slider moves."),
            ("the other weights grow", "Kept weights stay as they are here. Which weights go first?"),
        ),
        slider=("weights kept", 0, SIZE * SIZE, 1, SIZE * SIZE),
        shows=("kept", "error"),
        extra=figures.error_curve,
    ),
    Step(
        "N:M",
        "Zeros scattered anywhere save no time: a processor reads memory in equal pieces. **N:M** keeps exactly "
        "N of every M neighbours in a row, here of every 4, so that all rows pack into the same slots.\n\n"
        "$$\\text{share kept} = N / M$$\n\nMove N, then drop or bring back a weight and see whether the row still "
        "fits.",
        _of_four("magnitude"),
        "What share of the weights does 1:4 keep?",
        (
            ("25 %", "One of every four stays. Some papers count the pruned ones instead; here N is what is kept."),
            ("40 %", "Set N to 1 and count: how many of the 64 stay?"),
            ("75 %", "That is the share it drops. In this app N counts the kept ones: set N to 1 and count."),
        ),
        slider=("N, weights kept of every 4", 1, 4, 1, 2),
        shows=("kept", "valid", "error"),
        extra=figures.stored,
    ),
    Step(
        "By hand",
        "Rows 1 to 6 are pruned to 2:4. Prune rows **7** and **8** yourself: two of every four must stay; "
        "yellow groups do not hold yet. Then look at column 4: did you leave it a weight? An input without any is an "
        "**orphan**: nothing that it carries goes on. Can you bring it back and still hold 2:4?\n\nThe **gap** says "
        "how well the kept connections mix: 0 if they fall apart, 1 if everything is connected to everything.",
        _half_done,
        "How many weights does every valid 2:4 mask keep here?",
        (
            ("32", "8 rows × 2 groups × 2 weights."),
            ("16", "That is the number of groups. How many weights does each of them keep?"),
            ("48", "That is 3:4. Go on until 2:4 holds, then read “kept”."),
        ),
        shows=ALL,
    ),
    Step(
        "Wanda",
        "A weight matters more if its input is **loud**, that is, if its activations are large. Wanda "
        "multiplies the two.\n\n$$S_{rc} = |W_{rc}| \\cdot \\lVert x_c \\rVert_2$$\n\n"
        "Make input 4 louder: when does its column fill up?",
        _loud,
        "A small weight on a very loud input is…",
        (
            ("often kept", "Its score is the product, and that can be large."),
            ("always dropped", "Move the slider to 20 and look at column 4: its weights are the smallest of all."),
            ("set to 1", "Wanda only chooses; no weight gets another value. Move the slider and look."),
        ),
        slider=("loudness of input 4, times", 1, 20, 1, 1),
        shows=("valid", "orphans", "error"),
    ),
    Step(
        "RIA",
        "Some columns hold large weights only, and a plain comparison favours them whole. **Relative "
        "importance** "
        "asks what share of its column and of its row a weight is, so a column cannot win by its scale alone.\n\n"
        "$$S_{rc} = \\left(\\frac{|W_{rc}|}{\\sum_r |W_{rc}|} + \\frac{|W_{rc}|}{\\sum_c |W_{rc}|}\\right)"
        "\\lVert x_c\\rVert_2^{1/2}$$\n\nMultiply the weights of input 5 and compare the three rows.",
        _scaled,
        "Two weights in a row are equal, their inputs equally loud; one stands in a column of small weights. "
        "Which scores higher?",
        (
            ("the one among small weights", "It is a larger share of its column."),
            ("the one among large weights", "Its column’s sum is larger, and the sum stands below the fraction line."),
            ("they score the same", "So magnitude and Wanda say. RIA also divides by the sum of the column."),
        ),
        slider=("weights of input 5, times", 0.25, 4, 0.25, 1),
        shows=("valid", "orphans", "error"),
        extra=figures.kept_by_method,
    ),
    Step(
        "Orphans",
        "Picking the best of each group in each row is called **top-N**. Nobody looks after the columns: an "
        "input whose weights always come third loses all of them. Below, the mask as a **graph**: inputs above, "
        "outputs "
        "below, a line for each kept weight.\n\nFind the orphan. Then move N: when is it rescued?",
        _of_four("ria"),
        "How many outputs can an orphan still change?",
        (
            ("none", "With no kept weight in its column, nothing that it carries goes on."),
            ("half of them", "Count the lines that leave input 4 in the graph."),
            ("all of them", "Before pruning, yes. Count the lines that leave input 4 now."),
        ),
        slider=("N, weights kept of every 4", 1, 4, 1, 2),
        shows=("valid", "orphans", "gap", "error"),
        extra=figures.graph,
    ),
    Step(
        "Bottlenecks",
        "No orphan here, and 2:4 holds; still something is wrong: inputs 1, 2, 5, 6 never meet outputs "
        "5 "
        "to 8. The graph falls into **two halves**. Each bridge moves one row’s connection to the other half.\n\n"
        "Build bridges and watch the gap, not the error.",
        _toy(lambda level: two_halves(int(level))),
        "What does a gap of 0 tell?",
        (
            ("the graph falls into parts", "From some inputs there is no way to some outputs, however long the way."),
            (
                "there is an orphan",
                "Look at the start of this step: no orphan, every input keeps four, and the gap is 0.",
            ),
            ("the outputs are all 0", "The outputs are there; but some of them can never hear from some inputs."),
        ),
        slider=("bridges", 0, 8, 1, 0),
        shows=("valid", "orphans", "gap", "error"),
        extra=figures.graph,
    ),
    Step(
        "Expander",
        "An **expander** is a graph with few lines in which everything is still close to everything. The "
        "test: put a signal on input 1 and let it cross, split evenly over the lines, back and forth. In a good "
        "expander it is soon everywhere; how fast, the spectral gap says.\n\n$$\\text{gap} = 1 - \\sigma_2$$\n\n"
        "Move the slider. Then keep a weight of input 4 by a click.",
        _toy(lambda _: suggest(toy_layer(), HALF, "ria")),
        "Why does input 4 never get any of the signal?",
        (
            (
                "it has no line",
                "An orphan has no line, so no way leads there. Keep a weight of its column and look again.",
            ),
            ("it is too far away", "Six steps reach every input that has a line. How many lines does input 4 have?"),
            (
                "it is not loud enough",
                "The signal only follows the lines; loudness plays no part. Count those of input 4.",
            ),
        ),
        slider=("steps of the signal", 0, figures.SIGNAL_STEPS, 1, 1),
        shows=("orphans", "gap"),
        extra=figures.signal,
        clicks_stay=True,
    ),
    Step(
        "EGGS",
        "EGGS-PTP keeps every input connected. It first keeps the whole **diagonals** (framed) that cost least "
        "score: in a tile of 4 × 4, each gives every input one weight. Then the rows are filled up by RIA’s score. "
        "This is our reading of the paper."
        "\n\n$$(4b + i,\\; (i + d) \\bmod 4),\\quad i = 0 \\ldots 3$$\n\nAdd diagonals: what is gained, and what does "
        "it cost?",
        _diagonals,
        "With B = 2 diagonals, how many weights does every input keep at least?",
        (
            ("2", "Every diagonal meets every column of its group once."),
            ("0", "That is top-N, B = 0. Set B to 2 and read the row “kept” below the matrix."),
            ("8", "8 would be all weights of a column. Set B to 2 and read the row “kept” below the matrix."),
        ),
        slider=("B, diagonals per group of columns", 0, 4, 1, 1),
        shows=("degree", "score", "gap", "error"),
    ),
    Step(
        "Degree bound",
        "The same promise at the least loss of score: of **all** masks in which every input keeps at "
        "least "
        "B weights, take the one with the largest total score. β sets B as a share of what an equal split would give."
        "\n\n$$B = \\lfloor\\beta \\cdot 8 \\cdot N/M\\rfloor$$\n\n"
        "Compare the score kept with the step before at the same B. The error may still differ: a score is only a "
        "guess.",
        _toy(lambda level: suggest(toy_layer(), HALF, "ria", "degree", beta=level)),
        "What does β = 1 give?",
        (
            ("every input keeps equally many", "At β = 1 each of the 8 inputs keeps 4 of its 8 weights."),
            ("plain top-N", "That is β = 0: no input is promised anything. Set β to 1 and read the row “kept”."),
            ("all weights kept", "N:M holds at every β: 32 of 64 stay. Set β to 1 and read the row “kept”."),
        ),
        slider=("β", 0, 1, 0.25, 0.25),
        shows=("degree", "score", "gap", "error"),
    ),
    Step(
        "Order",
        "Another layer: its four strongest inputs share one group, so N:M must drop good weights. Two ways "
        "out. "
        "**Regroup**: change the columns’ order, so that strong inputs meet weak ones. **Re-fit**: give the kept "
        "weights "
        "new values, which make up for the dropped ones.\n\n$$\\min_{\\hat W}\\;\\lVert X(W-\\hat W)^\\top\\rVert$$",
        _regrouped,
        "Does a new order of the columns change what the unpruned layer computes?",
        (
            ("no", "Inputs and columns move together: the sum has the same terms."),
            ("yes, a little", "A sum does not depend on the order of its terms, and each input moves with its column."),
            ("only at 2:4", "With all weights kept, the sum has the same terms in any order. Only the groups change."),
        ),
        choice=("the layer", ("as it is", "regrouped", "regrouped and re-fitted"), 0),
        shows=("valid", "gap", "error"),
    ),
    Step(
        "Costs",
        "What it costs and gains on a real language model: finished runs of the bundled tiny Llama at 2:4, as "
        "measured when they were made. **Perplexity** is how many next words the model hesitates between.\n\n"
        "$$\\text{ppl} = e^{-\\frac1n\\sum_i \\ln p(x_i)}$$\n\n"
        "Choose a method. One run each: whether a difference is real, the Accuracy tab tells.",
        _toy(lambda _: suggest(toy_layer(), HALF, "ria")),
        "2:4 drops half of the weights of the pruned layers. Why is the packed model not half as large?",
        (
            (
                "positions and embeddings take room",
                "Each kept weight needs its position, and embeddings stay as they were.",
            ),
            ("it is not packed", "The second size is the packed one. What else has to be stored besides kept weights?"),
            (
                "dropped weights are stored too",
                "Packing leaves them out; but something is needed to know where they were.",
            ),
        ),
        choice=("method", tuple(method.label for method in METHODS.values()), len(METHODS) - 1),
        extra=figures.costs,
        matrix=False,
    ),
    Step(
        "Challenge",
        "Beat EGGS-PTP by hand: a valid 2:4 mask without orphans, with a large gap and a small error.\n\n"
        "$$\\text{score} = 100 \\cdot \\text{gap} \\cdot (1 - \\text{error})$$\n\n"
        "A swap takes two clicks: drop one weight, keep another of the same four.",
        _toy(lambda _: suggest(toy_layer(), HALF, "ria")),
        "Why multiply the two?",
        (
            ("neither may be bad", "A product is large only if both parts are: mixing well and staying exact."),
            ("to save time", "It takes no longer to add. What happens to a product when one part is near 0?"),
            (
                "so that more weights are kept",
                "2:4 fixes their number. What happens to a product when one part is near 0?",
            ),
        ),
        shows=("valid", "orphans", "gap", "error", "points", "eggs"),
        extra=figures.challenge,
    ),
)

KEYS = [step.key for step in STEPS]
