"""Who wins where, pruning or quantising, in sentences."""

from components.places.runs.front.figures import TOP, in_view
from components.words.html import escape, facts_line, reading
from components.words.phrases import plural
from eggs_core.evaluation.front import FEW_BITS, LLAMA_CPP, Front, Point, beside_plain, best_beside_plain, highest
from eggs_core.evaluation.intervals import Interval


def front_reading(front: Front) -> str:
    """The answer: where pruning beats plain quantisation of as many bits, if anywhere, where it loses, and how far."""
    ratios = [(point, beside_plain(point, front.points)) for point in front.points if point.pruned]
    compared = sorted(((p, ratio) for p, ratio in ratios if ratio), key=lambda pair: pair[1].value)
    wins = [pair for pair in compared if pair[1].high < 1]
    losses = [pair for pair in compared if pair[1].low > 1]
    if wins:
        lost = f" Plain bits win at {_named(losses)}." if losses else ""
        first = f"Pruning beats plain quantisation with as many bits at {_named(wins)}.{lost}"
    elif not compared:
        first = "No pruned point has as many bits as plain quantisation was measured with."
    else:
        first = (
            f"<b>Pruning never wins here.</b> Of {plural(len(compared), 'pruned point')} none has surely a lower "
            f"perplexity than plain quantisation with as many bits: keep every weight in fewer bits. The nearest is "
            f"{_named(compared[:1])}."
        )
    return reading(f"{first} {_beside(front)} {_fastest(front)}".strip(), "costs")


def _named(pairs: list[tuple[Point, Interval]]) -> str:
    """Some points with their perplexity over that of plain bits, and its interval."""
    return ", ".join(
        f"<b>{escape(p.name)}</b> ({p.bits:.2f} bits, {ratio.value:.3f} × the perplexity, {ratio.low:.3f} to "
        f"{ratio.high:.3f})"
        for p, ratio in pairs
    )


def _beside(front: Front) -> str:
    """The best pruned point of few bits, beside plain quantisation of as many."""
    if (found := best_beside_plain(front, FEW_BITS)) is None:
        return ""
    ratio, point = found
    verdict = "pruning wins" if ratio.high < 1 else "plain bits win" if ratio.low > 1 else "neither wins for sure"
    return (
        f"At {point.bits:.2f} bits a weight {escape(point.name)} has {ratio.value:.3f} × the perplexity of plain "
        f"quantisation with as many bits, 95 % interval {ratio.low:.3f} to {ratio.high:.3f}: {verdict}."
    )


def _fastest(front: Front) -> str:
    """The fastest point of each maker."""

    def best(points: list[Point]) -> Point | None:
        timed = [point for point in points if point.tokens_per_s]
        return max(timed, key=lambda point: point.tokens_per_s or 0.0, default=None)

    theirs = best([p for p in front.points if p.maker == LLAMA_CPP])
    ours = best([p for p in front.points if p.maker != LLAMA_CPP])
    if ours is None or theirs is None:
        return ""
    return (
        f"Fastest here: {escape(ours.name)} with {ours.tokens_per_s:,.0f} tokens a second, and llama.cpp’s "
        f"{escape(theirs.name)} with {theirs.tokens_per_s:,.0f}."
    )


def front_facts(front: Front) -> str:
    """What was measured, where, and what the comparison rests on."""
    return facts_line(
        f"{escape(front.model)}, whose files keep weights in {escape(front.weights)}; {escape(front.text)}; "
        f"{escape(front.machine)}. Pruned points and plain bits by {escape(front.method)} and one sweep that rounds; "
        "llama.cpp’s types made by its own code. Embedding and head have 8.5 bits a number where layers have 8.5 or "
        "fewer, else 16; perplexities include that. llama.cpp’s speed is of files whose matrices all have the type. "
        f"{_inputs(front)}"
        f"{_hidden(front)}"
    )


def _hidden(front: Front) -> str:
    """Which points lie beyond the chart, and where."""
    drawn = {id(point) for point in in_view(front)}
    beyond = [f"{escape(p.name)} ({p.perplexity:,.0f})" for p in front.points if id(p) not in drawn]
    if not beyond:
        return ""
    return f"Not drawn, as their perplexity is above {highest(front, TOP):,.0f}: {', '.join(beyond)}."


def _inputs(front: Front) -> str:
    """What rounding the inputs of products costs."""
    costs = [abs(p.perplexity / p.whole_inputs - 1) for p in front.points if p.whole_inputs]
    if not costs:
        return ""
    return (
        "Products of rounded layers read inputs rounded to 8 bits, as the kernels do; that moves a perplexity by "
        f"{max(costs):.2%} at most. "
    )
