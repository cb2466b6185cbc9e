"""Recovery of a run that is finished: its pruned model learns, and a run of its own comes of it."""

from __future__ import annotations

import copy
import datetime
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import cast

from eggs_core.config import PruneConfig
from eggs_core.device import check_room
from eggs_core.errors import EggsError
from eggs_core.limits import check_config
from eggs_core.progress import Progress
from eggs_core.report_types import Choices, Report
from eggs_core.runs.events import Event, Finished
from eggs_core.runs.execute import TRAINING
from eggs_core.runs.inputs import Inputs, Texts
from eggs_core.runs.new_report import Clock
from eggs_core.runs.pruned_models import recover
from eggs_core.runs.recovery import Course, check_recovery, recovery_steps, scored
from eggs_core.runs.run import Run
from eggs_core.text.sources import Text


def recovery_of(run: Run, tokens: int | None = None, rate: float | None = None, seed: int | None = None) -> PruneConfig:
    """The configuration of a one-shot run with recovery; raises EggsError for a run that is recovered already."""
    if run.config.recovery_tokens:
        raise EggsError("This run is recovered already; open the run before recovery to recover it otherwise.")
    asked = {"recovery_tokens": tokens, "recovery_rate": rate, "recovery_seed": seed}
    return run.config.changed(recovery="distil", **asked)


def recover_run(
    run: Run, config: PruneConfig, texts: Mapping[str, Text] | None = None, out: Path | None = None
) -> Iterator[Event]:
    """Recover a finished one-shot run as `config`, which recovery_of gives; ends with Finished, as `execute` does.

    Its pruned model comes from memory or is made anew. Masks, sizes and speeds are those of the run, whose evaluation
    is kept as the one before recovery. What was begun before goes on. Raises EggsError for all that cannot run.
    """
    check_config(config)
    clock = Clock()
    yield Progress("Reading the texts", 0.0)
    chosen = Texts.of(config, texts)
    check_recovery(config, chosen)
    models = yield from recover(run)
    dense, student = models.dense, copy.deepcopy(models.zeros)
    check_room(TRAINING * dense.nbytes, dense.device, f"Recovering {config.model}")
    inputs = Inputs.of(config, chosen, dense.tokenizer)
    course = Course(
        config, dense, models.masks, chosen.calibration, run.patterns, models.permutations, models.grids, out
    )
    recovery = yield from recovery_steps(student, course, 0.05, 0.95)
    before = run.report["evaluation"]["pruned"]
    after = yield from scored(student, recovery, before, inputs.evaluation, 0.95, 1.0)
    spent = run.report["seconds"]
    report: Report = {
        **run.report,
        "key": config.key(),
        "config": cast(Choices, config.to_dict()),
        "evaluation": {**run.report["evaluation"], "pruned": after.to_dict()},
        "recovery": recovery,
        "seconds": {**spent, "total": spent["total"] + clock.seconds()},
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    yield Finished(
        Run(report, run.packed_masks, run.packed_topn, run.permutations, run.rotation), dense, student, models.grids
    )
