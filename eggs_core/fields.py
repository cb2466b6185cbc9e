"""The parts of a JSON object from outside, each of its kind; otherwise a ValueError says which is not."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

LARGEST = 1.5e304  # of a number: e^700, which is as high as a perplexity goes, and room to add some up
LONGEST = 100_000  # characters of a text
_T = TypeVar("_T")


def mapping(values: Any, what: str = "it") -> dict[str, Any]:
    """A JSON object."""
    if not isinstance(values, dict):
        raise ValueError(f"{what} is no object")
    return values


def listed(values: Any, what: str, each: Callable[[Any, str], _T], most: int = 1_000_000) -> list[_T]:
    """A list of at most `most` parts, each as `each(part, its name)` returns it; they are counted from 1."""
    if not isinstance(values, list) or len(values) > most:
        raise ValueError(f"{what} is no list of at most {most:,}")
    return [each(value, f"{what} {number}") for number, value in enumerate(values, 1)]


def number(value: Any, what: str, low: float = -LARGEST, high: float = LARGEST) -> float:
    """A number between two bounds, as it is: whole or not, never true or false."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ValueError(f"{what} is no number from {low:g} to {high:g}")
    return value


def whole(value: Any, what: str, low: int = 0, high: int = 1 << 62) -> int:
    """A whole number between two bounds, never true or false."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"{what} is no whole number from {low} to {high}")
    return value


def text(value: Any, what: str, least: int = 0) -> str:
    """A text of at least `least` characters."""
    if not isinstance(value, str) or not least <= len(value) <= LONGEST:
        raise ValueError(f"{what} is no text{' of at least one character' if least else ''}")
    return value


def flag(value: Any, what: str) -> bool:
    """true or false."""
    if not isinstance(value, bool):
        raise ValueError(f"{what} is neither true nor false")
    return value


def part(values: Mapping[str, Any], name: str, check: Callable[..., _T], what: str = "", **bounds: Any) -> _T:
    """One part of an object as `check` returns it; a missing one is none."""
    where = f"{what}'s {name}" if what else name
    if name not in values:
        raise ValueError(f"{where} is missing")
    return check(values[name], where, **bounds)


def only(values: Mapping[str, Any], known: set[str], what: str = "it") -> None:
    """Raise ValueError for a part that nothing is known of."""
    if unknown := sorted(set(values) - known):
        raise ValueError(f"{what} has an unknown part {unknown[0][:40]!r}")
