"""What a public server refuses: hosted mode and its limits, in one place."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from eggs_core.errors import EggsError
from eggs_core.pattern import MAX_GROUP, NMPattern

HOSTED = "EGGS_HOSTED"  # "1" turns hosted mode on, "0" off; by itself it is on where SPACE_ID is set, as on Spaces

OWN = "or run the app on your own machine"


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that one visitor may ask for; None is no limit."""

    model_bytes: int | None = None  # of a Hub model's files
    seconds: float | None = None  # that one job may take
    group: int = MAX_GROUP  # M of N:M
    windows: int = 4096  # of calibration, and of evaluation
    length: int = 8192  # tokens of a window
    tokens: int | None = None  # of calibration, and of evaluation
    recovery_tokens: int | None = None  # that recovery reads
    characters: int = 2_000_000  # of a text of one's own
    items: int = 2000  # of a zero-shot task
    waiting: int | None = None  # jobs that wait for their turn
    unwatched: float | None = None  # seconds that a job stays when no page watches it
    folders: int | None = None  # of files that are made for downloads within the hour
    uploads: int | None = None  # of one address within the hour
    sessions: int | None = None  # of one address, such as a school's, that are open at once


OWN_MACHINE = Limits()

PUBLIC = Limits(
    model_bytes=4_000_000_000,
    seconds=15 * 60,
    windows=256,
    length=2048,
    tokens=1 << 17,
    recovery_tokens=500_000,
    characters=500_000,
    items=500,
    waiting=4,
    unwatched=60,
    sessions=64,
    folders=20,
    uploads=256,
)


class Asked(Protocol):
    """What is read of a configuration, beside the sizes of its windows."""

    @property
    def pattern(self) -> NMPattern:
        """N:M."""


def hosted() -> bool:
    """Is this a public server, whose visitors must not see its disk or take all of it?"""
    return os.environ.get(HOSTED, "1" if os.environ.get("SPACE_ID") else "0") not in ("", "0")


def limits() -> Limits:
    """The limits that hold here."""
    return PUBLIC if hosted() else OWN_MACHINE


def check_config(config: Asked) -> None:
    """Raise EggsError for a configuration that is more than this server allows."""
    most = limits()
    if config.pattern.group > most.group and not config.pattern.unstructured:
        raise EggsError(f"This server takes groups of at most {most.group} weights; choose a smaller M, {OWN}.")
    if most.recovery_tokens and (tokens := getattr(config, "recovery_tokens", 0)) > most.recovery_tokens:
        raise EggsError(
            f"Recovery would read {tokens:,} tokens, and this public server allows {most.recovery_tokens:,}; "
            f"choose fewer, {OWN}."
        )
    for side in ("calibration", "evaluation"):
        windows, length = (getattr(config, f"{side}_{size}") for size in ("windows", "length"))
        if windows > most.windows or length > most.length:
            raise EggsError(
                f"This public server takes at most {most.windows} windows of {most.length} tokens for {side}; "
                f"choose fewer, {OWN}."
            )
        if most.tokens and windows * length > most.tokens:
            raise EggsError(
                f"{windows} windows of {length} tokens are {windows * length:,} for {side}, and this public server "
                f"takes {most.tokens:,}; choose fewer, {OWN}."
            )


def check_text(text: str) -> None:
    """Raise EggsError for a text that is longer than this server allows."""
    most = limits().characters
    if len(text) > most:
        raise EggsError(f"The text has {len(text):,} characters, and {most:,} are allowed here; shorten it.")


def check_items(items: int | None) -> None:
    """Raise EggsError for more items of a task (None is all) than this server allows."""
    most = limits().items
    if hosted() and (items is None or items > most):
        raise EggsError(f"This public server answers at most {most} items of a task; choose fewer, {OWN}.")


def check_name(name: str) -> None:
    """Raise EggsError on a public server for a model, data set or task whose name is, or could be, a path."""
    pathlike = name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name or ".." in name
    if hosted() and (pathlike or Path(name).suffix.lower() in (".gguf", ".jsonl", ".json") or os.path.lexists(name)):
        raise EggsError("This public server opens no files by path; choose what is bundled, or a Hub id (owner/name).")


_SECRET = re.compile(r"\b(?:hf|api)_\w{8,}")

_PATH = re.compile(r"(?<![\w:/])(?:~|/[\w.@+-]+)(?:/[\w.@+-]+)+/?")


def sentence(error: Exception) -> str:
    """What a visitor hears of an error: an EggsError's sentence, and of any other kind only that it happened.

    A public server names neither tokens nor places on its disk.
    """
    if not isinstance(error, EggsError):
        return f"Something unexpected went wrong ({type(error).__name__}); the server's log says what."
    text = str(error)
    if not hosted():
        return text
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        if os.environ.get(name):
            text = text.replace(os.environ[name], "…")
    return _PATH.sub("…", _SECRET.sub("…", text))
