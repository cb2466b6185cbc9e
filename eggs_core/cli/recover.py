"""`recover`: a finished run's kept weights and norms learn again, into a folder of its own."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eggs_core.cli.options import FinishedRun, Json, folder, register_text
from eggs_core.cli.output import end_progress, open_run, print_run_scores, show_progress
from eggs_core.cli.prune import check_target
from eggs_core.errors import EggsError
from eggs_core.registry import descriptions

if TYPE_CHECKING:
    from eggs_core.text.sources import Text

LINES = descriptions()


def recover(
    run: FinishedRun,
    out: Annotated[
        Path,
        typer.Option(parser=folder, metavar="PATH", help="The folder of the recovered run; one that ended goes on."),
    ],
    tokens: Annotated[int | None, typer.Option(help=LINES["recovery_tokens"])] = None,
    rate: Annotated[float | None, typer.Option(help=LINES["recovery_rate"])] = None,
    seed: Annotated[int | None, typer.Option(help=LINES["recovery_seed"])] = None,
    text: Annotated[
        list[Path] | None,
        typer.Option(help="A text of your own that the run was calibrated or evaluated on; can be given again."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Recover a finished run: its kept weights learn the dense model's next-token distribution, its masks stay."""
    check_target(out)
    finished = open_run(run)
    texts: dict[str, Text] = {}
    for path in text or []:
        register_text(texts, path)
    from eggs_core.progress import Progress
    from eggs_core.runs.events import Finished
    from eggs_core.runs.recover_run import recover_run, recovery_of
    from eggs_core.runs.run import save_run

    if run.absolute() == out.absolute():
        raise EggsError("The recovered run needs a folder of its own; --out names that of the run before recovery.")
    for event in recover_run(finished, recovery_of(finished, tokens, rate, seed), texts, out):
        if isinstance(event, Progress):
            show_progress(event)
        elif isinstance(event, Finished):
            end_progress()
            save_run(event.run, out)
            if as_json:
                typer.echo(json.dumps(event.run.report, indent=1))
                return
            print_run_scores(event.run.report)
            typer.echo(f"saved in {out}")
