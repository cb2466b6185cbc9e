"""The lesson's steps on order, real models and what to keep; no gradio here."""

from __future__ import annotations

from components.places.learn.lesson import figures, model_figures
from components.places.learn.lesson.scene import HALF, Scene, Step, toy
from eggs_core.pruning.toy_layer import crowded_layer, refit, refit_own, reorder, suggest, toy_layer
from eggs_core.registry import METHODS


def _regrouped(level: float) -> Scene:
    layer = crowded_layer()
    if level < 1:
        return Scene(layer, suggest(layer, HALF, "ria"))
    mask, order = reorder(layer, HALF)
    return Scene(layer, mask, HALF, order)


def _refitted(level: float) -> Scene:
    layer = crowded_layer()
    if level > 1:
        mask, values = refit_own(layer, HALF)
        return Scene(layer, mask, values=values)
    mask = suggest(layer, HALF, "ria")
    return Scene(layer, mask, values=refit(layer, mask, HALF) if level else None)


MODELS = (
    Step(
        "Order",
        "Another layer: its four strongest inputs share one group, so N:M must drop good weights. **Regroup**: change "
        "the columns’ order, so that strong inputs meet weak ones. The order is kept beside the weights, and the input "
        "is read in it.\n\nChoose *regrouped*, and see which columns stand side by side.",
        _regrouped,
        "Does a new order of the columns change what the unpruned layer computes?",
        (
            ("no", "Inputs and columns move together: the sum has the same terms."),
            ("yes, a little", "A sum does not depend on the order of its terms, and each input moves with its column."),
            ("only at 2:4", "With all weights kept, the sum has the same terms in any order. Only the groups change."),
        ),
        choice=("the layer", ("as it is", "regrouped"), 0),
        shows=("valid", "gap", "error"),
    ),
    Step(
        "Re-fitting",
        "The same layer. Its inputs carry a common signal, so a kept weight can do part of a dropped one’s work. "
        "**Reconstruction** gives the kept weights new values Ŵ with which the outputs are closest. X holds the "
        "inputs, a row for each of 64 tokens.\n\n$$\\min_{\\hat W}\\;\\lVert X(W-\\hat W)^\\top\\rVert$$\n\n"
        "**SparseGPT** goes column by column, chooses and re-fits at once. EGGS-PTP+ regroups, promises and re-fits.",
        _refitted,
        "Half of the weights stay dropped. What can new values of the others do?",
        (
            ("undo part of the error", "Inputs that move together can stand in for each other."),
            (
                "nothing: what is gone is gone",
                "The dropped inputs are gone from the sum; but others tell much of the same.",
            ),
            ("bring dropped weights back", "A dropped weight stays 0. The others make up for part of what it did."),
        ),
        choice=("kept weights", ("as they were", "re-fitted", "SparseGPT’s choice, re-fitted"), 0),
        shows=("valid", "gap", "error"),
        reveal=1,
    ),
    Step(
        "Costs",
        "What it costs and gains on a real language model: finished runs of the bundled tiny Llama at 2:4, as "
        "measured when they were made. **Perplexity** is how many next words the model hesitates between.\n\n"
        "$$\\text{ppl} = e^{-\\frac1n\\sum_i \\ln p(x_i)}$$\n\n"
        "x₁ … xₙ are the text’s tokens, p the model’s probability of each. Choose a method. One run each: whether a "
        "difference is real, *Quality* tells.",
        toy(lambda _: suggest(toy_layer(), HALF, "ria")),
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
        extra=model_figures.costs,
        matrix=False,
    ),
    Step(
        "Plans",
        "So far every layer got 2:4. But layers bear pruning differently. For each layer and pattern the loss is "
        "predicted from one pass over text: how much the error of its output moves the model’s loss, in nats a token. "
        "A **plan** gives each layer its own pattern, within the same bytes.\n\n"
        "$$\\min \\sum_l \\text{loss}_l(\\text{pattern}_l),\\quad \\sum_l \\text{bytes}_l \\le \\text{budget}$$\n\n"
        "Predict below. The Plan tab paints plans, fills them by a budget and runs them.",
        toy(lambda _: suggest(toy_layer(), HALF, "ria")),
        "Which block does the best plan keep most of?",
        (
            ("the first", "Its layers are predicted to lose most."),
            ("the last", "Nothing comes after it; see what its layers are predicted to lose."),
            ("all alike", "Then 2:4 everywhere would be the best plan."),
        ),
        choice=("each layer’s pattern", ("2:4 everywhere", "the best plan of as many bytes"), 0),
        extra=model_figures.plan,
        matrix=False,
        reveal=1,
    ),
    Step(
        "Challenge",
        "Prune by hand: a valid 2:4 mask without orphans, with a large gap and a small error.\n\n"
        "$$\\text{score} = 100 \\cdot \\text{gap} \\cdot (1 - \\text{error})$$\n\n"
        "A swap takes two clicks: drop one weight, keep another of the same four. One star for more than EGGS-PTP’s "
        "mask, two for more than the exact bound at any β, three for the best mask that a long search found.",
        toy(lambda _: suggest(toy_layer(), HALF, "ria")),
        "Why multiply the two?",
        (
            ("neither may be bad", "A product is large only if both parts are: mixing well and staying exact."),
            ("to save time", "It takes no longer to add. What happens to a product when one part is near 0?"),
            (
                "so that more weights are kept",
                "2:4 fixes their number. What happens to a product when one part is near 0?",
            ),
        ),
        shows=("valid", "orphans", "gap", "error", "points", "stars"),
        extra=figures.challenge,
    ),
    Step(
        "Takeaways",
        "That was the whole way: what a weight does, what dropping it costs, and what can be promised. The page beside "
        "this is yours to keep: print it, or save it as a PDF.\n\n"
        "To go on: prune a model of your own, or open a real one’s run under *Runs*, and look at its masks and graphs.",
        toy(lambda _: suggest(toy_layer(), HALF, "ria")),
        "A mask has equal degrees and a large gap. Is the model’s text good?",
        (
            (
                "we cannot tell from the graph",
                "How well a mask mixes and what the model loses are two things: measure it.",
            ),
            (
                "yes",
                "The shipped runs say otherwise: EGGS-PTP’s graph is safe, and its perplexity no better than RIA’s.",
            ),
            ("no", "It may well be: a graph says nothing of which weights were kept, only how they connect."),
        ),
        extra=model_figures.page_to_keep,
        matrix=False,
    ),
)
