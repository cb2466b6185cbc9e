"""What a sweep found: a cell's figures, all cells with what they share, and the file that holds them."""

import datetime
import json
import math
import os
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from eggs_core.calibration import ASSETS
from eggs_core.config import PruneConfig
from eggs_core.errors import EggsError

SCHEMA = 1
FOLDER = "EGGS_SWEEPS"  # the environment variable that names another folder
RESULTS = "sweep.json"
EXAMPLES = ASSETS / "sweeps"
WAITING, DONE, KNOWN, FAILED = "waiting", "done", "known", "failed"  # known: answered from the run store
DIGITS = 5  # of a window's loss in nats per token


def sweeps_folder() -> Path:
    """EGGS_SWEEPS, else eggs/sweeps in the user's cache folder."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get(FOLDER) or Path(cache) / "eggs" / "sweeps")


@dataclass(slots=True)
class Cell:
    """One configuration of a sweep, and what became of it; `figures` are there once its status is done or known."""

    config: PruneConfig
    status: str = WAITING
    seconds: float | None = None
    error: str = ""
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        """Are its figures here?"""
        return self.status in (DONE, KNOWN)

    @property
    def layout(self) -> tuple[str, str, bool]:
        """What its speed depends on: model, pattern, and whether channels are permuted."""
        return self.config.model, str(self.config.pattern), self.config.permutation != "none"


@dataclass(slots=True)
class Sweep:
    """All cells of a grid, growing; with each model's dense figures and the speed of each packed layout."""

    name: str
    cells: list[Cell]
    evaluation: dict[str, Any] = field(default_factory=dict)  # evaluate.protocol's
    dense: dict[str, dict[str, Any]] = field(default_factory=dict)  # model -> figures
    latency: list[dict[str, Any]] = field(default_factory=list)  # a row per layout
    machine: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    created: str = ""
    versions: dict[str, str] = field(default_factory=dict)

    def count(self, *statuses: str) -> int:
        """Number of cells of some statuses."""
        return sum(cell.status in statuses for cell in self.cells)

    def speed(self, cell: Cell) -> dict[str, Any] | None:
        """The latency row of a cell's layout, if it was measured."""
        return next(
            (row for row in self.latency if (row["model"], row["pattern"], row["permuted"]) == cell.layout), None
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        cells = [
            {"key": cell.config.key(), "config": cell.config.to_dict(), "status": cell.status, "seconds": cell.seconds}
            | ({"error": cell.error} if cell.error else {})
            | ({"figures": cell.figures} if cell.figures else {})
            for cell in self.cells
        ]
        return {"schema": SCHEMA} | asdict(self) | {"cells": cells}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Sweep":
        """The inverse of to_dict; raises EggsError for a file of another version."""
        if values.pop("schema", None) != SCHEMA:
            raise EggsError("The sweep was written by another version of EGGS Explorer; run it again.")
        cells = []
        for cell in values.pop("cells"):
            config, figures = PruneConfig.from_dict(cell["config"]), cell.get("figures", {})
            cells.append(Cell(config, cell["status"], cell["seconds"], cell.get("error", ""), figures))
        found = cls(cells=cells, **values)
        _check(found)
        return found


def _check(sweep: Sweep) -> None:
    """Raise KeyError, TypeError or ValueError where a sweep that was read lacks what is drawn from it."""
    finished = [cell for cell in sweep.cells if cell.finished]
    needed = ("perplexity", "top1", "packed_bytes", "mean_gap", "orphans")
    sides = [(cell.figures, needed) for cell in finished] + [(d, ("perplexity", "bytes")) for d in sweep.dense.values()]
    numbers = [sweep.seconds, sweep.machine.get("nodes", 1)]
    for figures, names in sides:
        numbers += [*(figures[name] for name in names), *figures["window_nats"]]
        if len(figures["window_nats"]) != sweep.evaluation["windows"]:
            raise ValueError("a window is missing")
    if not all(isinstance(x, int | float) and math.isfinite(x) for x in numbers):
        raise ValueError("a figure is no number")
    words = [sweep.name, sweep.created, *(cell.error for cell in sweep.cells)]
    if not all(isinstance(x, str) for x in words + [sweep.evaluation[k] for k in ("text", "sha256") if sides]):
        raise TypeError("a name is no text")
    if {cell.config.model for cell in finished} - set(sweep.dense):
        raise KeyError("dense")
    for row in sweep.latency:
        _ = row["model"], row["pattern"], row["permuted"]
        if not all(row["ms_per_token"][side]["median"] > 0 for side in ("dense", "packed")):
            raise ValueError("a time is no time")


def figures_of(report: dict[str, Any]) -> dict[str, Any]:
    """The figures of a finished run's report that a sweep keeps."""
    layers = report["layers"]
    mean = lambda name: round(sum(layer[name] for layer in layers) / len(layers), 6)  # noqa: E731
    return _rounded(report["evaluation"]["pruned"]) | {
        "packed_bytes": report["size"]["packed_bytes"],
        "mean_gap": mean("spectral_gap"),
        "retained_score": mean("retained_score"),
        "orphans": sum(layer["orphans"] for layer in layers),
        "min_in_degree": min(layer["min_in_degree"] for layer in layers),
        "prune_seconds": round(report["seconds"]["prune"], 3),
    }


def dense_of(report: dict[str, Any]) -> dict[str, Any]:
    """The dense model's figures in a finished run's report."""
    figures = dense_figures(report["evaluation"]["dense"], report["size"]["dense_bytes"])
    return figures | {"fingerprint": report.get("fingerprint", "")}


def dense_figures(scores: dict[str, Any], size: int) -> dict[str, Any]:
    """A dense model's figures, from its scores and its bytes."""
    return _rounded(scores) | {"bytes": size}


def _rounded(scores: dict[str, Any]) -> dict[str, Any]:
    """Scores with as many digits as are worth keeping."""
    figures = {name: round(scores[name], 6) for name in ("perplexity", "top1", "top5")}
    return figures | {"window_nats": [round(x, DIGITS) for x in scores["window_nats"]]}


def protocol_of(report: dict[str, Any]) -> dict[str, Any]:
    """Text, SHA-256, window and number of windows of a report."""
    return {name: report["evaluation"][name] for name in ("text", "sha256", "window", "windows")}


def latency_row(layout: tuple[str, str, bool], latency: dict[str, Any], fingerprint: str) -> dict[str, Any]:
    """One layout's speed, from what `measure_generation` found on the model with that fingerprint."""
    ms = {side: {k: round(v, 4) for k, v in latency[side]["ms_per_token"].items()} for side in ("dense", "packed")}
    model, pattern, permuted = layout
    where = {name: latency[name] for name in ("kernel", "threads", "device") if name in latency}
    row = {"model": model, "pattern": pattern, "permuted": permuted, "ms_per_token": ms}
    return row | where | {"fingerprint": fingerprint}


def from_reports(reports: Iterable[dict[str, Any]], name: str) -> Sweep:
    """Finished runs as a sweep: those that share the protocol of evaluation that most of them have."""
    groups: dict[tuple, list[dict[str, Any]]] = {}
    for report in reports:
        groups.setdefault(tuple(protocol_of(report).values()), []).append(report)
    sweep = Sweep(name, [])
    for report in max(groups.values(), key=len, default=[]):
        cell = Cell(PruneConfig.from_dict(report["config"]), KNOWN, report["seconds"]["total"], "", figures_of(report))
        sweep.cells.append(cell)
        sweep.evaluation = protocol_of(report)
        sweep.dense.setdefault(report["model"], dense_of(report))
        if report["latency"] and sweep.speed(cell) is None:  # none was measured on a model larger than memory
            sweep.latency.append(latency_row(cell.layout, report["latency"], report.get("fingerprint", "")))
    return sweep


def save_sweep(sweep: Sweep, folder: Path) -> Path:
    """Write sweep.json into a folder, in one step; raises EggsError when it cannot be written."""
    path = Path(folder) / RESULTS
    sweep.created = sweep.created or datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".part", encoding="utf-8", delete=False) as part:
            part.write(_text(sweep))
        os.chmod(part.name, 0o644)
        os.replace(part.name, path)
    except OSError as error:
        raise EggsError(
            f"The results cannot be written to {path}: {error.strerror}; free space or choose another."
        ) from error
    return path


def _text(sweep: Sweep) -> str:
    """JSON with one line per cell, so that a growing sweep stays readable."""
    values = sweep.to_dict()
    cells = ",\n".join(json.dumps(cell, allow_nan=False, ensure_ascii=False) for cell in values.pop("cells"))
    head = json.dumps(values, indent=1, allow_nan=False, ensure_ascii=False)
    return head[:-2] + ',\n "cells": [\n' + cells + "\n ]\n}\n"


def load_sweep(path: Path) -> Sweep:
    """Read a sweep from its file or folder; raises EggsError if it is missing or damaged."""
    path = Path(path)
    file = path / RESULTS if path.is_dir() else path
    try:
        return Sweep.from_dict(json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise EggsError(f"There is no sweep in {path}: {RESULTS} is missing.") from error
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise EggsError(f"The sweep {file} is damaged; remove it and run the sweep again.") from error
