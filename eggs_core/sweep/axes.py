"""A grid's YAML and its axes: what stands in a grid's file, checked for its kind and counted before a cell is made."""

import math
from typing import Any

from eggs_core.errors import EggsError
from eggs_core.reading import MOST_JSON_BYTES, parse_yaml
from eggs_core.registry import OPTIONS
from eggs_core.sweep.reading import MOST_CELLS

AXES = {"models": "model", "patterns": "pattern", "methods": "method", "betas": "beta", "seeds": "seed"}
AUTO = "auto"
SHOWN = 200  # characters of a part of the grid in a sentence
MOST_RULED = 1000  # values that include and exclude name in all
CELL_BYTES, WINDOW_BYTES, MOST_WINDOWS = 1000, 9, 4096  # of sweep.json, for a cell and for each of its windows


def read_grid(text: str) -> dict[str, Any]:
    """The grid's YAML; every scalar stays text, as YAML would read 2:4 as the number 124."""
    try:
        values = parse_yaml(text)
    except ValueError as error:
        raise EggsError(f"The grid is no YAML that can be read: {error}.") from error
    if not isinstance(values, dict):
        raise EggsError("A grid is YAML with the keys models, patterns and methods; see docs/sweeps.md.")
    return values


def check_count(products: list[dict[str, list[Any]]], windows: int) -> None:
    """Raise EggsError for more cells of `windows` windows than a sweep has, or than its file holds.

    products: in each, the values of an axis by its name; every combination of them is a cell.
    """
    total = sum(math.prod(map(len, axes.values())) for axes in products)
    if total > MOST_CELLS:
        raise EggsError(f"The grid has {total:,} cells, more than {MOST_CELLS:,}; split it.")
    if total * (CELL_BYTES + WINDOW_BYTES * min(windows, MOST_WINDOWS)) > MOST_JSON_BYTES:
        raise EggsError(f"{total:,} cells of {windows} windows are more than one sweep.json holds; split the grid.")


def entries_of(values: dict[str, Any], axis: str) -> list[Any]:
    """An axis as a list; one entry needs no brackets. A method may be a mapping of choices."""
    entries = values.get(axis) or []
    entries = entries if isinstance(entries, list) else [entries]
    for entry in entries:
        _check_entry(axis, AXES[axis], entry)
    return entries


def _check_entry(where: str, axis: str, entry: Any) -> None:
    """Raise EggsError for what is no value of an axis: all are texts, but a method may be a mapping of texts."""
    mapped = axis == "method" and isinstance(entry, dict)
    if not all(isinstance(value, str) for value in (entry.values() if mapped else [entry])):
        raise EggsError(f"{where} of the grid holds {plain(entry)}, which is no plain value.")


def rules_of(values: dict[str, Any], name: str) -> list[dict[str, list[Any]]]:
    """The entries of include or exclude, each a mapping from axis to the values that it names."""
    rules = values.get(name) or []
    known = tuple(AXES.values())
    found = []
    for rule in rules if isinstance(rules, list) else [rules]:
        if not isinstance(rule, dict) or not rule or set(rule) - set(known):
            raise EggsError(f"An entry of {name} is a mapping with some of {', '.join(known)}; got {plain(rule)}.")
        found.append({key: entry if isinstance(entry, list) else [entry] for key, entry in rule.items()})
        for key, entries in found[-1].items():
            for entry in entries:
                _check_entry(name, key, entry)
    if sum(len(entries) for rule in found for entries in rule.values()) > MOST_RULED:
        raise EggsError(f"The {name} of the grid names more than {MOST_RULED:,} values; split the grid.")
    return found


def matches(cell: dict[str, Any], rule: dict[str, list[Any]]) -> bool:
    """Does a rule name a cell's value of each of its axes?"""
    return all(cell[key] in allowed for key, allowed in rule.items())


def plain(values: Any) -> str:
    """A part of the grid as a person would write it, or as much of it as a sentence takes."""
    message = _written(values)
    return message if len(message) <= SHOWN else f"{message[:SHOWN]}…"


def _written(values: Any) -> str:
    if isinstance(values, dict):
        return " ".join(f"{key} {_written(value)}" for key, value in values.items() if value != AUTO)
    return ", ".join(map(_written, values)) if isinstance(values, list) else str(values)


def whole_of(name: str, text: Any) -> int:
    """The whole number that a text is; raises EggsError with its name."""
    try:
        return int(text)
    except (TypeError, ValueError) as error:
        raise EggsError(f"{name.replace('_', ' ')} must be a whole number; got {plain(text)!r}.") from error


def float_of(name: str, text: Any) -> float:
    """The number that a text is; raises EggsError with what the option of that name must be."""
    try:
        return float(text)
    except (TypeError, ValueError) as error:
        raise EggsError(f"{OPTIONS[name].rule}, or auto; got {plain(text)!r}.") from error
