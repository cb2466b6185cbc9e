"""A sweep's grid: models × patterns × methods × β × seeds from YAML, every cell validated before anything runs."""

import itertools
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import yaml

from eggs_core.config import CUSTOM, DEFAULT_METHOD, METHODS, PruneConfig, make_config
from eggs_core.errors import EggsError

if TYPE_CHECKING:
    from eggs_core.calibration import Text

AXES = {"models": "model", "patterns": "pattern", "methods": "method", "betas": "beta", "seeds": "seed"}
COUNTS = ("calibration_windows", "calibration_length", "evaluation_windows", "evaluation_length")
SOURCES = ("calibration_file", "calibration_dataset", "evaluation_file")
CHOICES = ("method", "score", "selection", "permutation", "reconstruction", "diagonals")
AUTO = "auto"
MOST_CELLS = 10_000
SHOWN_PROBLEMS = 20


@dataclass(frozen=True, slots=True)
class Grid:
    """A validated grid: its cells in order, no two alike, and the texts of the user's own that they name."""

    name: str
    cells: tuple[PruneConfig, ...]
    texts: Mapping[str, "Text"] = field(default_factory=dict)

    @property
    def models(self) -> tuple[str, ...]:
        """The models, each once, in the order of the cells."""
        return tuple(dict.fromkeys(cell.model for cell in self.cells))


def describe(cell: PruneConfig) -> str:
    """A cell in a few words."""
    choices = () if cell.method != CUSTOM else (cell.score, cell.selection, cell.permutation, cell.reconstruction)
    beta = () if cell.beta is None else (f"β {cell.beta:g}",)
    words = (cell.model, str(cell.pattern), cell.method, *choices, *beta, f"seed {cell.seed}")
    return " ".join(word for word in words if word != "none")


def load_grid(path: Path) -> Grid:
    """Read and validate a grid file; the texts that it names are looked for beside it. Raises EggsError."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise EggsError(f"The grid {path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise EggsError(f"The grid {path} is not UTF-8 text.") from error
    return parse_grid(text, Path(path).stem, Path(path).parent)


def parse_grid(text: str, name: str = "sweep", folder: Path = Path()) -> Grid:
    """Turn a grid's YAML into its cells; raises one EggsError that names every cell that cannot run."""
    values = _read(text)
    known = {"name", *AXES, *COUNTS, *SOURCES, "include", "exclude"}
    if unknown := sorted(set(values) - known):
        raise EggsError(f"Unknown key {unknown[0]!r} in the grid; known are {', '.join(sorted(known))}.")
    if missing := [axis for axis in ("models", "patterns", "methods") if not values.get(axis)]:
        raise EggsError(f"The grid names no {missing[0]}; every grid needs models, patterns and methods.")
    name = str(values.get("name") or name)
    if not re.fullmatch(r"\w[\w .-]{0,79}", name):
        raise EggsError(f"The grid's name {name[:80]!r} names a folder: use letters, digits, spaces, dots and dashes.")
    axes = {key: _entries(values, axis) for axis, key in AXES.items()}
    axes = {**axes, "beta": axes["beta"] or [AUTO], "seed": axes["seed"] or ["0"]}
    total = 1
    for entries in axes.values():
        total *= len(entries)
    if total > MOST_CELLS:
        raise EggsError(f"The grid has {total:,} cells, more than {MOST_CELLS:,}; split it.")
    crossed = [dict(zip(axes, cell, strict=True)) for cell in itertools.product(*axes.values())]
    for rule in _rules(values, "exclude"):
        if not any(_matches(cell, rule) for cell in crossed):
            raise EggsError(f"Nothing in the grid matches the exclude entry {_plain(rule)}; correct or remove it.")
        crossed = [cell for cell in crossed if not _matches(cell, rule)]
    included = []
    for rule in _rules(values, "include"):
        if missing := [key for key in ("model", "pattern", "method") if key not in rule]:
            raise EggsError(f"The include entry {_plain(rule)} lacks {missing[0]}; it names model, pattern and method.")
        included += [dict(zip(rule, cell, strict=True)) for cell in itertools.product(*rule.values())]
    texts: dict[str, Text] = {}
    options = {key: _whole(key, values[key]) for key in COUNTS if key in values} | _sources(values, folder, texts)
    cells, problems = {}, Problems()
    for cell, keep_beta in [*((cell, False) for cell in crossed), *((cell, True) for cell in included)]:
        try:
            config = _config(cell, options, keep_beta)
            cells.setdefault(config.key(), config)
        except EggsError as error:
            problems.add(str(error), [_plain(cell)])
    problems.check()
    if not cells:
        raise EggsError("The grid is empty: everything in it is excluded.")
    if set(axes["beta"]) != {AUTO} and not any(cell.beta is not None for cell in cells.values()):
        raise EggsError("The grid gives β, but none of its methods has a selection that β steers; leave betas out.")
    return Grid(name, tuple(cells.values()), MappingProxyType(texts))


class Problems:
    """What is wrong with which cells; the same sentence is said once."""

    def __init__(self) -> None:
        self._found: dict[str, list[str]] = {}

    def add(self, sentence: str, cells: list[str]) -> None:
        """Note that cells cannot run, and why."""
        self._found.setdefault(sentence, []).extend(cells)

    def check(self) -> None:
        """Raise one EggsError for all that was found, if anything was."""
        if not self._found:
            return
        count = sum(map(len, self._found.values()))
        lines = [
            f"- {sentence} ({cells[0]}{f', and {len(cells) - 1} more' if len(cells) > 1 else ''})"
            for sentence, cells in list(self._found.items())[:SHOWN_PROBLEMS]
        ]
        if len(self._found) > SHOWN_PROBLEMS:
            lines.append(f"- and {len(self._found) - SHOWN_PROBLEMS} other reasons")
        one = "One cell of the grid" if count == 1 else f"{count} cells of the grid"
        raise EggsError("\n".join([f"{one} cannot run, so nothing was started:", *lines]))


def check_models(grid: Grid, outline: Callable[[str], Any]) -> None:
    """Check every cell against its model's shapes and longest window; raises one EggsError for all that cannot run.

    `outline(name)` gives a model without weights (`models.outline`) and raises EggsError where there is none.
    """
    from eggs_core.adapters import check_pattern

    problems = Problems()
    for model in grid.models:
        cells = [cell for cell in grid.cells if cell.model == model]
        try:
            found = outline(model)
            found.check_window(max(cells[0].calibration_length, cells[0].evaluation_length))  # the same for all cells
        except EggsError as error:
            problems.add(str(error), list(map(describe, cells)))
            continue
        for pattern in dict.fromkeys(cell.pattern for cell in cells):
            try:
                check_pattern(found.model, pattern)
            except EggsError as error:
                problems.add(str(error), [describe(cell) for cell in cells if cell.pattern == pattern])
    problems.check()


def _read(text: str) -> dict[str, Any]:
    """The grid's YAML; every scalar stays text, as YAML would read 2:4 as the number 124."""
    try:
        values = yaml.load(text, Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        place = f" in line {where.line + 1}" if where else ""
        raise EggsError(
            f"The grid is no YAML{place}: {getattr(error, 'problem', None) or 'it cannot be read'}."
        ) from error
    if not isinstance(values, dict):
        raise EggsError("A grid is YAML with the keys models, patterns and methods; see docs/sweeps.md.")
    return values


def _entries(values: dict[str, Any], axis: str) -> list[Any]:
    """An axis as a list; one entry needs no brackets. A method may be a mapping of choices."""
    entries = values.get(axis) or []
    entries = entries if isinstance(entries, list) else [entries]
    for entry in entries:
        if not isinstance(entry, str) and not (axis == "methods" and isinstance(entry, dict)):
            raise EggsError(f"{axis} of the grid holds {_plain(entry)}, which is no plain value.")
    return entries


def _rules(values: dict[str, Any], name: str) -> list[dict[str, list[Any]]]:
    """The entries of include or exclude, each a mapping from axis to the values that it names."""
    rules = values.get(name) or []
    known = tuple(AXES.values())
    found = []
    for rule in rules if isinstance(rules, list) else [rules]:
        if not isinstance(rule, dict) or not rule or set(rule) - set(known):
            raise EggsError(f"An entry of {name} is a mapping with some of {', '.join(known)}; got {_plain(rule)}.")
        found.append({key: entry if isinstance(entry, list) else [entry] for key, entry in rule.items()})
    return found


def _matches(cell: dict[str, Any], rule: dict[str, list[Any]]) -> bool:
    return all(cell[key] in allowed for key, allowed in rule.items())


def _plain(values: Any) -> str:
    """A part of the grid as a person would write it."""
    if isinstance(values, dict):
        return " ".join(f"{key} {_plain(value)}" for key, value in values.items() if value != AUTO)
    return ", ".join(map(_plain, values)) if isinstance(values, list) else str(values)


def _whole(name: str, text: Any) -> int:
    try:
        return int(text)
    except (TypeError, ValueError) as error:
        raise EggsError(f"{name.replace('_', ' ')} must be a whole number; got {_plain(text)!r}.") from error


def _sources(values: dict[str, Any], folder: Path, texts: dict[str, "Text"]) -> dict[str, str]:
    """The texts that a grid names, as a configuration calls them."""
    if "calibration_file" in values and "calibration_dataset" in values:
        raise EggsError("Give calibration_file or calibration_dataset, not both.")
    from eggs_core.calibration import read_text
    from eggs_core.texts import PREFIX

    found = {}
    for key in SOURCES:
        if key not in values:
            continue
        side, kind = key.split("_")
        if kind == "dataset":
            found[side] = PREFIX + str(values[key])
            continue
        text = read_text(folder / str(values[key]))
        found[side] = f"text:{text.sha256}"
        texts[found[side]] = text
    return found


def _config(cell: dict[str, Any], options: dict[str, Any], keep_beta: bool) -> PruneConfig:
    """One cell's configuration; without `keep_beta` a method that β does not steer leaves it out."""
    method = cell["method"] if isinstance(cell["method"], dict) else {"method": cell["method"]}
    if unknown := sorted(set(method) - set(CHOICES)):
        raise EggsError(f"Unknown choice {unknown[0]!r} of a method; known are {', '.join(CHOICES)}.")
    choices: dict[str, Any] = {"method": CUSTOM if "score" in method else DEFAULT_METHOD, **method}
    if "diagonals" in choices:
        choices["diagonals"] = _whole("diagonals", choices["diagonals"])
    name = choices.pop("method")
    base = METHODS[name].selection if name in METHODS else None
    steered = choices.get("selection", base) == "degree"
    beta = cell.get("beta", AUTO)
    if beta != AUTO and (steered or keep_beta):
        try:
            choices["beta"] = float(beta)
        except ValueError as error:
            raise EggsError(f"β is a number from 0 to 1, or auto; got {beta!r}.") from error
    return make_config(
        cell["model"], cell["pattern"], name, seed=_whole("seed", cell.get("seed", "0")), **choices, **options
    )


def layouts(cells: Iterable[PruneConfig]) -> tuple[tuple[str, bool], ...]:
    """The packed layouts of some cells, (pattern, permuted), each once: speed depends on nothing else of a run."""
    return tuple(dict.fromkeys((str(cell.pattern), cell.permutation != "none") for cell in cells))
