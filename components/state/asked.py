"""Values that a page or a program sends, made fit before anything is done with them; no gradio here.

A page sends None for an empty field and 2.0 for 2, so a value is converted here; eggs_core.validation only checks.
"""

import math
from typing import Any

from eggs_core.errors import EggsError

MOST = 2**53  # of a number: every whole one up to it is a float of its own


def whole_number(value: Any, name: str) -> int:
    """A whole number, 0 for None; raises EggsError, which names it, for anything else."""
    if isinstance(value, bool) or int(found := number(value, name)) != found:
        raise EggsError(f"{name} must be a whole number; got {shown(value)}.")
    return int(found)


def number(value: Any, name: str) -> float:
    """A finite number of at most MOST, 0 for None; raises EggsError, which names it, for anything else."""
    if value is None:
        return 0.0
    if not isinstance(value, int | float) or not abs(value) <= MOST or not math.isfinite(value):
        raise EggsError(f"{name} must be a number; got {shown(value)}.")
    return float(value)


def words(value: Any, name: str) -> str:
    """A text that can be written in UTF-8, "" for None; raises EggsError, which names it, for anything else."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise EggsError(f"{name} must be a text; got {shown(value)}.")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise EggsError(f"{name} holds half a character at place {error.start + 1}; type it again.") from error
    return value


def told(event: Any, name: str) -> Any:
    """What a widget's event tells by a name; None where it does not."""
    try:
        return getattr(event, name)
    except (AttributeError, TypeError):
        return None


def shown(value: Any) -> str:
    """The beginning of a value, however large it is."""
    if isinstance(value, int) and abs(value) > MOST:
        return "a number with too many digits"
    return ascii(value)[:60] if isinstance(value, int | float | str) else f"a {type(value).__name__}"
