"""What a sweep and its figures show, in sentences."""

from collections.abc import Sequence

from components.places.runs.compare.figures import MEASURES, clear, front_of
from components.words.html import escape, facts_line, hint, reading, term
from components.words.phrases import plural
from eggs_core.bos import bos_words
from eggs_core.evaluation.intervals import Interval
from eggs_core.sweep.analysis import Group, label_of
from eggs_core.sweep.reading import FAILED, WAITING
from eggs_core.sweep.results import Sweep
from eggs_core.units import seconds

LARGE = "models larger than memory are not timed"
NOTHING = "No finished cell is left: choose other patterns, methods or seeds."
NO_SPEED = f"No speed was measured for these results; {LARGE}."


def left_out(count: int) -> str:
    """That some results have no measured speed; empty for none."""
    return f" Not in it: {plural(count, 'result')} without a measured speed; {LARGE}." if count else ""


def front_reading(
    found: list[Group], costs: list[float], dense: tuple[float, float], unit: str, what: str, tail: str = ""
) -> str:
    """Which results nothing beats in perplexity and a cost; `tail` is HTML."""
    points = [*zip(costs, (group.perplexity for group in found), strict=True), dense]
    front = [i for i in front_of(points) if i < len(found)]
    beaten = len(found) - len(front)
    best = ", ".join(
        f"<b>{escape(found[i].label)}</b> at {escape(found[i].pattern)} ({points[i][0]:.2f} {unit}, {points[i][1]:.1f})"
        for i in front[:4]
    )
    more = f" and {len(front) - 4} more" if len(front) > 4 else ""
    return reading(
        f"On the {term('Pareto front')} of {what} and perplexity: {best or 'the dense model alone'}{more}. Beaten in "
        f"both at once, by one of these or by the dense model: {beaten} of {plural(len(found), 'result')}.{tail}",
        "costs",
    )


def heat_reading(found: list[Group], measure: str, dense: float) -> str:
    """Which method is best at each pattern by one measure."""
    title, value_of, form, better = MEASURES[measure]
    message = []
    for pattern in dict.fromkeys(group.pattern for group in found):
        own = [group for group in found if group.pattern == pattern]
        best = (max if better else min)(own, key=lambda group: value_of(group, dense))
        message.append(f"{escape(best.label)} at {escape(pattern)} ({value_of(best, dense):{form}})")
    word = "highest" if better else "lowest"
    text = f"{escape(title[0].upper() + title[1:])} is {word} for {'; '.join(message)}. Brighter is better."
    return reading(text, "orphans" if measure == "orphans" else "n-m")


def significance_reading(rows: list[tuple[Group, Interval, int]], baseline: str) -> str:
    """Which differences from the baseline are beyond chance."""
    name = escape(baseline)
    if not rows:
        return reading(f"Nothing shares a pattern and a seed with {name}; choose another baseline.")
    better = [group for group, ratio, _ in rows if clear(ratio) and ratio.value < 1]
    worse = sum(clear(ratio) and ratio.value > 1 for _, ratio, _ in rows)
    best = min(rows, key=lambda row: row[1].value)
    return reading(
        f"Against {name}, perplexity is lower beyond chance in {len(better)} of {plural(len(rows), 'result')}, "
        f"higher in {worse}, and within chance in {len(rows) - len(better) - worse}. Farthest below: "
        f"<b>{escape(best[0].label)}</b> at {escape(best[0].pattern)}, × {best[1].value:.3f} "
        f"[{best[1].low:.3f}, {best[1].high:.3f}]. Paired over the windows of the text, mean of common seeds.",
        "costs",
    )


def absent(model: str, others: Sequence[str]) -> str:
    """That a sweep, which is of other models, has none of the model in view."""
    return hint(f"{escape(model)}, the model in view, is not in this sweep; it holds {escape(', '.join(others))}.")


def overview(sweep: Sweep, found: list[Group], model: str) -> str:
    """What the sweep is and what of it is in view, in two sentences; failed cells are named."""
    total, left, failed = len(sweep.cells), sweep.count(WAITING), [c for c in sweep.cells if c.status == FAILED]
    took = f", computed in {seconds(sweep.seconds)}" if sweep.seconds else ""
    machine = f" on {plural(sweep.machine['nodes'], 'machine')}" if sweep.machine.get("nodes", 1) > 1 else ""
    open_cells = f"; {plural(left, 'cell')} not computed yet" if left else ""
    text = (
        f"<b>{escape(sweep.name)}</b>: {plural(total, 'cell')}{took}{machine}{open_cells}. In view: "
        f"{plural(len(found), 'result')} of {escape(model)}, {plural(sum(len(g.cells) for g in found), 'run')}."
    )
    lost = "".join(
        hint(
            f"{escape(cell.config.model)} {escape(cell.config.pattern)} {escape(label_of(cell.config))}, "
            f"seed {cell.config.seed}: {escape(cell.error)}",
            bad=True,
        )
        for cell in failed[:8]
    )
    more = hint(f"and {len(failed) - 8} more cells that failed", bad=True) if len(failed) > 8 else ""
    return reading(text, "costs") + lost + more


def facts(sweep: Sweep, model: str) -> str:
    """The protocol of the figures, and where speed was measured."""
    e, rows = sweep.evaluation, [row for row in sweep.latency if row["model"] == model]
    kernels = ", ".join(sorted({f"{row.get('kernel', '')}, {row.get('threads', '?')} threads" for row in rows}))
    timed = (
        f" · speed: decoding with packed weights in turn with the dense model, medians ({escape(kernels)})"
        if rows
        else ""
    )
    text = f"{e['windows']} × {e['window']} tokens of “{escape(e['text'])}”{bos_words(e)}"
    text += f" · SHA-256 {escape(e['sha256'][:12])}…"
    made = f" · {escape(sweep.created[:10])}" if sweep.created else ""
    return facts_line(f"{text}{timed}{made} · whiskers: lowest and highest seed")
