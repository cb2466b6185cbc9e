"""JSON values checked against the types that a TypedDict declares."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from types import UnionType
from typing import Annotated, Any, NotRequired, get_args, get_origin, get_type_hints, is_typeddict

Check = Callable[[Any], None]
LONGEST_SHOWN = 40  # characters of a wrong value


@dataclass(frozen=True, slots=True)
class Range:
    """From where to where a number lies, both ends included, and how that is said."""

    low: float
    high: float
    said: str


# Numbers that can be added up and divided without leaving a double's range.
Number = Annotated[float, Range(-1e30, 1e30, "a number")]
Positive = Annotated[float, Range(1e-30, 1e30, "a number above 0")]
Amount = Annotated[float, Range(0, 1e30, "a number from 0")]
Share = Annotated[float, Range(0, 1, "a number from 0 to 1")]
Count = Annotated[int, Range(0, 2**53, "a whole number from 0")]
Natural = Annotated[int, Range(1, 2**53, "a whole number from 1")]


class Mismatch(ValueError):
    """A value that is not of its type: where it stands, such as layers.0.shape, "" for the whole, and what is wrong."""

    def __init__(self, said: str) -> None:
        super().__init__(said)
        self.said, self.place = said, ""

    def inside(self, key: str | int) -> "Mismatch":
        """The same seen from outside: the value that does not fit stands under `key`."""
        self.place = f"{key}.{self.place}".rstrip(".")
        return self


def _wrong(wanted: str, value: Any) -> Mismatch:
    return Mismatch(f"must be {wanted}; it is {_shown(value)}")


def check(value: Any, kind: Any) -> None:
    """Raise Mismatch unless a value that JSON gave is of a type; keys that a TypedDict does not name are let pass.

    Types are str, bool, int, Annotated[int or float, Range], T | None, list[T], dict[str, T] and TypedDicts of these.
    A whole number does for a float, and True for no number.

    >>> check({"a": [1, 2]}, dict[str, list[int]])
    """
    _check_of(kind)(value)


def _shown(value: Any) -> str:
    if isinstance(value, dict | list):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    if isinstance(value, int) and value.bit_length() > 128:
        return "a number of many digits"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "…"


@cache
def _check_of(kind: Any) -> Check:
    """The check of a type, put together once, as a report has thousands of values."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _number(inner[0], inner[1])
    if origin is NotRequired:
        return _check_of(inner[0])
    if origin is UnionType:
        return _or_none(_check_of(next(k for k in inner if k is not type(None))))
    if origin is list:
        return _list(_check_of(inner[0]))
    if origin is dict:
        return _dict(_check_of(inner[1]))
    if is_typeddict(kind):
        return _typed_dict(kind)
    return _exactly(kind, {str: "a text", bool: "true or false", int: "a whole number"}[kind])


def _exactly(kind: type, said: str) -> Check:
    def exact(value: Any) -> None:
        if type(value) is not kind:
            raise _wrong(said, value)

    return exact


def _number(kind: type, within: Range) -> Check:
    kinds = (int,) if kind is int else (int, float)

    def number(value: Any) -> None:
        if type(value) not in kinds or not within.low <= value <= within.high:
            raise _wrong(within.said, value)

    return number


def _or_none(test: Check) -> Check:
    def either(value: Any) -> None:
        if value is not None:
            test(value)

    return either


def _list(test: Check) -> Check:
    def each(value: Any) -> None:
        if type(value) is not list:
            raise _wrong("a list", value)
        for number, item in enumerate(value):
            try:
                test(item)
            except Mismatch as wrong:
                raise wrong.inside(number) from None

    return each


def _dict(test: Check) -> Check:
    def each(value: Any) -> None:
        if type(value) is not dict:
            raise _wrong("an object", value)
        for name, item in value.items():
            try:
                test(item)
            except Mismatch as wrong:
                raise wrong.inside(_shown(name)) from None

    return each


def _typed_dict(kind: Any) -> Check:
    tests = {name: _check_of(hint) for name, hint in get_type_hints(kind, include_extras=True).items()}
    required = kind.__required_keys__

    def each(value: Any) -> None:
        if type(value) is not dict:
            raise _wrong("an object", value)
        if not required <= value.keys():
            raise Mismatch(f"lacks {', '.join(sorted(required - value.keys()))}")
        for name, test in tests.items():
            if name in value:
                try:
                    test(value[name])
                except Mismatch as wrong:
                    raise wrong.inside(name) from None

    return each
