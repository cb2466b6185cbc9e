"""sweep.json as somebody else may have written it: every part that is used is of its kind and within its bounds."""

from typing import Any

from eggs_core.fields import flag, listed, mapping, number, only, part, text, whole

STATUSES = WAITING, DONE, KNOWN, FAILED = "waiting", "done", "known", "failed"  # known: answered from the run store
FINISHED = (DONE, KNOWN)
MOST_CELLS = 10_000
_PARTS = {
    "schema",
    "name",
    "cells",
    "evaluation",
    "dense",
    "latency",
    "machine",
    "seconds",
    "created",
    "versions",
}


def check_sweep(values: dict[str, Any]) -> None:
    """Raise ValueError, saying where, for a sweep's plain values of which something that is drawn is missing or wrong.

    The configurations of its cells are not looked into.
    """
    only(values, _PARTS)
    for name in ("name", "created"):
        part(values, name, text)
    part(values, "seconds", number, low=0)
    if part(values, "machine", mapping):
        for name in ("nodes", "cpus", "cell_cpus"):
            part(values["machine"], name, whole, "machine")
    for name in part(values, "versions", mapping):
        part(values["versions"], name, text, "versions")
    cells = part(values, "cells", listed, each=_cell, most=MOST_CELLS)
    finished = [cell for cell in cells if cell["status"] in FINISHED]
    dense = part(values, "dense", mapping)
    windows = 0
    if part(values, "evaluation", mapping) or finished or dense:
        for name in ("text", "sha256"):
            part(values["evaluation"], name, text, "evaluation")
        part(values["evaluation"], "window", whole, "evaluation")
        windows = part(values["evaluation"], "windows", whole, "evaluation", low=1)
    for model in dense:
        figures = part(dense, model, mapping, "dense")
        _figures(figures, f"dense {model[:40]}", ("bytes",), windows)
        if "fingerprint" in figures:
            part(figures, "fingerprint", text, "dense")
    for place, cell in enumerate(cells, 1):
        if cell["status"] in FINISHED:
            _figures(cell["figures"], f"cell {place}", ("top1", "packed_bytes", "mean_gap", "orphans"), windows)
            if cell["config"].get("model") not in dense:
                raise ValueError(f"cell {place} is finished and its dense model is missing")
    part(values, "latency", listed, each=_latency, most=2 * MOST_CELLS)


def _cell(cell: Any, what: str) -> dict[str, Any]:
    """A cell's parts, but for what its figures say."""
    what = what.replace("cells", "cell")
    only(mapping(cell, what), {"key", "config", "status", "seconds", "error", "figures"}, what)
    part(cell, "config", mapping, what)
    if part(cell, "status", text, what) not in STATUSES:
        raise ValueError(f"{what}'s status is none of {', '.join(STATUSES)}")
    if cell.get("seconds") is not None:
        part(cell, "seconds", number, what, low=0)
    text(cell.get("error", ""), f"{what}'s error")
    if cell["status"] in FINISHED:
        part(cell, "figures", mapping, what)
        text(cell["config"].get("model"), f"{what}'s model")
    elif cell.get("figures"):
        raise ValueError(f"{what} has figures and is not finished")
    return cell


def _figures(figures: dict[str, Any], what: str, needed: tuple[str, ...], windows: int) -> None:
    """One model's figures: the perplexity, the loss of each window, and numbers."""
    part(figures, "perplexity", number, what, low=1e-6)
    for name in needed:
        part(figures, name, number, what, low=-1.0 if name == "mean_gap" else 0)
    nats = part(figures, "window_nats", listed, what, each=number)
    if len(nats) != windows:
        raise ValueError(f"{what} has the loss of {len(nats)} windows of {windows}")
    for name in set(figures) - {"window_nats", "fingerprint"}:
        part(figures, name, number, what)


def _latency(row: Any, what: str) -> None:
    """The speed of one packed layout."""
    mapping(row, what)
    for name in ("model", "pattern"):
        part(row, name, text, what)
    part(row, "permuted", flag, what)
    times = part(row, "ms_per_token", mapping, what)
    for side in ("dense", "packed"):
        part(part(times, side, mapping, what), "median", number, what, low=1e-9, high=1e12)
    for name in {"kernel", "device", "fingerprint", "measured_on"} & set(row):
        part(row, name, text, what)
    if "threads" in row:
        part(row, "threads", whole, what)
