"""Values of the command line that several commands share."""

from pathlib import Path

from eggs_core.errors import EggsError


def folder(text: str) -> Path:
    """The folder that an option names; raises EggsError for nothing, as of an unset variable, and what none is called.

    Files that name the folder hold text, which takes no control characters and no bytes that are not UTF-8.
    """
    if not text.strip() or not text.isprintable():
        raise EggsError(f"{text[:80]!a} is no name for a folder; give a path of letters that can be printed.")
    return Path(text)


def printable(text: str) -> str:
    """A text for the terminal: what cannot be printed is spelled out, line ends stay."""
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)
