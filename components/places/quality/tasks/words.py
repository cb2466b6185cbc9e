"""Tasks as a table and in one sentence."""

from components.words.html import escape, facts_line, reading, table, term
from components.words.labels import run_label
from eggs_core.evaluation.zeroshot import TaskScore, difference
from eggs_core.runs.run import Run


def task_table(pairs: list[tuple[TaskScore, TaskScore]], label: str) -> str:
    """Every task: items, both accuracies, and the paired difference with its interval."""

    def share(value: float | None, error: float | None) -> str:
        return "–" if value is None else f"{value:.1%} ± {error:.1%}"

    rows = ""
    for dense, pruned in pairs:
        change = difference(dense, pruned)
        rows += (
            f'<tr data-task="{escape(dense.task)}" data-dense="{dense.acc:.6f}" data-pruned="{pruned.acc:.6f}">'
            f"<th>{escape(dense.task)}</th><td>{dense.items}</td>"
            f"<td>{share(dense.acc, dense.acc_stderr)}</td><td>{share(pruned.acc, pruned.acc_stderr)}</td>"
            f"<td>{share(dense.acc_norm, dense.acc_norm_stderr)}</td>"
            f"<td>{share(pruned.acc_norm, pruned.acc_norm_stderr)}</td>"
            f"<td>{_points(change.value)} [{_points(change.low)}, {_points(change.high)}]</td></tr>"
        )
    head = "".join(
        f"<th>{title}</th>"
        for title in (
            "Task",
            "Items",
            f"{term('accuracy', 'Accuracy')}, dense",
            escape(label),
            f"{term('normalised accuracy', 'Normalised')}, dense",
            escape(label),
            "Difference, points [95 %]",
        )
    )
    return table("Tasks", head, rows)


def tasks_reading(run: Run, pairs: list[tuple[TaskScore, TaskScore]]) -> str:
    """Which task lost most, and whether that can be told from chance."""
    changes = {dense.task: difference(dense, pruned) for dense, pruned in pairs}
    task = min(changes, key=lambda name: changes[name].value)
    change = changes[task]
    sure = "an interval without 0" if change.high < 0 or change.low > 0 else "not to be told from chance"
    dense, pruned = next(pair for pair in pairs if pair[0].task == task)
    return reading(
        f"{escape(run_label(run))} answers {sum(pruned.best_right)} of {pruned.items} items of “{escape(task)}” "
        f"rightly, dense {sum(dense.best_right)}: {_points(change.value)} points "
        f"[{_points(change.low)}, {_points(change.high)}], {sure}. Guessing would reach {dense.chance:.0%}. "
        f"Through lm-eval, zero-shot, the first {pruned.items} items.",
        "costs",
    )


def _points(share: float) -> str:
    """A change of accuracy in points, with a sign."""
    return f"{100 * share:+.1f}".replace("-", "−")


def tasks_facts(day: str) -> str:
    """When the newest of the tasks was answered."""
    return facts_line(f"Newest of these scores: computed {escape(day)}.")
