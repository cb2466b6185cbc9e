"""Who wins where, pruning or quantising, in sentences."""

from components.places.runs.front.figures import TOP
from components.words.html import escape, facts_line, reading
from components.words.phrases import plural
from eggs_core.evaluation.front import FEW_BITS, LLAMA_CPP, Front, Point, beside_plain, best_beside_plain


def front_reading(front: Front) -> str:
    """The answer: where pruning beats plain quantisation of as many bits, if anywhere, and by how much it does not."""
    ratios = [(point, beside_plain(point, front.points)) for point in front.points if point.pruned]
    compared = [(point, ratio) for point, ratio in ratios if ratio]
    if wins := [point for point, ratio in compared if ratio.high < 1]:
        named = ", ".join(f"<b>{escape(p.name)}</b> ({p.bits:.2f} bits, {p.perplexity:.2f})" for p in wins[:4])
        first = f"Pruning beats plain quantisation with as many bits at {named}."
    elif not compared:
        first = "No pruned point has as many bits as plain quantisation was measured with."
    else:
        first = (
            f"<b>Pruning never wins here.</b> Of {plural(len(compared), 'pruned point')} none has surely a lower "
            "perplexity than plain quantisation with as many bits: keep every weight in fewer bits."
        )
    return reading(f"{first} {_beside(front)} {_fastest(front)}".strip(), "costs")


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
        "llama.cpp’s types made by its own package. Embeddings, head and norms are fp16 in all bytes and as they were "
        "in all perplexities; llama.cpp’s speed is of files whose other matrices have the same type. "
        f"Points of more than {TOP:g} × the dense perplexity are not drawn."
    )
