"""Zero-shot tasks: what the dense and the pruned model answer rightly, through lm-eval; no gradio here."""

from collections.abc import Iterator

import plotly.graph_objects as go

from components.chart import base_layout
from components.figures import COLORS, color
from components.jobs import Follow
from components.queue import Work
from components.results import RESULTS, Results, model_id, run_id
from components.session import run_label
from components.text import escape, reading, term
from eggs_core.fingerprints import check_same_weights
from eggs_core.model_cache import CACHE
from eggs_core.pipeline import Progress
from eggs_core.runs import Run
from eggs_core.weights import recover
from eggs_core.zeroshot import TaskScore, check_tasks, difference, zero_shot

DENSE, PRUNED = "tasks, dense", "tasks, pruned"  # kinds of result, by task and limit


def task_pairs(run: Run, results: Results = RESULTS) -> list[tuple[TaskScore, TaskScore]]:
    """Dense and pruned scores of every task that this process has measured for a run."""
    dense = results.of(model_id(run), DENSE)
    return [(dense[name], score) for name, score in results.of(run_id(run), PRUNED).items() if name in dense]


def measure_tasks(follow: Follow, run: Run, tasks: list[str], limit: int, results: Results = RESULTS) -> Iterator:
    """Answer the tasks with the dense and the pruned model of a run, as far as that is not known; with progress.

    Raises EggsError as `recover` and `zero_shot` do.
    """
    check_tasks(tasks, limit)
    sides = ((0.0, model_id(run), DENSE, "dense"), (0.5, run_id(run), PRUNED, "pruned"))
    for share, subject, kind, side in sides:

        def keep(scores: dict[str, TaskScore], subject: tuple = subject, kind: str = kind) -> None:
            for task, score in scores.items():
                results.keep(subject, kind, (task, limit), score)

        wanted = tuple(task for task in tasks if (task, limit) not in results.of(subject, kind))
        if not wanted:
            continue
        work = Work((kind, *subject, wanted, limit), task_steps, (run, side, wanted, limit), run.report["model"], keep)
        for event in follow(work):
            if isinstance(event, Progress):
                event = Progress(f"{side}, {event.text}", share + event.share / 2, event.seconds_left)
            yield event


def task_steps(run: Run, side: str, tasks: tuple[str, ...], limit: int) -> Iterator[Progress | dict[str, TaskScore]]:
    """Progress, and at the end the scores of a run's "dense" or "pruned" model by task."""
    if side == "dense":
        yield Progress(f"Loading {run.report['model']}", 0.0)
        dense = CACHE.get(run.report["model"])
        check_same_weights(run.report, dense)
        model, tokenizer = dense.model, dense.tokenizer
    else:
        models = yield from recover(run)
        model, tokenizer = models.zeros, models.dense.tokenizer
    names, scores = iter(tasks), {}
    for event in zero_shot(model, tokenizer, list(tasks), limit):
        if isinstance(event, Progress):
            yield event
        else:
            scores[next(names)] = event
    yield scores


def task_chart(pairs: list[tuple[TaskScore, TaskScore]], label: str) -> go.Figure:
    """Accuracy (normalised where the task has it) on every task with its standard error, dense and pruned."""
    figure = go.Figure()
    names = [f"{dense.task} ({dense.items})" for dense, _ in pairs]
    for side, name, hue in ((0, "dense", COLORS["Dense"]), (1, label, color(label))):
        scores = [pair[side] for pair in pairs]
        best = [(s.acc, s.acc_stderr) if s.acc_norm is None else (s.acc_norm, s.acc_norm_stderr) for s in scores]
        figure.add_bar(
            y=names, x=[100 * value for value, _ in best], orientation="h", name=name, marker={"color": hue},
            error_x={"type": "data", "array": [100 * error for _, error in best], "thickness": 1.5, "color": "#808895"},
            hovertemplate=f"{name}: %{{x:.1f}} %<extra>%{{y}}</extra>",
        )  # fmt: skip
    figure.add_scatter(
        y=names, x=[100 * dense.chance for dense, _ in pairs], mode="markers", name="guessing",
        marker={"symbol": "line-ns-open", "size": 44, "color": "#0072B2", "line": {"width": 3}},
        hovertemplate="guessing: %{x:.0f} %<extra></extra>",
    )  # fmt: skip
    figure.update_layout(
        base_layout(
            barmode="group", xaxis={"title": "accuracy ± standard error (%)", "range": [0, 100]},
            yaxis={"autorange": "reversed"},
        )
    )  # fmt: skip
    return figure


def task_table(pairs: list[tuple[TaskScore, TaskScore]], label: str) -> str:
    """Every task: items, both accuracies, and the paired difference with its interval."""
    share = lambda value, error: "–" if value is None else f"{value:.1%} ± {error:.1%}"  # noqa: E731
    rows = ""
    for dense, pruned in pairs:
        change = difference(dense, pruned)
        rows += (
            f'<tr data-task="{escape(dense.task)}" data-dense="{dense.acc:.6f}" data-pruned="{pruned.acc:.6f}">'
            f"<th>{escape(dense.task)}</th><td>{dense.items}</td>"
            f"<td>{share(dense.acc, dense.acc_stderr)}</td><td>{share(pruned.acc, pruned.acc_stderr)}</td>"
            f"<td>{share(dense.acc_norm, dense.acc_norm_stderr)}</td>"
            f"<td>{share(pruned.acc_norm, pruned.acc_norm_stderr)}</td>"
            f"<td>{100 * change.value:+.1f} [{100 * change.low:+.1f}, {100 * change.high:+.1f}]</td></tr>"
        )
    head = "".join(
        f"<th>{title}</th>"
        for title in (
            "Task", "Items", f"{term('accuracy', 'Accuracy')}, dense", escape(label),
            f"{term('normalised accuracy', 'Normalised')}, dense", escape(label), "Difference, points [95 %]",
        )
    )  # fmt: skip
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="Tasks"><table class="timings"><thead><tr>{head}'
        f"</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def tasks_reading(run: Run, pairs: list[tuple[TaskScore, TaskScore]]) -> str:
    """Which task lost most, and whether that can be told from chance."""
    changes = {dense.task: difference(dense, pruned) for dense, pruned in pairs}
    task = min(changes, key=lambda name: changes[name].value)
    change = changes[task]
    sure = "an interval without 0" if change.high < 0 or change.low > 0 else "not to be told from chance"
    dense, pruned = next(pair for pair in pairs if pair[0].task == task)
    return reading(
        f"{escape(run_label(run))} answers {sum(pruned.best_right)} of {pruned.items} items of “{escape(task)}” "
        f"rightly, dense {sum(dense.best_right)}: {100 * change.value:+.1f} points "
        f"[{100 * change.low:+.1f}, {100 * change.high:+.1f}], {sure}. Guessing would reach {dense.chance:.0%}. "
        f"Through lm-eval, zero-shot, the first {pruned.items} items.",
        "costs",
    )
