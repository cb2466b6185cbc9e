"""What the intervals and the windows show, in one sentence each."""

from components.words.html import escape, reading, term
from components.words.labels import run_label
from components.words.phrases import plural
from eggs_core.evaluation.intervals import Interval
from eggs_core.runs.run import Run


def accuracy_reading(run: Run, runs: list[Run], sure: bool) -> str:
    """What pruning did to the run in view, and which of `runs` is best; `sure`: beyond chance."""
    evaluation = run.report["evaluation"]
    dense, pruned = evaluation["dense"], evaluation["pruned"]
    worse = sum(p > d for d, p in zip(dense["window_nats"], pruned["window_nats"], strict=True))
    text = (
        f"{escape(run_label(run))} made {worse} of {len(pruned['window_nats'])} windows harder to predict; "
        f"{term('perplexity')} went from {dense['perplexity']:.2f} to {pruned['perplexity']:.2f}."
    )
    if len(runs) > 1:
        first, second = sorted(runs, key=lambda r: r.report["evaluation"]["pruned"]["perplexity"])[:2]
        beyond = (
            "and the interval of their difference excludes chance (★)" if sure else "but the two cannot be told apart"
        )
        text += f" Best here: <b>{escape(run_label(first))}</b>, before {escape(run_label(second))}, {beyond}."
    return reading(text, "costs")


def forest_reading(ratios: dict[str, Interval]) -> str:
    """Which methods lie how far above the dense model, in one sentence."""
    best, worst = (f(ratios, key=lambda label: ratios[label].value) for f in (min, max))

    def say(label: str) -> str:
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
