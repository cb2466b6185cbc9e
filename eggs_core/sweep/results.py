"""What a sweep found: a cell's figures, all cells with what they share, and the file that holds them."""

import datetime
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from eggs_core.assets import ASSETS
from eggs_core.bos import EVERY, FIRST, NONE, joined
from eggs_core.config import PruneConfig
from eggs_core.errors import EggsError
from eggs_core.files import write_text
from eggs_core.reading import read_json
from eggs_core.report_types import Latency, Protocol, Report, Scores
from eggs_core.sweep.reading import FINISHED, KNOWN, WAITING, check_sweep

SWEEP_SCHEMA = 1
FOLDER = "EGGS_SWEEPS"  # the environment variable that names another folder
RESULTS = "sweep.json"
EXAMPLES = ASSETS / "sweeps"
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
        return self.status in FINISHED

    @property
    def layout(self) -> tuple[str, str, bool]:
        """What its speed depends on: model, pattern with the values of it, and whether channels are permuted."""
        values = "" if self.config.bits is None else f" {self.config.choice('values')}"
        return self.config.model, f"{self.config.pattern}{values}", self.config.permutation != "none"


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
        return {"schema": SWEEP_SCHEMA} | asdict(self) | {"cells": cells}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Sweep":
        """The inverse of to_dict; raises EggsError for values of another version or that are damaged, saying where."""
        if isinstance(values, dict) and not (type(schema := values.get("schema")) is int and schema == SWEEP_SCHEMA):
            raise EggsError("The sweep was written by another version of EGGS Explorer; run it again.")
        cells = []
        try:
            check_sweep(values)
            for number, cell in enumerate(values["cells"], 1):
                try:
                    config = PruneConfig.from_dict(cell["config"])
                except EggsError as error:
                    raise ValueError(f"cell {number}: {error}") from error
                figures = cell.get("figures", {})
                cells.append(Cell(config, cell["status"], cell.get("seconds"), cell.get("error", ""), figures))
        except ValueError as error:
            raise EggsError(f"The sweep is damaged ({error}); remove it and run the sweep again.") from error
        return cls(cells=cells, **{name: value for name, value in values.items() if name not in ("schema", "cells")})


def figures_of(report: Report) -> dict[str, Any]:
    """The figures of a finished run's report that a sweep keeps."""
    layers = report["layers"]

    def mean(values: Iterable[float]) -> float:
        return round(sum(values) / len(layers), 6)

    spent = seconds_of(report, "prune")
    return _rounded(report["evaluation"]["pruned"]) | {
        "packed_bytes": report["size"]["packed_bytes"],
        "mean_gap": mean(layer["spectral_gap"] for layer in layers),
        "retained_score": mean(layer["retained_score"] for layer in layers),
        "orphans": sum(layer["orphans"] for layer in layers),
        "min_in_degree": min(layer["min_in_degree"] for layer in layers),
        "prune_seconds": None if spent is None else round(spent, 3),
    }


def seconds_of(report: Report, part: Literal["total", "prune"] = "total") -> float | None:
    """Seconds that a run or a part of it took, where its report says so."""
    return (report.get("seconds") or {}).get(part)


def dense_of(report: Report) -> dict[str, Any]:
    """The dense model's figures in a finished run's report."""
    figures = dense_figures(report["evaluation"]["dense"], report["size"]["dense_bytes"])
    return figures | {"fingerprint": report.get("fingerprint", "")}


def dense_figures(scores: Scores, size: int) -> dict[str, Any]:
    """A dense model's figures, from its scores and its bytes."""
    return _rounded(scores) | {"bytes": size}


def _rounded(scores: Scores) -> dict[str, Any]:
    """Scores with as many digits as are worth keeping."""
    figures = {
        "perplexity": round(scores["perplexity"], 6),
        "top1": round(scores["top1"], 6),
        "top5": round(scores["top5"], 6),
    }
    return figures | {"window_nats": [round(x, DIGITS) for x in scores["window_nats"]]}


def protocol_of(report: Report) -> Protocol:
    """Text, SHA-256, window, number of windows and place of BOS of a report."""
    found = report["evaluation"]
    return {
        "text": found["text"],
        "sha256": found["sha256"],
        "window": found["window"],
        "windows": found["windows"],
        "bos": found.get("bos", "none"),
    }


def _comparable(reports: list[Report]) -> list[Report]:
    """Those whose windows have BOS in the same place; a model that has none stands beside either.

    Early runs say nothing of it: on a model that has one, theirs is not the place that other runs of it name.
    """
    places = {id(report): report["evaluation"].get("bos", NONE) for report in reports}
    first = sum(place == FIRST for place in places.values())
    kept = FIRST if first > sum(place == EVERY for place in places.values()) else EVERY
    having = {report["model"] for report in reports if places[id(report)] != NONE}
    return [r for r in reports if places[id(r)] == kept or (places[id(r)] == NONE and r["model"] not in having)]


def add_protocol(sweep: Sweep, protocol: Protocol) -> None:
    """Keep the protocol of a model's evaluation, which the others share but for BOS, that some models have not."""
    bos = joined(sweep.evaluation.get("bos", NONE), protocol.get("bos", NONE))
    sweep.evaluation = {**protocol, "bos": bos}


def latency_row(layout: tuple[str, str, bool], latency: Latency, fingerprint: str) -> dict[str, Any]:
    """One layout's speed, from what `measure_generation` found on the model with that fingerprint."""
    timings = {"dense": latency["dense"]["ms_per_token"], "packed": latency["packed"]["ms_per_token"]}
    ms = {side: {k: round(v, 4) for k, v in dict[str, Any](timing).items()} for side, timing in timings.items()}
    model, pattern, permuted = layout
    where = {name: value for name, value in latency.items() if name in ("kernel", "threads", "device")}
    row = {"model": model, "pattern": pattern, "permuted": permuted, "ms_per_token": ms}
    return row | where | {"fingerprint": fingerprint}


def add_speed(sweep: Sweep, cell: Cell, latency: Latency | None, fingerprint: str) -> None:
    """Keep the speed of a cell's layout, unless it is known; a model larger than memory has none."""
    if latency is not None and sweep.speed(cell) is None:
        sweep.latency.append(latency_row(cell.layout, latency, fingerprint))


def from_reports(reports: Iterable[Report], name: str) -> Sweep:
    """Finished runs as a sweep: those that share the protocol of evaluation that most of them have."""
    groups: dict[tuple[object, ...], list[Report]] = {}
    for report in reports:
        asked = tuple(value for name, value in protocol_of(report).items() if name != "bos")
        groups.setdefault(asked, []).append(report)
    sweep = Sweep(name, [])
    for report in _comparable(max(groups.values(), key=len, default=[])):
        cell = Cell(PruneConfig.from_dict(report["config"]), KNOWN, seconds_of(report), "", figures_of(report))
        sweep.cells.append(cell)
        add_protocol(sweep, protocol_of(report))
        sweep.dense.setdefault(report["model"], dense_of(report))
        add_speed(sweep, cell, report.get("latency"), report.get("fingerprint", ""))
    return sweep


def save_sweep(sweep: Sweep, folder: Path) -> Path:
    """Write sweep.json into a folder, in one step; raises EggsError when it cannot be written."""
    path = Path(folder) / RESULTS
    sweep.created = sweep.created or datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    write_text(path, _text(sweep))
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
    file = path
    try:
        file = path / RESULTS if path.is_dir() else path
        return Sweep.from_dict(read_json(file))
    except FileNotFoundError as error:
        raise EggsError(f"There is no sweep in {path}: {RESULTS} is missing.") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise EggsError(f"The sweep {file} cannot be read ({reason}); remove it and run the sweep again.") from error
