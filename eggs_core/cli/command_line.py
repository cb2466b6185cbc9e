"""The command line: its commands, a file each, and the one way in which they say what went wrong."""

from collections.abc import Callable
from typing import Annotated, Any

import typer

from eggs_core import __version__
from eggs_core.cli import app as page
from eggs_core.cli.allocate import allocate
from eggs_core.cli.analyze import analyze
from eggs_core.cli.chat import chat
from eggs_core.cli.evaluate import evaluate
from eggs_core.cli.export import export
from eggs_core.cli.models import models
from eggs_core.cli.options import CHOICES
from eggs_core.cli.output import end_progress, printable
from eggs_core.cli.prune import prune
from eggs_core.cli.recover import recover
from eggs_core.cli.serve import serve
from eggs_core.cli.sweep import sweep
from eggs_core.errors import EggsError
from eggs_core.registry import with_choices


class _OneSentenceErrors(typer.core.TyperGroup):
    """A command group that shows an EggsError as its sentence and exits with code 2."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except EggsError as error:
            end_progress()
            typer.echo(printable(str(error)), err=True)
            raise typer.Exit(2) from error


app = typer.Typer(
    cls=_OneSentenceErrors,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
with_methods = [with_choices(choosing, CHOICES, before="seed") for choosing in (prune, allocate)]
COMMANDS: list[Callable[..., None]] = [
    page.app,
    models,
    *with_methods,
    recover,
    evaluate,
    analyze,
    export,
    chat,
    serve,
    sweep,
]
for command in COMMANDS:
    app.command()(command)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"eggs-explorer {__version__}")
        raise typer.Exit


@app.callback(help="N:M pruning of language models, guided by expander graphs.")
def about(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options before a command."""


def main() -> None:
    """What the console script `eggs` runs."""
    app(prog_name="eggs")
