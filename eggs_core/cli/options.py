"""Arguments that several commands share, and those that the registry of choices gives."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eggs_core.bos import EVERY, FIRST
from eggs_core.errors import EggsError
from eggs_core.registry import CUSTOM, METHODS, descriptions, plain_types

if TYPE_CHECKING:  # torch and transformers take seconds to import; `--help` and a wrong option need neither
    from eggs_core.text.sources import Text

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
ModelName = Annotated[str, typer.Option(help="A bundled name, a Hub id, a local folder or a GGUF file.")]
EvaluationFile = Annotated[Path | None, typer.Option(help="A text to evaluate on; default: the bundled speeches.")]
EvaluationWindows = Annotated[int, typer.Option(help="At most this many windows of the text are scored.")]
Bos = Annotated[
    str | None,
    typer.Option(
        help=f"Where windows begin with BOS, for models that have one: {EVERY}, or {FIRST} as in published tables.",
        show_default=EVERY,
    ),
]
EvaluationLength = Annotated[int, typer.Option(help="Tokens in a window of evaluation.")]


def folder(text: str) -> Path:
    """The folder that an option names; raises EggsError for nothing, as of an unset variable, and what none is called.

    Files that name the folder hold text, which takes no control characters and no bytes that are not UTF-8.
    """
    return Path(_named(text, "is no name for a folder; give a path"))


def _answering(text: str) -> str:
    """What names a run or model to ask; raises EggsError for nothing, and what none is called."""
    return _named(text, "names no run or model; give a folder, a key or a name")


def _named(text: str, wrong: str) -> str:
    if not text.strip() or not text.isprintable():
        raise EggsError(f"{text[:80]!a} {wrong} of letters that can be printed.")
    return text


FinishedRun = Annotated[Path, typer.Option(parser=folder, metavar="PATH", help="The folder of a finished run.")]
Answering = Annotated[
    str,
    typer.Argument(
        parser=_answering,
        metavar="RUN",
        help="A finished run's folder or key, the name of one that ships with the app, an export's folder, or a model.",
    ),
]
MethodName = Annotated[str, typer.Option(help=f"One of {', '.join(METHODS)}, {CUSTOM}.")]
Seed = Annotated[int, typer.Option(help="Decides where the calibration windows start.")]
CalibrationFile = Annotated[Path | None, typer.Option(help="A text to calibrate on; default: bundled.")]
CalibrationDataset = Annotated[
    str | None, typer.Option(help="A Hub dataset to calibrate on, owner/name[:configuration[:split]][#column].")
]
CalibrationWindows = Annotated[int, typer.Option(help="Windows of calibration text.")]
CalibrationLength = Annotated[int, typer.Option(help="Tokens in a window of calibration.")]
Dense = Annotated[bool, typer.Option("--dense", help="The model as it was before pruning, to compare.")]
Threads = Annotated[int | None, typer.Option(min=1, max=1024, help="Threads that compute; default: as torch chooses.")]


CHOICES = {name: Annotated[kind, typer.Option(help=descriptions()[name])] for name, kind in plain_types().items()}


def register_text(texts: dict[str, "Text"], path: Path | None) -> str | None:
    """The name under which a configuration knows the text in `path`; the text itself goes into `texts`."""
    if path is None:
        return None
    from eggs_core.text.sources import read_text

    text = read_text(path)
    name = f"text:{text.sha256}"
    texts[name] = text
    return name


def calibration_name(texts: dict[str, "Text"], file: Path | None, dataset: str | None) -> str | None:
    """The configuration's name for the calibration text that was asked for, None for the bundled one."""
    if dataset is None:
        return register_text(texts, file)
    if file is not None:
        raise EggsError("Give --calibration-file or --calibration-dataset, not both.")
    from eggs_core.text.datasets import PREFIX

    return PREFIX + dataset
