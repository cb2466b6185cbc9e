"""sweep.json as somebody else may have written it: every part that is used is of its kind and within its bounds."""

from typing import Annotated, Any, Literal, NotRequired, get_args

from pydantic import Field
from typing_extensions import TypedDict

from eggs_core.report_types import Protocol
from eggs_core.validation import Amount, Count, Many, Number, Perplexity, Share, Text, check, closed

Status = Literal["waiting", "done", "known", "failed"]
WAITING, DONE, KNOWN, FAILED = get_args(Status)  # known: answered from the run store
FINISHED = (DONE, KNOWN)
MOST_CELLS = 10_000
JsonObject = dict[str, Any]


@closed
class SweepValues(TypedDict):
    """The whole file; its cells and what may be empty are looked into one by one."""

    schema: int
    name: Text
    created: Text
    seconds: Amount
    machine: JsonObject
    versions: dict[str, Text]
    evaluation: JsonObject
    dense: dict[str, JsonObject]
    latency: Annotated[list[JsonObject], Field(max_length=2 * MOST_CELLS)]
    cells: Annotated[list[Any], Field(max_length=MOST_CELLS)]


@closed
class CellValues(TypedDict):
    """One cell; its configuration is not looked into."""

    key: NotRequired[Text]
    config: JsonObject
    status: Status
    seconds: NotRequired[Amount | None]
    error: NotRequired[Text]
    figures: NotRequired[JsonObject]


class Machine(TypedDict):
    """What a sweep ran on."""

    nodes: Count
    cpus: Count
    cell_cpus: Count


class Figures(TypedDict):
    """What both a dense model and a cell have; nats per token of each window."""

    perplexity: Perplexity
    window_nats: Many[Number]


class DenseFigures(Figures):
    """A dense model's figures."""

    bytes: Amount
    fingerprint: NotRequired[Text]


class CellFigures(Figures):
    """A pruned model's figures."""

    top1: Share
    packed_bytes: Amount
    mean_gap: Annotated[Number, Field(ge=-1)]
    orphans: Amount


class Median(TypedDict):
    """Milliseconds for a token."""

    median: Annotated[float, Field(ge=1e-9, le=1e12, allow_inf_nan=False)]


class Sides(TypedDict):
    """Both models in one measurement."""

    dense: Median
    packed: Median


class LatencyRow(TypedDict):
    """The speed of one packed layout."""

    model: Text
    pattern: Text
    permuted: bool
    ms_per_token: Sides
    kernel: NotRequired[Text]
    device: NotRequired[Text]
    fingerprint: NotRequired[Text]
    measured_on: NotRequired[Text]
    threads: NotRequired[Count]


def check_sweep(values: object) -> SweepValues:
    """A sweep's plain values; raises ValueError, saying where, if something that is drawn is missing or wrong.

    The configurations of its cells are not looked into.
    """
    sweep = check(values, SweepValues)
    if sweep["machine"]:
        check(sweep["machine"], Machine, "machine")
    cells = [_cell(cell, f"cell {number}") for number, cell in enumerate(sweep["cells"], 1)]
    finished = {number: cell for number, cell in enumerate(cells, 1) if cell["status"] in FINISHED}
    windows = 0
    if sweep["evaluation"] or finished or sweep["dense"]:
        windows = check(sweep["evaluation"], Protocol, "evaluation")["windows"]
    for model, dense in sweep["dense"].items():
        _figures(check(dense, DenseFigures, f"dense {model[:40]}"), f"dense {model[:40]}", windows)
    for number, cell in finished.items():
        _figures(check(cell["figures"], CellFigures, f"cell {number}"), f"cell {number}", windows)
        if cell["config"]["model"] not in sweep["dense"]:
            raise ValueError(f"cell {number} is finished and its dense model is missing")
    for number, row in enumerate(sweep["latency"], 1):
        check(row, LatencyRow, f"latency {number}")
    return sweep


def _cell(value: object, place: str) -> CellValues:
    """A cell's parts, but for what its figures say."""
    cell = check(value, CellValues, place)
    if cell["status"] in FINISHED:
        if "figures" not in cell or not isinstance(cell["config"].get("model"), str):
            raise ValueError(f"{place} is finished and lacks its figures or its model")
    elif cell.get("figures"):
        raise ValueError(f"{place} has figures and is not finished")
    return cell


def _figures(figures: Figures, place: str, windows: int) -> None:
    """The losses are as many as there were windows, and what else there is are numbers."""
    if (found := len(figures["window_nats"])) != windows:
        raise ValueError(f"{place} has the loss of {found} windows of {windows}")
    others = {name: value for name, value in figures.items() if name not in ("window_nats", "fingerprint")}
    check(others, dict[str, Number], place)
