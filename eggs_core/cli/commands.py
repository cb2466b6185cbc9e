"""The command line, a command each; figures go to stdout, progress and problems to stderr."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eggs_core.cli.sweep import sweep
from eggs_core.config import (
    CUSTOM,
    DEFAULT_METHOD,
    METHODS,
    PERMUTATIONS,
    RECONSTRUCTIONS,
    SCORES,
    SELECTIONS,
    PruneConfig,
    make_config,
)
from eggs_core.errors import EggsError

if TYPE_CHECKING:  # torch and transformers take seconds to import; `--help` and a wrong option need neither
    from eggs_core.runs.run import Run
    from eggs_core.text.sources import Text


class _OneSentenceErrors(typer.core.TyperGroup):
    """A command group that shows an EggsError as its sentence and exits with code 2."""

    def invoke(self, ctx: typer.Context) -> Any:
        try:
            return super().invoke(ctx)
        except EggsError as error:
            _progress_end()
            typer.echo(f"{error}", err=True)
            raise typer.Exit(2) from error


app = typer.Typer(
    cls=_OneSentenceErrors,
    help="N:M pruning of language models, guided by expander graphs.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

app.command()(sweep)

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
ModelName = Annotated[str, typer.Option(help="A bundled name, a Hub id, a local folder or a GGUF file.")]
EvaluationFile = Annotated[Path | None, typer.Option(help="A text to evaluate on; default: the bundled speeches.")]
EvaluationWindows = Annotated[int, typer.Option(help="At most this many windows of the text are scored.")]
EvaluationLength = Annotated[int, typer.Option(help="Tokens in a window of evaluation.")]


@app.command()
def models(as_json: Json = False) -> None:
    """List the bundled models, which need no download."""
    from eggs_core.models.source import BUNDLED

    if as_json:
        typer.echo(json.dumps(BUNDLED, indent=1))
        return
    for name, text in BUNDLED.items():
        typer.echo(f"{name:12} {text}")


@app.command()
def prune(
    out: Annotated[Path, typer.Option(help="The folder that report.json and masks.safetensors go to.")],
    model: ModelName = "tiny-llama",
    pattern: Annotated[str, typer.Option(help="N:M, of every M weights N are kept.")] = "2:4",
    method: Annotated[str, typer.Option(help=f"One of {', '.join(METHODS)}, {CUSTOM}.")] = DEFAULT_METHOD,
    score: Annotated[str | None, typer.Option(help=f"Instead of the method's: {', '.join(SCORES)}.")] = None,
    selection: Annotated[str | None, typer.Option(help=f"Instead of the method's: {', '.join(SELECTIONS)}.")] = None,
    permutation: Annotated[
        str | None, typer.Option(help=f"Instead of the method's: {', '.join(PERMUTATIONS)}.")
    ] = None,
    reconstruction: Annotated[
        str | None, typer.Option(help=f"Instead of the method's: {', '.join(RECONSTRUCTIONS)}.")
    ] = None,
    beta: Annotated[float | None, typer.Option(help="β of selection degree, 0 to 1; default: automatic.")] = None,
    diagonals: Annotated[int | None, typer.Option(help="B of selection diagonal; default: rows // 144.")] = None,
    seed: Annotated[int, typer.Option(help="Decides where the calibration windows start.")] = 0,
    calibration_file: Annotated[Path | None, typer.Option(help="A text to calibrate on; default: bundled.")] = None,
    calibration_dataset: Annotated[
        str | None, typer.Option(help="A Hub dataset to calibrate on, owner/name or owner/name:configuration.")
    ] = None,
    calibration_windows: Annotated[int, typer.Option(help="Windows of calibration text.")] = 64,
    calibration_length: Annotated[int, typer.Option(help="Tokens in a window of calibration.")] = 256,
    evaluation_file: EvaluationFile = None,
    evaluation_windows: EvaluationWindows = 64,
    evaluation_length: EvaluationLength = 256,
    stream: Annotated[
        bool | None,
        typer.Option(
            "--stream/--no-stream",
            help="Block by block from disk; --out then also takes the pruned model, and an ended run goes on. "
            "Default: only if memory is too small.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Prune a model, evaluate it before and after, and save the report and the masks."""
    texts: dict[str, Text] = {}
    config = make_config(
        model,
        pattern,
        method,
        score=score,
        selection=selection,
        permutation=permutation,
        reconstruction=reconstruction,
        beta=beta,
        diagonals=diagonals,
        seed=seed,
        calibration=_calibration(texts, calibration_file, calibration_dataset),
        calibration_windows=calibration_windows,
        calibration_length=calibration_length,
        evaluation=_register(texts, evaluation_file),
        evaluation_windows=evaluation_windows,
        evaluation_length=evaluation_length,
    )
    _check_target(out)
    run = _execute(config, texts, stream, out)
    if not run.report.get("checkpoint"):  # a streamed run is there already
        from eggs_core.runs.run import save_run

        save_run(run, out)
    if as_json:
        typer.echo(json.dumps(run.report, indent=1))
        return
    evaluation = run.report["evaluation"]
    typer.echo(f"{config.label} {config.pattern} on {config.model}: {len(run.report['layers'])} layers")
    _print_scores({"dense": evaluation["dense"], "pruned": evaluation["pruned"]}, evaluation)
    typer.echo(f"saved in {out}")


@app.command()
def evaluate(
    model: Annotated[str | None, typer.Option(help="The dense model; default: the one of --run.")] = None,
    run: Annotated[Path | None, typer.Option(help="A finished run, whose masks are applied to the model.")] = None,
    device_map: Annotated[
        str | None, typer.Option(help="auto: spread the model over all GPUs, then host memory and disk (accelerate).")
    ] = None,
    evaluation_file: EvaluationFile = None,
    evaluation_windows: EvaluationWindows = 64,
    evaluation_length: EvaluationLength = 256,
    as_json: Json = False,
) -> None:
    """Print perplexity and next-token accuracy of a model, dense or with the masks of a run."""
    if model is None and run is None:
        raise EggsError("Say what to evaluate: --model, --run, or both.")
    if device_map not in (None, "auto"):
        raise EggsError(f"--device-map is auto or left out; got {device_map!r}.")
    if device_map and run:
        raise EggsError("A run's masks cannot be applied to a spread model; evaluate its exported folder instead.")
    finished = _load_run(run) if run else None
    texts: dict[str, Text] = {}
    # The same limits as for pruning, checked in the same place.
    config = make_config(
        model or finished.report["model"],
        "2:4",
        "magnitude",
        evaluation=_register(texts, evaluation_file),
        evaluation_windows=evaluation_windows,
        evaluation_length=evaluation_length,
    )
    _quiet()
    from eggs_core.evaluation.perplexity import evaluate as score_all
    from eggs_core.evaluation.perplexity import protocol
    from eggs_core.models.fingerprints import check_same_weights
    from eggs_core.models.loading import load
    from eggs_core.text import windows as cut
    from eggs_core.text.sources import bundled_text

    text = texts.get(config.evaluation) or bundled_text("heldout")
    loaded = load(config.model, device_map=device_map)
    loaded.check_window(evaluation_length)
    windows = cut.evaluation_windows(loaded.tokenizer, text, evaluation_windows, evaluation_length)
    loaded.check_tokens(windows)
    row = "dense"
    if finished:
        check_same_weights(finished.report, loaded)
        _apply_masks(loaded, finished)
        row = "pruned"
    scores = score_all(loaded.model, windows).to_dict()
    result = {"model": config.model, "run": str(run) if run else None, **protocol(text, windows), row: scores}
    if as_json:
        typer.echo(json.dumps(result, indent=1))
    else:
        _print_scores({row: scores}, result)


@app.command()
def analyze(
    run: Annotated[Path, typer.Option(help="The folder of a finished run.")],
    layer: Annotated[str | None, typer.Option(help="One layer's full name; default: all of them.")] = None,
    as_json: Json = False,
) -> None:
    """Print the graph measures of a run's masks, computed anew from the masks."""
    from dataclasses import asdict

    finished = _load_run(run)
    from eggs_core.graph.measures import measure
    from eggs_core.pattern import NMPattern

    pattern = NMPattern.parse(finished.report["pattern"])
    names = [layer] if layer else [x["name"] for x in finished.report["layers"]]
    measures = {name: asdict(measure(finished.mask(name), pattern)) for name in names}
    if as_json:
        typer.echo(json.dumps(measures, indent=1))
        return
    if layer:
        for key, value in measures[layer].items():
            typer.echo(f"{key:20} {value if isinstance(value, int | dict) else round(value, 5)}")
        return
    width = max(len(name) for name in names)
    typer.echo(f"{'layer':{width}}  degrees of inputs  orphans  parts     σ₂    gap  random masks      z")
    for name, m in measures.items():
        degrees = f"{m['min_in_degree']}–{m['mean_in_degree']:.0f}–{m['max_in_degree']}"
        typer.echo(
            f"{name:{width}}  {degrees:>17}  {m['orphans']:7}  {m['components']:5}  {m['sigma2']:.3f}  "
            f"{m['spectral_gap']:.3f}  {m['null_gap_mean']:.3f}±{m['null_gap_std']:.3f}  {m['gap_z']:+6.1f}"
        )


@app.command()
def export(
    run: Annotated[Path, typer.Option(help="The folder of a finished run.")],
    out: Annotated[Path, typer.Option(help="The folder to write to; new or empty.")],
    layout: Annotated[str, typer.Option("--format", help="hf, packed or masks.")] = "hf",
    push: Annotated[str | None, typer.Option(help="Then upload the folder to this Hub repository, owner/name.")] = None,
    dry_run: Annotated[bool, typer.Option(help="Only list what --push would upload.")] = False,
    public: Annotated[bool, typer.Option(help="Make a repository that --push creates public.")] = False,
) -> None:
    """Write a finished run as a Hugging Face folder, a packed file or masks, with a model card."""
    finished = _load_run(run)
    from eggs_core.runs import export as run_export

    run_export.check_format(layout)
    if push:
        run_export.check_push(push, dry_run)
    elif dry_run:
        raise EggsError("--dry-run goes with --push owner/name; exporting itself needs none.")
    for progress in run_export.export_run(finished, layout, out):
        _progress(f"{progress.share:4.0%}  {progress.text}")
    _progress_end()
    files = run_export.push_plan(out)
    for name, count in files:
        typer.echo(f"{count:15,}  {name}")
    typer.echo(f"{sum(count for _, count in files):15,}  bytes in {out}")
    if push and dry_run:
        typer.echo(f"would go to {push}, {'public' if public else 'private'} if it is new; nothing was uploaded")
    elif push:
        typer.echo(f"uploaded to {run_export.push(out, push, private=not public)}")


def _register(texts: dict[str, "Text"], path: Path | None) -> str | None:
    """The name under which a configuration knows the text in `path`; the text itself goes into `texts`."""
    if path is None:
        return None
    from eggs_core.text.sources import read_text

    text = read_text(path)
    name = f"text:{text.sha256}"
    texts[name] = text
    return name


def _calibration(texts: dict[str, "Text"], file: Path | None, dataset: str | None) -> str | None:
    """The configuration's name for the calibration text that was asked for, None for the bundled one."""
    if dataset is None:
        return _register(texts, file)
    if file is not None:
        raise EggsError("Give --calibration-file or --calibration-dataset, not both.")
    from eggs_core.text.datasets import PREFIX

    return PREFIX + dataset


def _check_target(out: Path) -> None:
    """Refuse a target that saving would fail on, before any work."""
    if out.exists() and not out.is_dir():
        raise EggsError(f"{out} is a file; --out names the folder that the run goes to.")
    try:
        out.absolute().parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EggsError(f"The folder {out} cannot be made: {error.strerror}; choose another.") from error


def _quiet() -> None:
    """Keep transformers' own progress bars and advice out of the way."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def _execute(config: PruneConfig, texts: dict[str, "Text"], stream: bool | None, out: Path) -> "Run":
    _quiet()
    from eggs_core.progress import Progress
    from eggs_core.runs.events import Finished
    from eggs_core.runs.execute import execute

    run = None
    for event in execute(config, texts, stream=stream, out=out):
        if isinstance(event, Progress):
            left = "" if event.seconds_left is None else f", {event.seconds_left:.0f} s left"
            _progress(f"{event.share:4.0%}  {event.text}{left}")
        elif isinstance(event, Finished):
            run = event.run
    _progress_end()
    return run


def _progress(line: str) -> None:
    """One line that rewrites itself on a terminal, and plain lines elsewhere."""
    if sys.stderr.isatty():
        typer.echo(f"\r\x1b[K{line}", err=True, nl=False)
    else:
        typer.echo(line, err=True)


def _progress_end() -> None:
    if sys.stderr.isatty():
        typer.echo("\r\x1b[K", err=True, nl=False)


def _load_run(folder: Path) -> "Run":
    _quiet()
    from eggs_core.runs.run import load_run

    return load_run(folder)


def _apply_masks(loaded, run: "Run") -> None:
    """Zero what a run's masks prune; says so where the run also re-fitted the weights that it kept."""
    from eggs_core.models.architectures import linear_layers

    if run.report.get("config", {}).get("reconstruction", "none") != "none":
        typer.echo(
            "This run also re-fitted its kept weights, which a run does not store: the figures below are those of its "
            "masks alone; report.json holds the re-fitted model's.",
            err=True,
        )
    layers = {layer.name: layer for layer in linear_layers(loaded.model)}
    for entry in run.report["layers"]:
        name, shape = entry["name"], tuple(entry["shape"])
        if name not in layers or layers[name].shape != shape:
            raise EggsError(f"The run was made on {run.report['model']}; {loaded.name} has no layer {name} {shape}.")
        weight = layers[name].weight()
        layers[name].set_weight(weight * run.mask(name).to(weight.device))


def _print_scores(rows: dict[str, dict[str, Any]], evaluation: dict[str, Any]) -> None:
    typer.echo(f"{evaluation['text']}: {evaluation['windows']} windows of {evaluation['window']} tokens")
    typer.echo(f"{'':8}perplexity   top-1   top-5")
    for name, scores in rows.items():
        typer.echo(f"{name:8}{scores['perplexity']:10.2f}  {scores['top1']:6.2%}  {scores['top5']:6.2%}")
