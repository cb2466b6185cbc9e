"""Zero-shot tasks: what the dense and the pruned model answer rightly, through lm-eval; no gradio here."""

from collections.abc import Iterator
from typing import Any

from components.jobs.prune import Follow
from components.jobs.work import Work
from components.state.results import RESULTS, Results, model_id, run_id
from eggs_core.evaluation.zeroshot import TaskScore, check_tasks
from eggs_core.progress import Progress
from eggs_core.runs.later_measures import task_steps
from eggs_core.runs.run import Run

DENSE, PRUNED = "tasks, dense", "tasks, pruned"  # kinds of result, by task and limit


def task_pairs(run: Run, results: Results = RESULTS) -> list[tuple[TaskScore, TaskScore]]:
    """Dense and pruned scores of every task that this process has measured for a run."""
    dense = results.of(model_id(run), DENSE)
    return [(dense[name], score) for name, score in results.of(run_id(run), PRUNED).items() if name in dense]


def measure_tasks(follow: Follow, run: Run, tasks: list[str], limit: int, results: Results = RESULTS) -> Iterator[Any]:
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
