"""Values from outside, checked by pydantic against declared types; a value that does not fit is named in one sentence.

Whoever only shows the command line's help does not need pydantic, so no module that it imports imports this one.
"""

import json
from collections.abc import Hashable
from functools import cache
from typing import Annotated, Any, TypeVar, cast

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, with_config

T = TypeVar("T")
LONGEST_SHOWN = 40  # characters of a wrong value or of a name
MOST_NAMES = 100_000  # of one object
MOST_ERRORS = 1000  # that pydantic describes; it needs 20 seconds for a million


def _not_endless(values: object) -> object:
    if isinstance(values, dict) and len(values) > MOST_NAMES:
        raise ValueError(f"should have at most {MOST_NAMES:,} names")
    return values


# Numbers that can be added up and divided without leaving a double's range.
Number = Annotated[float, Field(ge=-1e30, le=1e30, allow_inf_nan=False)]
Positive = Annotated[float, Field(ge=1e-30, le=1e30, allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, le=1e30, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Perplexity = Annotated[float, Field(ge=1e-3, le=1.1e304, allow_inf_nan=False)]  # WindowScores ends at exp(700)
Count = Annotated[int, Field(ge=0, le=2**53)]
Natural = Annotated[int, Field(ge=1, le=2**53)]
Text = Annotated[str, Field(max_length=100_000)]
Many = Annotated[list[T], Field(max_length=1_000_000, fail_fast=True)]  # checked up to the first part that is wrong
Named = Annotated[dict[str, T], BeforeValidator(_not_endless)]

closed = with_config(ConfigDict(extra="forbid"))  # a class whose values have the declared keys and no other
extensible = with_config(ConfigDict(extra="allow"))  # a class inside a closed one whose values may have others


class Mismatch(ValueError):
    """A value that is not of its type: where it stands, such as layers.0.shape, "" for the whole, and what is wrong."""

    def __init__(self, place: str, message: str) -> None:
        super().__init__(f"{place or 'it'} {message}")
        self.place, self.message = place, message


def check(value: object, kind: type[T], place: str = "") -> T:
    """The value itself if it is of a type; else raises Mismatch, which names the first part that does not fit.

    `place` says where the value stands. Keys that a TypedDict does not name pass, unless it is closed. A whole number
    does for a float, and True for no number.

    >>> check({"a": [1, 2]}, dict[str, list[int]])
    {'a': [1, 2]}
    """
    try:
        _adapter(cast(Hashable, kind)).validate_python(value, strict=True)
    except ValidationError as error:
        raise _mismatch(error, place) from None
    return cast(T, value)


def build(value: object, kind: type[T], place: str = "") -> T:
    """A JSON value as the dataclass `kind`, other dataclasses inside it too; raises Mismatch as `check` does."""
    try:
        return cast(T, _adapter(cast(Hashable, kind)).validate_json(json.dumps(value), strict=True))
    except ValidationError as error:
        raise _mismatch(error, place) from None


@cache
def _adapter(kind: Hashable) -> TypeAdapter[Any]:
    """Put together once, as that takes longer than a check."""
    return TypeAdapter(cast(Any, kind))


def _mismatch(error: ValidationError, place: str) -> Mismatch:
    if error.error_count() > MOST_ERRORS:
        return Mismatch(place, f"is wrong in {error.error_count():,} places")
    first = error.errors(include_url=False)[0]
    *outer, last = path = [_short(part) for part in first["loc"]] or [""]
    if first["type"] == "missing":
        return Mismatch(_joined(place, *outer), f"lacks {last}")
    if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return Mismatch(_joined(place, *outer), f"has an unknown part {last!r}")
    message = first["msg"].removeprefix("Input ").removeprefix("Value error, ")
    return Mismatch(_joined(place, *path), f"{message}; it is {_shown(first['input'])}")


def _joined(*parts: str) -> str:
    return ".".join(filter(None, parts))


def _shown(value: Any) -> str:
    """The beginning of a value, however large it is."""
    if isinstance(value, dict | list):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    if isinstance(value, int) and value.bit_length() > 128:
        return "a number of many digits"
    shown = value[: LONGEST_SHOWN + 1] if isinstance(value, str) else value
    return _short(json.dumps(shown, ensure_ascii=False, default=str))


def _short(part: str | int) -> str:
    """One line of a name or value."""
    text = " ".join(str(part).split())
    return text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "…"
