"""`python -m eggs_core sweep`: a grid of runs from a file, on this machine or on a cluster."""

import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eggs_core.cli.options import folder
from eggs_core.errors import EggsError

if TYPE_CHECKING:  # torch takes seconds to import; `--help` and a grid that cannot be read do not need it
    from eggs_core.sweep.results import Sweep

SAVE_SECONDS = 5.0


def sweep(
    grid: Annotated[Path, typer.Argument(help="A YAML file: models, patterns, methods, betas, seeds; docs/sweeps.md.")],
    out: Annotated[
        Path | None,
        typer.Option(
            parser=folder,
            metavar="PATH",
            help="The folder that sweep.json goes to; default: eggs/sweeps/NAME in the cache folder.",
        ),
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option(
            parser=folder,
            metavar="PATH",
            help="The run store that answers known cells and keeps new ones; default: the app's.",
        ),
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="A Ray cluster: auto, or its head's HOST:PORT; default: this machine alone.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="CPUs of this machine to use; default: all.")] = None,
    cpus: Annotated[int, typer.Option(min=1, help="CPUs that one cell takes.")] = 1,
    gpus: Annotated[float, typer.Option(min=0.0, help="GPUs that one cell takes; 0.5 lets two share one.")] = 0.0,
    check: Annotated[bool, typer.Option("--check", help="Only validate the grid and list its cells.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Run a grid of models × patterns × methods × β × seeds, and keep what is finished; the same command goes on."""
    from eggs_core.sweep.grid import check_models, describe, load_grid

    if not math.isfinite(gpus):
        raise EggsError(f"--gpus is a number from 0; got {gpus}.")
    wanted = load_grid(grid)
    from eggs_core.files import check_writable
    from eggs_core.models.loading import outline
    from eggs_core.runs.store import RunStore
    from eggs_core.sweep.results import RESULTS, load_sweep, save_sweep, sweeps_folder
    from eggs_core.sweep.running import new_sweep, run_sweep

    check_models(wanted, outline)
    if check:
        typer.echo("\n".join([*map(describe, wanted.cells), f"{len(wanted.cells)} cells"]))
        return
    runs = RunStore(store)
    runs.check()
    place = out or sweeps_folder() / wanted.name
    check_writable(place)
    before = load_sweep(place) if (place / RESULTS).is_file() else None
    found = new_sweep(wanted, before)
    save_sweep(found, place)  # a folder that cannot be written is noticed now
    steps = run_sweep(wanted, found, runs, address=address, workers=workers, cpus=cpus, gpus=gpus)
    saved = 0.0
    try:
        for step in steps:
            left = "" if step.seconds_left is None else f", about {step.seconds_left:.0f} s left"
            _say(f"{step.done} of {step.total} cells{left}: {step.text}", stays=step.cell is not None)
            if step.cell is not None and found.seconds - saved > SAVE_SECONDS:
                save_sweep(found, place)
                saved = found.seconds
    except KeyboardInterrupt:
        steps.close()
        done = found.count("done", "known")
        _say(f"Stopped: {done} of {len(found.cells)} cells are kept; the same command goes on from there.", stays=True)
        raise typer.Exit(130) from None
    finally:
        steps.close()
        save_sweep(found, place)
    _say("", stays=False)
    typer.echo(json.dumps(found.to_dict(), indent=1) if as_json else f"{_table(found)}\nsaved in {place / RESULTS}")
    if failed := found.count("failed"):
        typer.echo(f"{failed} of {len(found.cells)} cells failed; sweep.json says why.", err=True)
        raise typer.Exit(1)


def _say(line: str, stays: bool) -> None:
    """A line on stderr; on a terminal one that does not stay is written over by the next, elsewhere it is left out."""
    if sys.stderr.isatty():
        typer.echo(f"\r\x1b[K{line}", err=True, nl=stays)
    elif stays:
        typer.echo(line, err=True)


def _table(found: "Sweep") -> str:
    """A row per model, pattern and method: perplexity over seeds, against dense, packed size and speed."""
    from eggs_core.sweep.analysis import groups

    lines = [f"{'':44}perplexity      sd  × dense  packed    ms per token  cells"]
    for model, dense in found.dense.items():
        lines.append(f"{model + ' dense':44}{dense['perplexity']:10.2f}{'':8}{1:9.3f}{dense['bytes'] / 1e6:6.1f} MB")
        for group in groups(found, model):
            spread = f"{group.deviation:8.2f}" if len(group.cells) > 1 else " " * 8
            speed = f"{group.ms_per_token:12.2f}" if group.ms_per_token else " " * 12
            ratio, size = group.perplexity / dense["perplexity"], group.packed_bytes / 1e6
            name = f"{model} {group.pattern} {group.label}"
            lines.append(
                f"{name:44}{group.perplexity:10.2f}{spread}{ratio:9.3f}{size:6.1f} MB  {speed}{len(group.cells):7}"
            )
    lines += [
        f"failed: {cell.config.label} {cell.config.pattern} on {cell.config.model}: {cell.error}"
        for cell in found.cells
        if cell.error
    ]
    return "\n".join(lines)
