"""`prune`: one whole run, into a folder."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eggs_core.cli.options import (
    Bos,
    CalibrationDataset,
    CalibrationFile,
    CalibrationLength,
    CalibrationWindows,
    EvaluationFile,
    EvaluationLength,
    EvaluationWindows,
    Json,
    MethodName,
    ModelName,
    Seed,
    calibration_name,
    folder,
    register_text,
)
from eggs_core.cli.output import end_progress, print_run_scores, quiet, show_progress
from eggs_core.config import PruneConfig, make_config
from eggs_core.errors import EggsError
from eggs_core.registry import DEFAULT_METHOD
from eggs_core.rules import read_plan

if TYPE_CHECKING:
    from eggs_core.runs.run import Run
    from eggs_core.text.sources import Text


def prune(
    out: Annotated[
        Path, typer.Option(parser=folder, metavar="PATH", help="The folder for report.json and masks.safetensors.")
    ],
    model: ModelName = "tiny-llama",
    pattern: Annotated[str, typer.Option(help="N:M, of every M weights N are kept.")] = "2:4",
    layer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RULE",
            help="A rule for some layers, such as mlp.down_proj=3:4 or 'blocks 1,30=dense'; can be given again, "
            "and the last that fits counts.",
        ),
    ] = None,
    plan: Annotated[
        Path | None, typer.Option(help="A YAML file of rules under `layers`, and perhaps `pattern`.")
    ] = None,
    method: MethodName = DEFAULT_METHOD,
    seed: Seed = 0,
    calibration_file: CalibrationFile = None,
    calibration_dataset: CalibrationDataset = None,
    calibration_windows: CalibrationWindows = 64,
    calibration_length: CalibrationLength = 256,
    evaluation_file: EvaluationFile = None,
    evaluation_windows: EvaluationWindows = 64,
    evaluation_length: EvaluationLength = 256,
    bos: Bos = None,
    stream: Annotated[
        bool | None,
        typer.Option(
            "--stream/--no-stream",
            help="Block by block from disk; --out then also takes the pruned model, and an ended run goes on. "
            "Default: only if memory is too small.",
        ),
    ] = None,
    as_json: Json = False,
    **choices: Any,
) -> None:
    """Prune a model, evaluate it before and after, and save the report and the masks."""
    texts: dict[str, Text] = {}
    planned = read_plan(plan) if plan else {}
    config = make_config(
        model,
        planned.get("pattern", pattern),
        method,
        layers=[*planned.get("layers", ()), *(layer or ())],
        seed=seed,
        calibration=calibration_name(texts, calibration_file, calibration_dataset),
        calibration_windows=calibration_windows,
        calibration_length=calibration_length,
        evaluation=register_text(texts, evaluation_file),
        evaluation_windows=evaluation_windows,
        evaluation_length=evaluation_length,
        bos=bos,
        **choices,
    )
    check_target(out)
    run = _execute(config, texts, stream, out)
    if not run.report.get("checkpoint"):  # a streamed run is there already
        from eggs_core.runs.run import save_run

        save_run(run, out)
    if as_json:
        typer.echo(json.dumps(run.report, indent=1))
        return
    from eggs_core.runs.patterns import pattern_words

    typer.echo(f"{config.label} {pattern_words(run.report)} on {config.model}: {len(run.report['layers'])} layers")
    from eggs_core.runs.report import left_dense
    from eggs_core.runs.rotated import rotation_words

    for sentence in filter(None, (left_dense(run.report), rotation_words(run.report))):
        typer.echo(sentence)
    print_run_scores(run.report)
    typer.echo(f"saved in {out}")


def check_target(out: Path) -> None:
    """Refuse a target that saving would fail on, before any work."""
    from eggs_core.files import check_writable

    if os.path.lexists(out) and not os.path.isdir(out):
        raise EggsError(f"{out} is a file; --out names the folder that the run goes to.")
    check_writable(out)


def _execute(config: PruneConfig, texts: dict[str, "Text"], stream: bool | None, out: Path) -> "Run":
    quiet()
    from eggs_core.progress import Progress
    from eggs_core.runs.events import Finished
    from eggs_core.runs.execute import execute

    for event in execute(config, texts, stream=stream, out=out):
        if isinstance(event, Progress):
            show_progress(event)
        elif isinstance(event, Finished):
            end_progress()
            return event.run
    raise AssertionError("a run ends with Finished or an exception")
