"""The lesson's steps on graphs and promises; no gradio here."""

from __future__ import annotations

from components.places.learn.lesson import figures
from components.places.learn.lesson.scene import HALF, Scene, Step, of_four, toy
from eggs_core.pruning.toy_layer import diagonals, suggest, toy_layer, two_halves


def _framed(level: float) -> Scene:
    layer, count = toy_layer(), int(level)
    mask = suggest(layer, HALF, "ria", "diagonal", diagonals=count)
    return Scene(layer, mask, marks=diagonals(layer, HALF, count))


GRAPHS = (
    Step(
        "Orphans",
        "Picking the best of each group in each row is called **top-N**. Nobody looks after the columns: an "
        "input whose weights always come third loses all of them. Below, the mask as a **graph**: inputs above, "
        "outputs "
        "below, a line for each kept weight. The **gap** is that of the others: a lone point would make every gap 0."
        "\n\nFind the orphan. Then move N: when is it rescued?",
        of_four("ria"),
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
        toy(lambda level: two_halves(int(level))),
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
        "An **expander** is a graph with few lines in which everything is still close to everything. The test: put a "
        "signal on input 1 and let it cross, split evenly over the lines, back and forth. Fully mixed, every channel "
        "holds a share in proportion to its lines. How fast it gets there, the spectral gap says; σ₂ is how much of "
        "what is still uneven one step keeps at most.\n\n$$\\text{gap} = 1 - \\sigma_2$$\n\n"
        "Move the slider. Then keep a weight of input 4 by a click.",
        toy(lambda _: suggest(toy_layer(), HALF, "ria")),
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
        "[EGGS-PTP](https://arxiv.org/abs/2508.09471) keeps every input connected. It first keeps B whole "
        "**diagonals** (framed), those that cost least score; then RIA’s score fills up the rows. Tile b is rows 4b to "
        "4b + 3, counted from 0. Its diagonal of shift d takes from row 4b + i the column (i + d) mod 4 of each group, "
        "so every input of the group gets one. This is our reading of the paper."
        "\n\n$$(4b + i,\\; (i + d) \\bmod 4),\\quad i = 0 \\ldots 3$$\n\n"
        "Predict below; then add diagonals. What is gained, and what does it cost?",
        _framed,
        "With B = 2 diagonals, how many weights does every input keep at least?",
        (
            ("2", "Every diagonal meets every column of its group once."),
            ("0", "That is top-N, B = 0. Set B to 2 and read the row “kept” below the matrix."),
            ("8", "8 would be all weights of a column. Set B to 2 and read the row “kept” below the matrix."),
        ),
        slider=("B, diagonals per group of columns", 0, 4, 1, 1),
        shows=("degree", "score", "gap", "error"),
        extra=figures.promises,
        reveal=2,
    ),
    Step(
        "Degree bound",
        "The same promise at the least loss of score: of **all** masks in which every input keeps at least B weights, "
        "take the one with the largest total score. β sets B as a share of what an equal split would give.\n\n"
        "$$B = \\lfloor\\beta \\cdot 8 \\cdot N/M\\rfloor$$\n\n"
        "Exact, the first promise is cheap. And equal degrees are **not yet** an expander: compare the gaps in the "
        "last row, and with the two halves. A large gap also needs lines that lead to different places.",
        toy(lambda level: suggest(toy_layer(), HALF, "ria", "degree", beta=level)),
        "What does β = 1 give?",
        (
            (
                "every input keeps equally many",
                "Each of the 8 inputs keeps 4 of its 8 weights. How well they mix is another question.",
            ),
            ("plain top-N", "That is β = 0: no input is promised anything. Set β to 1 and read the row “kept”."),
            ("all weights kept", "N:M holds at every β: 32 of 64 stay. Set β to 1 and read the row “kept”."),
        ),
        slider=("β", 0, 1, 0.25, 0.25),
        shows=("degree", "score", "gap", "error"),
        extra=figures.promises,
        reveal=1,
    ),
)
