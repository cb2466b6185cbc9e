"""Recovery of a finished run: the work, and what is known of methods before and after it; no gradio here."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from components.jobs.prune import Follow
from components.jobs.work import Waiting, Work
from components.state.known_runs import find_run
from components.state.workspace import Workspace
from eggs_core.config import PruneConfig
from eggs_core.errors import EggsError
from eggs_core.limits import check_config, sentence
from eggs_core.progress import Progress
from eggs_core.pruning.recovery import RecoveryPoint
from eggs_core.registry import stage_words
from eggs_core.runs.events import Finished
from eggs_core.runs.execute import is_current
from eggs_core.runs.pruned_models import keep
from eggs_core.runs.recover_run import recover_run, recovery_of
from eggs_core.runs.run import Run
from eggs_core.runs.store import STORE


@dataclass(frozen=True, slots=True)
class Step:
    """What is new of a recovery: progress, a point of the curve, and at the end the run, with what kept it unstored."""

    progress: Progress | None = None
    point: RecoveryPoint | None = None
    run: Run | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Recovering:
    """A recovery as all its watchers see it."""

    progress: Progress
    curve: tuple[RecoveryPoint, ...] = ()
    run: Run | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A method's perplexities: dense, after pruning, and after a recovery, if there is one, with its words and key."""

    label: str
    dense: float
    pruned: float
    recovered: float | None = None
    recovery: str = ""
    key: str = ""


def before_recovery(run: Run) -> Run:
    """The one-shot run behind a run, which may be itself; raises EggsError if it is not here."""
    if not run.config.recovery_tokens:
        return run
    found = find_run(run.config.without("recovery").key())
    if found is None:
        raise EggsError("The run before this recovery is no longer here; prune again without recovery first.")
    return found


def recover_work(run: Run, config: PruneConfig) -> Work:
    """The work of recovering a one-shot run as `config`; pages see it as Recovering."""
    return Work(("recover", config.key()), recover_steps, (run, config), config.model, grow=_grown)


def _grown(before: Recovering | None, step: Step) -> Recovering:
    seen = before or Recovering(Progress("", 0.0))
    curve = (*seen.curve, step.point) if step.point else seen.curve
    return Recovering(step.progress or seen.progress, curve, step.run or seen.run, step.problem)


def recover_steps(run: Run, config: PruneConfig) -> Iterator[Step]:
    """Recover a run and store the result, unless it is stored already; raises EggsError for what cannot run."""
    if (known := find_run(config.key())) is not None and is_current(known):
        yield Step(Progress("Known", 1.0), run=known)
        return
    for event in recover_run(run, config):
        if isinstance(event, Progress):
            yield Step(event)
        elif isinstance(event, RecoveryPoint):
            yield Step(point=event)
        elif isinstance(event, Finished):
            keep(event)
            problem = ""
            try:
                STORE.put(event.run)
            except EggsError as error:  # the result is shown all the same
                problem = sentence(error)
            yield Step(Progress("Done", 1.0), run=event.run, problem=problem)


def recover(
    follow: Follow, workspace: Workspace, run: Run, tokens: int | None, rate: float | None
) -> Iterator[Waiting | Recovering]:
    """Recover the run, or the one-shot run behind it, with progress; the recovered run becomes one of the visitor's."""
    one_shot = before_recovery(run)
    config = recovery_of(one_shot, tokens, rate)
    check_config(config)
    for event in follow(recover_work(one_shot, config)):
        if isinstance(event, Recovering) and event.run is not None:
            workspace.own[event.run.key] = event.run  # before whoever sees the event draws the workspace
        yield event


def recovery_rows(workspace: Workspace) -> list[Row]:
    """Every method that can be compared with the run in view, in a row for each of its recoveries."""
    rows = []
    runs = workspace.comparable()
    after: dict[str, list[Run]] = {}
    for run in runs:
        if run.report.get("recovery"):
            after.setdefault(run.config.without("recovery").key(), []).append(run)
    one_shot = {run.key: run for run in runs if not run.report.get("recovery")}
    for key in dict.fromkeys((*one_shot, *after)):
        first = one_shot.get(key) or after[key][0]
        recovered = after.get(key, [])
        rows += [_row(first, run) for run in recovered] if recovered else [_row(first, None)]
    return rows


def _row(first: Run, recovered: Run | None) -> Row:
    evaluation = (recovered or first).report["evaluation"]
    dense = evaluation["dense"]["perplexity"]
    label = first.config.without("recovery").in_words()
    if recovered is None:
        return Row(label, dense, evaluation["pruned"]["perplexity"])
    found: Any = recovered.report["recovery"]
    words = stage_words("recovery", recovered.report["config"]).removeprefix("recovered on ")
    return Row(label, dense, found["before"]["perplexity"], found["after"]["perplexity"], words, recovered.key)


def curve_of(workspace: Workspace) -> tuple[RecoveryPoint, ...]:
    """The curve of the run in view, or of the newest recovery of it; empty without one."""
    if workspace.run is None or not workspace.finished:
        return ()
    key = workspace.run.config.without("recovery").key()
    mine = [run for run in workspace.own.values() if run.config.without("recovery").key() == key]
    for run in (workspace.run, *reversed(mine)):
        if recovery := run.report.get("recovery"):
            return tuple(RecoveryPoint(**point) for point in recovery["losses"])
    return ()
