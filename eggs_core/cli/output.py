"""What commands print: figures on stdout, progress and problems on stderr."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from eggs_core.bos import bos_words

if TYPE_CHECKING:
    from eggs_core.progress import Progress
    from eggs_core.report_types import Report
    from eggs_core.runs.run import Run
    from eggs_core.serving.writer import Writer


def printable(text: str) -> str:
    """A text for the terminal: what cannot be printed is spelled out, line ends stay."""
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


def show_progress(progress: "Progress") -> None:
    """One line that rewrites itself on a terminal, and plain lines elsewhere."""
    left = "" if progress.seconds_left is None else f", {progress.seconds_left:.0f} s left"
    line = f"{progress.share:4.0%}  {progress.text}{left}"
    if sys.stderr.isatty():
        typer.echo(f"\r\x1b[K{line}", err=True, nl=False)
    else:
        typer.echo(line, err=True)


def end_progress() -> None:
    """Leave the line of progress empty."""
    if sys.stderr.isatty():
        typer.echo("\r\x1b[K", err=True, nl=False)


def quiet() -> None:
    """Keep transformers' own progress bars and advice out of the way."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def open_run(folder: Path) -> "Run":
    """The finished run in a folder; raises EggsError if it is damaged or none."""
    quiet()
    from eggs_core.runs.run import load_run

    return load_run(folder)


def open_answering(name: str, dense: bool) -> "Writer":
    """The model that a name means, ready to answer; raises EggsError if there is none."""
    quiet()
    from eggs_core.serving.opening import open_writer

    steps = open_writer(name, dense)
    while True:
        try:
            show_progress(next(steps))
        except StopIteration as end:
            end_progress()
            return end.value


def print_run_scores(report: "Report") -> None:
    """Those of a run's models: dense, pruned, and where it was recovered that too, in a row of its own."""
    evaluation, recovery = report["evaluation"], report.get("recovery")
    rows = {"dense": evaluation["dense"], "pruned": evaluation["pruned"]}
    if recovery:
        rows |= {"pruned": recovery["before"], "recovered": recovery["after"]}
    print_scores(rows, evaluation)


def print_scores(rows: Mapping[str, Mapping[str, Any]], evaluation: Mapping[str, Any]) -> None:
    """Perplexity and accuracy, a row for each model, under the text that they were measured on."""
    read = f"{evaluation['windows']} windows of {evaluation['window']} tokens{bos_words(evaluation)}"
    typer.echo(f"{evaluation['text']}: {read}")
    width = max(7, *map(len, rows)) + 1
    typer.echo(f"{'':{width}}perplexity   top-1   top-5")
    for name, scores in rows.items():
        typer.echo(f"{name:{width}}{scores['perplexity']:10.2f}  {scores['top1']:6.2%}  {scores['top5']:6.2%}")
