"""`evaluate`: what a model can do, dense or under the masks of a run."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eggs_core.cli.options import Bos, EvaluationFile, EvaluationLength, EvaluationWindows, Json, folder, register_text
from eggs_core.cli.output import open_run, print_scores, quiet
from eggs_core.config import make_config
from eggs_core.errors import EggsError

if TYPE_CHECKING:
    from eggs_core.text.sources import Text

REFITTED = (
    "This run also gave its kept weights new values, which this command does not use: the figures below are those of "
    "its masks alone; report.json holds the pruned model's."
)


def evaluate(
    model: Annotated[str | None, typer.Option(help="The dense model; default: the one of --run.")] = None,
    run: Annotated[
        Path | None,
        typer.Option(parser=folder, metavar="PATH", help="A finished run, whose masks are applied to the model."),
    ] = None,
    device_map: Annotated[
        str | None, typer.Option(help="auto: spread the model over all GPUs, then host memory and disk (accelerate).")
    ] = None,
    evaluation_file: EvaluationFile = None,
    evaluation_windows: EvaluationWindows = 64,
    evaluation_length: EvaluationLength = 256,
    bos: Bos = None,
    as_json: Json = False,
) -> None:
    """Print perplexity and next-token accuracy of a model, dense or with the masks of a run."""
    if device_map not in (None, "auto"):
        raise EggsError(f"--device-map is auto or left out; got {device_map!r}.")
    if device_map and run:
        raise EggsError("A run's masks cannot be applied to a spread model; evaluate its exported folder instead.")
    finished = open_run(run) if run else None
    name = model if model is not None else finished.report["model"] if finished else None
    if name is None:
        raise EggsError("Say what to evaluate: --model, --run, or both.")
    texts: dict[str, Text] = {}
    # The same limits as for pruning, checked in the same place.
    config = make_config(
        name,
        "2:4",
        "magnitude",
        evaluation=register_text(texts, evaluation_file),
        evaluation_windows=evaluation_windows,
        evaluation_length=evaluation_length,
        bos=finished.config.bos if finished and bos is None else bos,
    )
    quiet()
    from eggs_core.evaluation.perplexity import evaluate as score_all
    from eggs_core.evaluation.perplexity import protocol
    from eggs_core.models.fingerprints import check_same_weights
    from eggs_core.models.loading import load
    from eggs_core.runs.masked import apply_masks
    from eggs_core.runs.rotated import turn
    from eggs_core.text.sources import bundled_text
    from eggs_core.text.windows import evaluation_windows as windows_of
    from eggs_core.text.windows import has_beginning

    text = texts.get(config.evaluation) or bundled_text("heldout")
    loaded = load(config.model, device_map=device_map)
    loaded.check_window(evaluation_length)
    bos = config.with_bos(has_beginning(loaded.tokenizer)).bos
    windows = windows_of(loaded.tokenizer, text, evaluation_windows, evaluation_length, bos)
    loaded.check_tokens(windows)
    row = "dense"
    if finished:
        check_same_weights(finished.report, loaded)
        if finished.config.refits or finished.config.recovery_tokens:
            typer.echo(REFITTED, err=True)
        turn(finished, loaded.model)
        apply_masks(loaded.model, finished)
        row = "pruned"
    scores = score_all(loaded.model, windows).to_dict()
    result = {"model": config.model, "run": str(run) if run else None, **protocol(text, windows, bos), row: scores}
    if as_json:
        typer.echo(json.dumps(result, indent=1))
    else:
        print_scores({row: scores}, result)
