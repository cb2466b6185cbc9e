"""`export`: a finished run as a folder to take along, and to the Hub."""

from pathlib import Path
from typing import Annotated

import typer

from eggs_core.cli.options import FinishedRun, folder
from eggs_core.cli.output import end_progress, open_run, show_progress
from eggs_core.errors import EggsError


def export(
    run: FinishedRun,
    out: Annotated[Path, typer.Option(parser=folder, metavar="PATH", help="The folder to write to; new or empty.")],
    layout: Annotated[str, typer.Option("--format", help="hf, packed, gguf, gguf-q8_0 or masks.")] = "hf",
    push: Annotated[str | None, typer.Option(help="Then upload the folder to this Hub repository, owner/name.")] = None,
    dry_run: Annotated[bool, typer.Option(help="Only list what --push would upload.")] = False,
    public: Annotated[bool, typer.Option(help="Make a repository that --push creates public.")] = False,
) -> None:
    """Write a finished run as a Hugging Face folder, packed, as GGUF, or its masks, with a model card."""
    finished = open_run(run)
    from eggs_core.runs import export as run_export

    run_export.check_format(layout)
    if push is not None:
        run_export.check_push(push, dry_run)
    elif dry_run:
        raise EggsError("--dry-run goes with --push owner/name; exporting itself needs none.")
    for progress in run_export.export_run(finished, layout, out):
        show_progress(progress)
    end_progress()
    files = run_export.push_plan(out)
    for name, count in files:
        typer.echo(f"{count:15,}  {name}")
    typer.echo(f"{sum(count for _, count in files):15,}  bytes in {out}")
    if push and dry_run:
        typer.echo(f"would go to {push}, {'public' if public else 'private'} if it is new; nothing was uploaded")
    elif push:
        typer.echo(f"uploaded to {run_export.push(out, push, private=not public)}")
