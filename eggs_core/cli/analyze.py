"""`analyze`: the graph measures of a run's masks."""

import json
from typing import Annotated

import typer

from eggs_core.cli.options import FinishedRun, Json
from eggs_core.cli.output import open_run


def analyze(
    run: FinishedRun,
    layer: Annotated[str | None, typer.Option(help="One layer's full name; default: all of them.")] = None,
    as_json: Json = False,
) -> None:
    """Print the graph measures of a run's masks, computed anew from the masks."""
    from dataclasses import asdict

    finished = open_run(run)
    from eggs_core.graph.measures import measure
    from eggs_core.runs.patterns import layer_pattern

    names = [x["name"] for x in finished.report["layers"]] if layer is None else [layer]
    measures = {
        name: asdict(measure(finished.mask(name), layer_pattern(finished.layer(name), finished.report)))
        for name in names
    }
    if as_json:
        typer.echo(json.dumps(measures, indent=1))
        return
    if layer is not None:
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
