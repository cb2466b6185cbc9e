"""Arguments that several commands share, and those that the registry of choices gives."""

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from eggs_core.errors import EggsError
from eggs_core.registry import DIMENSIONS, OPTIONS, readers

if TYPE_CHECKING:  # torch and transformers take seconds to import; `--help` and a wrong option need neither
    from eggs_core.text.sources import Text

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
ModelName = Annotated[str, typer.Option(help="A bundled name, a Hub id, a local folder or a GGUF file.")]
EvaluationFile = Annotated[Path | None, typer.Option(help="A text to evaluate on; default: the bundled speeches.")]
EvaluationWindows = Annotated[int, typer.Option(help="At most this many windows of the text are scored.")]
EvaluationLength = Annotated[int, typer.Option(help="Tokens in a window of evaluation.")]


def folder(text: str) -> Path:
    """The folder that an option names; raises EggsError for nothing, as of an unset variable, and what none is called.

    Files that name the folder hold text, which takes no control characters and no bytes that are not UTF-8.
    """
    if not text.strip() or not text.isprintable():
        raise EggsError(f"{text[:80]!a} is no name for a folder; give a path of letters that can be printed.")
    return Path(text)


FinishedRun = Annotated[Path, typer.Option(parser=folder, metavar="PATH", help="The folder of a finished run.")]


def with_choices(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command, in place of its **choices, an option for every dimension and every option of the registry."""

    @functools.wraps(command)
    def run(**given: Any) -> None:
        command(**given)

    own = inspect.signature(command)
    parameters = [p for p in own.parameters.values() if p.kind is not p.VAR_KEYWORD]
    at = next(i for i, p in enumerate(parameters) if p.name == "seed")
    parameters[at:at] = _choices()
    run.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": None}
    del run.__wrapped__  # type: ignore[attr-defined]
    return run


def _choices() -> list[inspect.Parameter]:
    found: dict[str, Any] = {
        name: Annotated[str | None, typer.Option(help=f"Instead of the method's: {', '.join(dimension.entries)}.")]
        for name, dimension in DIMENSIONS.items()
    }
    for name, option in OPTIONS.items():
        where = ", ".join(f"{dimension} {' or '.join(names)}" for dimension, names in readers(name).items())
        kind = int if option.whole else float
        found[name] = Annotated[kind | None, typer.Option(help=f"{option.symbol} of {where}. {option.help}")]
    return [
        inspect.Parameter(n, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=None, annotation=a)
        for n, a in found.items()
    ]


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
