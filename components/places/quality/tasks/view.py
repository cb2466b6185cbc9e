"""Zero-shot tasks: what the dense and the pruned model answer rightly, through lm-eval; no gradio here."""

from collections.abc import Iterator

from components.jobs.prune import Follow
from components.jobs.queue import Work
from components.state.results import RESULTS, Results, model_id, run_id
from eggs_core.evaluation.zeroshot import TaskScore, check_tasks, zero_shot
from eggs_core.models.dense_models import CACHE
from eggs_core.models.fingerprints import check_same_weights
from eggs_core.progress import Progress
from eggs_core.runs.pruned_models import recover
from eggs_core.runs.run import Run

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
