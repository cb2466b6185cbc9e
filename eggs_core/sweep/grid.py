"""A sweep's grid: models × patterns × methods × β × seeds from YAML, every cell validated before anything runs."""

import itertools
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from eggs_core.config import PruneConfig, make_config
from eggs_core.errors import EggsError
from eggs_core.reading import MOST_YAML_BYTES, read_text
from eggs_core.registry import CUSTOM, DEFAULT_METHOD, METHODS, OPTIONS, everything, reads
from eggs_core.rules import parse_rules
from eggs_core.sweep.axes import (
    AUTO,
    AXES,
    check_count,
    entries_of,
    float_of,
    matches,
    plain,
    read_grid,
    rules_of,
    whole_of,
)

if TYPE_CHECKING:
    from eggs_core.text.sources import Text

COUNTS = ("calibration_windows", "calibration_length", "evaluation_windows", "evaluation_length")
SOURCES = ("calibration_file", "calibration_dataset", "evaluation_file")
CHOICES = ("method", *everything(), *(name for name in OPTIONS if name not in AXES.values()))
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
    choices = cell.choices().values() if cell.method == CUSTOM else ()
    options = (f"{OPTIONS[name].symbol} {value:g}" for name, value in cell.options)
    stages = (name for _, name in cell.stages)
    words = (cell.model, str(cell.pattern), cell.method, *choices, *stages, *options, f"seed {cell.seed}")
    return " ".join(word for word in words if word != "none")


def load_grid(path: Path) -> Grid:
    """Read and validate a grid file; the texts that it names are looked for beside it. Raises EggsError."""
    try:
        text = read_text(path, MOST_YAML_BYTES)
    except OSError as error:
        raise EggsError(f"The grid {path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise EggsError(f"The grid {path} is not UTF-8 text.") from error
    except ValueError as error:
        raise EggsError(f"The grid {str(path)!r} cannot be read: {error}.") from error
    return parse_grid(text, Path(path).stem, Path(path).parent)


def parse_grid(text: str, name: str = "sweep", folder: Path = Path()) -> Grid:
    """Turn a grid's YAML into its cells; raises one EggsError that names every cell that cannot run."""
    values = read_grid(text)
    known = {"name", "bos", *AXES, *COUNTS, *SOURCES, "layers", "include", "exclude"}
    if unknown := sorted(set(values) - known):
        raise EggsError(f"Unknown key {plain(unknown[0])!r} in the grid; known are {', '.join(sorted(known))}.")
    if missing := [axis for axis in ("models", "patterns", "methods") if not values.get(axis)]:
        raise EggsError(f"The grid names no {missing[0]}; every grid needs models, patterns and methods.")
    name = str(values.get("name") or name)
    if not re.fullmatch(r"\w[\w .-]{0,79}", name):
        raise EggsError(f"The grid's name {name[:80]!r} names a folder: use letters, digits, spaces, dots and dashes.")
    axes = {key: entries_of(values, axis) for axis, key in AXES.items()}
    axes = {**axes, "beta": axes["beta"] or [AUTO], "seed": axes["seed"] or ["0"]}
    excluded, included = rules_of(values, "exclude"), rules_of(values, "include")
    options: dict[str, Any] = {key: whole_of(key, values[key]) for key in COUNTS if key in values}
    options |= {"layers": parse_rules(values["layers"])} if "layers" in values else {}
    options |= {"bos": values["bos"]} if "bos" in values else {}
    check_count([axes, *included], options.get("evaluation_windows", 64))
    crossed = [dict(zip(axes, cell, strict=True)) for cell in itertools.product(*axes.values())]
    for rule in excluded:
        if not any(matches(cell, rule) for cell in crossed):
            raise EggsError(f"Nothing in the grid matches the exclude entry {plain(rule)}; correct or remove it.")
        crossed = [cell for cell in crossed if not matches(cell, rule)]
    added = []
    for rule in included:
        if missing := [key for key in ("model", "pattern", "method") if key not in rule]:
            raise EggsError(f"The include entry {plain(rule)} lacks {missing[0]}; it names model, pattern and method.")
        added += [dict(zip(rule, cell, strict=True)) for cell in itertools.product(*rule.values())]
    texts: dict[str, Text] = {}
    options |= _sources(values, folder, texts)
    problems = Problems()
    cells: dict[str, PruneConfig] = {}
    for cell, keep_beta in [*((cell, False) for cell in crossed), *((cell, True) for cell in added)]:
        try:
            config = _config(cell, options, keep_beta)
            cells.setdefault(config.key(), config)
        except EggsError as error:
            problems.add(str(error), [plain(cell)])
    problems.check()
    if not cells:
        raise EggsError("The grid is empty: everything in it is excluded.")
    if set(axes["beta"]) != {AUTO} and not any(cell.option("beta") is not None for cell in cells.values()):
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
    from eggs_core.pruning.plan import plan_for

    problems = Problems()
    for model in grid.models:
        cells = [cell for cell in grid.cells if cell.model == model]
        try:
            found = outline(model)
            found.check_window(max(cells[0].calibration_length, cells[0].evaluation_length))  # the same for all cells
        except EggsError as error:
            problems.add(str(error), list(map(describe, cells)))
            continue
        for plan in dict.fromkeys((cell.pattern, cell.layers) for cell in cells):
            try:
                plan_for(found.model, *plan)
            except EggsError as error:
                problems.add(str(error), [describe(cell) for cell in cells if (cell.pattern, cell.layers) == plan])
    problems.check()


def _sources(values: dict[str, Any], folder: Path, texts: dict[str, "Text"]) -> dict[str, str]:
    """The texts that a grid names, as a configuration calls them."""
    if "calibration_file" in values and "calibration_dataset" in values:
        raise EggsError("Give calibration_file or calibration_dataset, not both.")
    from eggs_core.text.datasets import PREFIX
    from eggs_core.text.sources import read_text

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
        raise EggsError(f"Unknown choice {plain(unknown[0])!r} of a method; known are {', '.join(CHOICES)}.")
    choices: dict[str, Any] = {"method": CUSTOM if "score" in method else DEFAULT_METHOD, **method}
    for option in OPTIONS.keys() & choices.keys():
        choices[option] = (
            whole_of(option, choices[option]) if OPTIONS[option].whole else float_of(option, choices[option])
        )
    name = choices.pop("method")
    base = METHODS[name].choices() if isinstance(name, str) and name in METHODS else {}
    beta = cell.get("beta", AUTO)
    if beta != AUTO and (keep_beta or reads(base | choices, "beta")):
        choices["beta"] = float_of("beta", beta)
    return make_config(
        cell["model"], cell["pattern"], name, seed=whole_of("seed", cell.get("seed", "0")), **choices, **options
    )


def layouts(cells: Iterable[PruneConfig]) -> tuple[tuple[str, bool], ...]:
    """The packed layouts of some cells, (pattern, permuted), each once: speed depends on nothing else of a run."""
    plain = (cell for cell in cells if cell.bits is None)  # others are timed in their own run
    return tuple(dict.fromkeys((str(cell.pattern), cell.permutation != "none") for cell in plain))
