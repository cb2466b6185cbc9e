"""The lesson's steps on weights and scores; no gradio here."""

from __future__ import annotations

from components.places.learn.lesson import figures, model_figures
from components.places.learn.lesson.scene import HALF, Scene, Step, of_four, toy
from eggs_core.heavy import torch
from eggs_core.pruning.toy_layer import SIZE, largest, suggest, toy_layer

LOUD, SCALED = figures.LOUD_INPUT, figures.SCALED_INPUT
ALL = ("kept", "valid", "orphans", "gap", "error")


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


SCORES = (
    Step(
        "Why prune",
        "A language model is a heap of weights of two bytes each. A phone has a few gigabytes for everything; a rented "
        "graphics card costs the same however full it is. And to write one token, nearly every weight is read once. "
        "**Pruning** drops the weights that matter least.\n\n"
        "This lesson prunes one small matrix by hand, then looks at real models. It takes ten minutes.",
        toy(lambda _: torch.ones(SIZE, SIZE, dtype=torch.bool), None),
        "How much memory do 7 billion weights take?",
        (
            (
                "14 GB",
                "Two bytes each: more than a phone has. Half of them, packed, just fit, with room for nothing else.",
            ),
            ("7 GB", "That would be one byte each; 16 bits are two."),
            ("700 MB", "Two bytes each: 7 billion × 2."),
        ),
        choice=("weights", tuple(f"{count} billion" for count in model_figures.BILLIONS), 0),
        extra=model_figures.memory,
        matrix=False,
        reveal=1,
    ),
    Step(
        "Weights",
        "A layer turns 8 inputs into 8 outputs. Every output is a sum: each input times its weight. A "
        "**row** "
        "holds the weights of one output, a **column** those that one input meets.\n\n$$y_r = \\sum_c "
        "W_{rc}\\,x_c$$\n\n"
        "Click a weight to drop it, click again to bring it back. Which output moves?",
        toy(lambda _: torch.ones(SIZE, SIZE, dtype=torch.bool), None),
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
        "**Pruning** sets weights to 0. The simplest rule drops the smallest ones, wherever they lie. The output error "
        "says how far the outputs are off, on 64 tokens: 0 is unchanged, 1 is all lost.\n\n$$S_{rc} = |W_{rc}|$$\n\n"
        "Predict below what half of the weights cost. Then move the slider yourself.",
        toy(lambda level: largest(toy_layer(), int(level)), None),
        "The smaller half of the weights goes. How large is the output error?",
        (
            ("about a sixth", "The smallest weights add little to the sums, so little is missed. The large ones hurt."),
            ("about a half", "Half of the weights is not half of the sums: the half that went is the small one."),
            ("nearly 1", "That takes far fewer than half of them: see where the curve gets steep."),
        ),
        slider=("weights kept", 0, SIZE * SIZE, 1, SIZE * SIZE),
        shows=("kept", "error"),
        extra=figures.error_curve,
        reveal=SIZE * SIZE // 2,
    ),
    Step(
        "N:M",
        "Zeros scattered anywhere save little. A kept weight must say where it stands: among 4,096 places in 12 bits, "
        "among 4 in only 2. Scattered reads make memory wait. And graphics cards have units built for 2:4. **N:M** "
        "keeps exactly N of every M neighbours in a row, here of every 4, so all rows pack into the same slots.\n\n"
        "$$\\text{share kept} = N / M$$\n\nMove N, then drop or bring back a weight and see whether the row still "
        "fits.",
        of_four("magnitude"),
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
        "how well the kept connections mix: 0 if they fall apart, 1 if everything is connected to everything. An "
        "orphan is left out of it.",
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
        "Make input 4 louder: when are its weights kept?",
        _loud,
        "A small weight on a very loud input is…",
        (
            ("often kept", "Its score is the product, and that can be large."),
            ("always dropped", "Move the slider to 60 and look at column 4: its weights are the smallest of all."),
            ("set to 1", "Wanda only chooses; no weight gets another value. Move the slider and look."),
        ),
        slider=("loudness of input 4, times", 1, 60, 1, 1),
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
)
