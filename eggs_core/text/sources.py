"""Texts: the bundled speeches, and files of the user's own."""

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from eggs_core import reading
from eggs_core.assets import ASSETS
from eggs_core.errors import EggsError


@dataclass(frozen=True, slots=True)
class Text:
    """A text with the name that reports show; with `chats` its lines are conversations, see chats.rendered."""

    name: str
    content: str
    chats: bool = False

    @property
    def sha256(self) -> str:
        """SHA-256 of the text's UTF-8 bytes, as hex."""
        return hashlib.sha256(self.content.encode()).hexdigest()


@cache
def bundled_text(split: str) -> Text:
    """The bundled "calibration" or "heldout" speeches."""
    return Text(f"State of the Union, {split}", (ASSETS / "corpus" / f"{split}.txt").read_text(encoding="utf-8"))


def read_text(path: Path) -> Text:
    """A text of the user's own; raises EggsError for a file that is not there, too large or not UTF-8."""
    try:
        return Text(path.name, reading.read_text(path))
    except OSError as error:
        raise EggsError(f"The text file {path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise EggsError(f"The text file {path} is not UTF-8 text; convert it first.") from error
    except ValueError as error:
        raise EggsError(f"The text file {str(path)!r} cannot be read: {error}.") from error
