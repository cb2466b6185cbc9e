"""What the intervals and the windows show, in one sentence each."""

from components.words.html import escape, reading
from components.words.phrases import plural
from eggs_core.evaluation.intervals import Interval


def forest_reading(ratios: dict[str, Interval]) -> str:
    """Which methods lie how far above the dense model, in one sentence."""
    best, worst = (f(ratios, key=lambda label: ratios[label].value) for f in (min, max))

    def say(label):
        return f"{escape(label)} at × {ratios[label].value:.2f}"

    tail = f", the farthest {say(worst)}" if worst != best else ""
    return reading(
        f"Closest to the dense model is {say(best)}{tail}; a bar is the 95 % interval over windows.", "costs"
    )


def scatter_reading(dense: list[float], pruned: list[float]) -> str:
    """How the windows of the text moved, in one sentence."""
    rise = [b - a for a, b in zip(dense, pruned, strict=True)]
    return reading(
        f"{sum(r > 0 for r in rise)} of {plural(len(rise), 'window')} lie above the line of no change; the "
        f"largest rise is {max(rise):.2f} nats per token, the mean {sum(rise) / len(rise):.2f}.",
        "costs",
    )
