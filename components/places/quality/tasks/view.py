"""Zero-shot tasks: what the dense and the pruned model answer rightly, through lm-eval; no gradio here."""

from collections.abc import Hashable, Iterator
from functools import cache
from typing import Any

from components.jobs.prune import Follow
from components.jobs.work import Work
from components.state.results import RESULTS, Results, model_id, run_id
from eggs_core.assets import ASSETS
from eggs_core.evaluation.zeroshot import TaskScore, check_tasks
from eggs_core.progress import Progress
from eggs_core.reading import read_json
from eggs_core.runs.later_measures import task_steps
from eggs_core.runs.run import Run

DENSE, PRUNED = "tasks, dense", "tasks, pruned"  # kinds of result, by task and limit
SHIPPED = ASSETS / "tasks" / "scores.json"
LIMIT = 200  # items of a task, until a visitor asks for others

Scores = dict[Hashable, TaskScore]  # by task and limit


@cache
def shipped_scores() -> dict[tuple[Hashable, str], Scores]:
    """The scores that ship with the app (tools/build_tasks.py), by subject and kind; none where they are damaged."""
    found: dict[tuple[Hashable, str], Scores] = {}
    try:
        for row in read_json(SHIPPED):
            found.setdefault((tuple(row["of"]), row["kind"]), {})[row["task"], row["limit"]] = TaskScore(**row["score"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return found


def known_scores(subject: Hashable, kind: str, results: Results = RESULTS) -> Scores:
    """The scores of a dense or a pruned model that are known, shipped ones first."""
    return shipped_scores().get((subject, kind), {}) | results.of(subject, kind)


def task_pairs(run: Run, results: Results = RESULTS) -> list[tuple[TaskScore, TaskScore]]:
    """Dense and pruned scores of every task that is known for a run."""
    dense = known_scores(model_id(run), DENSE, results)
    return [(dense[name], score) for name, score in known_scores(run_id(run), PRUNED, results).items() if name in dense]


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

        wanted = tuple(task for task in tasks if (task, limit) not in known_scores(subject, kind, results))
        if not wanted:
            continue
        work = Work((kind, *subject, wanted, limit), task_steps, (run, side, wanted, limit), run.report["model"], keep)
        for event in follow(work):
            if isinstance(event, Progress):
                event = Progress(f"{side}, {event.text}", share + event.share / 2, event.seconds_left)
            yield event
