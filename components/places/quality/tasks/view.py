"""Zero-shot tasks: what the dense and the pruned model answer rightly, through lm-eval; no gradio here."""

from collections.abc import Hashable, Iterator
from contextlib import suppress
from typing import Any

from components.jobs.prune import Follow
from components.jobs.work import Work
from components.state.known_runs import bundled_runs
from components.state.measured import Keep, keeper, measured
from components.state.results import RESULTS, Results, model_id, run_id
from eggs_core.evaluation.task_file import CLOZE, task_file
from eggs_core.evaluation.zeroshot import TaskScore, check_tasks
from eggs_core.progress import Progress
from eggs_core.runs.later_measures import task_steps
from eggs_core.runs.measured import TASKS, Measured
from eggs_core.runs.run import Run

DENSE, PRUNED = "tasks, dense", "tasks, pruned"  # kinds of result, by task and limit
LIMIT = 200  # items of a task, until a visitor asks for others

Scores = dict[Hashable, TaskScore]  # by task and limit
Pair = tuple[TaskScore, TaskScore]  # of the dense and the pruned model


def kept_pairs(run: Run, results: Results = RESULTS) -> dict[Hashable, Pair]:
    """The scores that are kept with a run, or in memory, by task and limit, the newest last."""
    found: dict[Hashable, Pair] = {}
    for row in measured(run, TASKS, results):
        with suppress(ValueError, TypeError, LookupError):
            found[row.asked["task"], row.asked["limit"]] = (
                TaskScore(**row.found["dense"]),
                TaskScore(**row.found["pruned"]),
            )
    return found


def task_pairs(run: Run, results: Results = RESULTS) -> list[Pair]:
    """Dense and pruned scores of every task that is known for a run."""
    return list(kept_pairs(run, results).values())


def newest_day(run: Run, results: Results = RESULTS) -> str:
    """The day (UTC) on which the newest of a run's scores was computed; empty without any."""
    rows = measured(run, TASKS, results)
    return rows[-1].created[:10] if rows else ""


def _known_dense(run: Run, results: Results) -> Scores:
    """The dense model's scores that are known, of any run on its weights."""
    others = (one for one in bundled_runs() if model_id(one) == model_id(run))
    found = {name: dense for one in (*others, run) for name, (dense, _) in kept_pairs(one, results).items()}
    return found | results.of(model_id(run), DENSE)


def measure_tasks(
    follow: Follow, run: Run, tasks: list[str], limit: int, results: Results = RESULTS, keep: Keep | None = None
) -> Iterator[Any]:
    """Answer the tasks with the dense and the pruned model of a run, as far as that is not known; with progress.

    `keep` gets a row for each new task, by default for `results`. Raises EggsError as `recover` and `zero_shot` do.
    """
    check_tasks(tasks, limit)
    known = kept_pairs(run, results)
    wanted = tuple(task for task in tasks if (task, limit) not in known)
    found: dict[str, Scores] = {"dense": _known_dense(run, results), "pruned": results.of(run_id(run), PRUNED)}
    sides = ((0.0, model_id(run), DENSE, "dense"), (0.5, run_id(run), PRUNED, "pruned"))
    for share, subject, kind, side in sides:
        missing = tuple(task for task in wanted if (task, limit) not in found[side])

        def done(scores: dict[str, TaskScore], subject: tuple = subject, kind: str = kind) -> None:
            for task, score in scores.items():
                results.keep(subject, kind, (task, limit), score)

        if not missing:
            continue
        work = Work(
            (kind, *subject, missing, limit), task_steps, (run, side, missing, limit), run.report["model"], done
        )
        for event in follow(work):
            if isinstance(event, Progress):
                event = Progress(f"{side}, {event.text}", share + event.share / 2, event.seconds_left)
            elif isinstance(event, dict):
                found[side] = found[side] | {(task, limit): score for task, score in event.items()}
            yield event
    for task in wanted:
        if any((task, limit) not in scores for scores in found.values()):  # it was stopped
            return
        pair = {side: scores[task, limit].to_dict() for side, scores in found.items()}
        (keep or keeper(run, results, stored=task == CLOZE or not task_file(task)))(
            Measured(TASKS, {"task": task, "limit": limit}, pair)
        )
