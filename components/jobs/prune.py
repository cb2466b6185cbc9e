"""Running a configuration while pages watch: pipeline events become runs that grow, workspaces and progress bars."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from components.jobs.messages import bar, message
from components.jobs.work import Waiting, Work
from components.state.known_runs import bundled_runs, find_run
from components.state.workspace import Workspace
from components.words.recorded import made_on, took
from eggs_core.config import PruneConfig
from eggs_core.errors import EggsError
from eggs_core.heavy import torch
from eggs_core.limits import check_config, hosted, sentence
from eggs_core.masks.bits import pack_bits
from eggs_core.models.source import known_fingerprint, model_source
from eggs_core.progress import Progress
from eggs_core.report_types import LayerEntry, Report
from eggs_core.runs.events import Finished, LayerDone
from eggs_core.runs.execute import execute, is_current
from eggs_core.runs.pruned_models import keep
from eggs_core.runs.run import Run
from eggs_core.runs.store import STORE
from eggs_core.sweep.results import seconds_of
from eggs_core.text.sources import Text

REDRAW_SECONDS = 0.6

Follow = Callable[[Work], Iterator]  # puts work into the queue and gives its place and its values


def partial_run(config: PruneConfig) -> Run:
    """A run that has no finished layer yet, nor a fingerprint: `begun` tells it from others of its configuration."""
    report: dict[str, Any] = {
        "key": config.key(),
        "model": config.model,
        "pattern": str(config.pattern),
        "method": config.method,
    }
    report |= {"seed": config.seed, "config": config.to_dict(), "layers": [], "evaluation": {}, "size": {}}
    report |= {"begun": uuid.uuid4().hex}
    return Run(cast("Report", report), {})  # what comes last in a run is not in it yet


@dataclass(frozen=True, slots=True)
class Step:
    """What is new of a run under way: progress, and of a finished layer its report and its masks, bit-packed.

    Once the run is complete, `run` is all of it and `message` says so.
    """

    progress: Progress
    layer: LayerEntry | None = None
    masks: tuple[torch.Tensor, torch.Tensor] | None = None  # its own, and top-N's
    run: Run | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """A run under way as all its watchers see it: progress, and the layers so far; `message` once it is complete."""

    progress: Progress
    run: Run
    message: str = ""


def prune_work(config: PruneConfig, texts: dict[str, Text], anew: bool = False) -> Work:
    """The work of running a configuration, the same for all who ask for it; pages see it as Seen."""
    alike = [r for r in bundled_runs() if (r.report["model"], r.report["method"]) == (config.model, config.method)]
    return Work(
        ("prune", config.key()),
        prune_steps,
        (config, texts, anew),
        config.model,
        grow=partial(_grown, config),
        expected=seconds_of(alike[0].report) if alike else None,
        kind=(prune_steps, config.model, config.method),
    )


def _grown(config: PruneConfig, before: Seen | None, step: Step) -> Seen:
    """What is seen after a step; a run of its own for each layer, as pages read it while the next one is added."""
    run = step.run or (partial_run(config) if before is None else before.run)
    if step.layer is not None and step.masks is not None:
        name, (mask, topn) = step.layer["name"], step.masks
        run = Run(
            run.report | {"layers": [*run.report["layers"], step.layer]},
            run.packed_masks | {name: mask},
            run.packed_topn | {name: topn},
        )
    return Seen(step.progress, run, step.message)


def prune_steps(config: PruneConfig, texts: dict[str, Text], anew: bool = False) -> Iterator[Step]:
    """Run a configuration and store the result, unless it is stored already and not wanted `anew`.

    Raises EggsError for what cannot run.
    """
    if not anew and (run := find_run(config.key())) is not None:
        yield Step(Progress(f"Opening {config.model}", 0.0))
        if is_current(run):
            yield Step(Progress("Known", 1.0), run=run, message=_kept_since(run))
            return
    progress, count = Progress("", 0.0), 0
    for event in execute(config, texts, store=STORE.folder):
        if isinstance(event, Progress):
            progress = event
            yield Step(progress)
        elif isinstance(event, LayerDone):
            layer, count = event.report, count + 1
            done = Progress(f"{layer.name}: layer {count} of {event.total}", progress.share, progress.seconds_left)
            yield Step(done, layer.to_dict(), (pack_bits(layer.mask), pack_bits(layer.topn_mask)))
        elif isinstance(event, Finished):
            keep(event)
            yield Step(Progress("Done", 1.0), run=event.run, message=_stored(event.run))


def _stored(run: Run) -> str:
    """Store a run, and say how long it took; what keeps it from being stored is said as well."""
    closing = f"Done in {took(run.report)}."
    if (place := run.report.get("checkpoint")) and not hosted():
        closing += f" The pruned model lies in {place}."
    try:
        STORE.put(run)
    except EggsError as error:  # the result is shown all the same
        closing += f" {sentence(error)}"
    return closing


def check_asked(config: PruneConfig) -> None:
    """Raise EggsError, before anything waits, for more than this server allows and for a model that it cannot name."""
    check_config(config)
    model_source(config.model)


def known_run(config: PruneConfig) -> Run | None:
    """The finished run of a configuration: shipped, or stored and made with what the model's files hold now."""
    run = find_run(config.key())
    if run is None or any(run is shipped for shipped in bundled_runs()):
        return run
    fingerprint = known_fingerprint(config.model)
    return run if fingerprint is not None and run.report.get("fingerprint") == fingerprint else None


def _kept_since(run: Run) -> str:
    taken = "Done before" if seconds_of(run.report) is None else f"Done in {took(run.report)}"
    day = f" on {made_on(run.report)}" if run.report.get("created") else ""
    return f"{taken}{day}, kept since then; “Compute again” under Advanced runs it anew."


def run_job(
    follow: Follow,
    workspace: Workspace,
    config: PruneConfig,
    texts: dict[str, Text],
    anew: bool = False,
    redraw_seconds: float = REDRAW_SECONDS,
) -> Iterator[tuple[str, bool]]:
    """Run a configuration, or show it if it is known and not wanted `anew`, and keep the workspace up to date.

    Yields the progress bar's HTML and whether the figures should be drawn anew; the layers that were seen stay in the
    workspace when the generator is closed. Raises EggsError for what cannot run.
    """
    check_asked(config)
    if not anew and (run := known_run(config)) is not None:
        workspace.show(run)
        yield message(_kept_since(run)), True
        return
    drawn, layers = 0.0, 0
    for event in follow(prune_work(config, texts, anew)):
        if isinstance(event, Waiting):
            yield bar(event), False
        elif event.message:
            workspace.show(event.run)
            yield message(event.message), True
        else:
            count, redraw = len(event.run.report["layers"]), False
            if count > layers:
                workspace.show(event.run, finished=False)
                layers = count
                redraw = time.monotonic() - drawn > redraw_seconds
                drawn = time.monotonic() if redraw else drawn
            yield bar(event.progress), redraw
