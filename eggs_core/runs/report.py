"""A run's report: the types of what report.json holds, and the one check of a report that was read.

Whoever reads a checked report may rely on every field below: numbers are finite and small enough to be added up and
divided, times and perplexities are above 0, a layer's name is its own, both models were scored on the same windows.
"""

import datetime
import re
from typing import Annotated, Any, NotRequired, TypedDict

from eggs_core.config import PruneConfig
from eggs_core.errors import EggsError, OtherVersion
from eggs_core.pattern import NMPattern
from eggs_core.registry import CUSTOM, METHODS
from eggs_core.typed_json import Amount, Count, Mismatch, Natural, Number, Positive, Range, Share, check

REPORT_SCHEMA = 1  # of report.json and the files beside it
SIDES = ("dense_", "packed_")  # how the names of further models begin that were timed
Perplexity = Annotated[float, Range(1e-3, 1.1e304, "a number above 0")]  # WindowScores ends at exp(700)
Block = Annotated[int, Range(0, 9999, "a whole number from 0 to 9,999")]


class Protocol(TypedDict):
    """Which tokens were read: `windows` windows of `window` tokens of a text."""

    text: str
    sha256: str
    window: Natural
    windows: Natural


class Calibration(Protocol):
    """What the scores come from."""

    seed: Count


class Scores(TypedDict):
    """One model's figures; nats per token of each window."""

    perplexity: Perplexity
    top1: Share
    top5: Share
    window_nats: list[Number]


class Evaluation(Protocol):
    """Both models on the same windows."""

    dense: Scores
    pruned: Scores


class Expansion(TypedDict):
    """Certified neighbours for each member of a set of inputs, and of outputs."""

    inputs: Amount
    outputs: Amount


class LayerEntry(TypedDict):
    """One pruned layer (LayerReport.to_dict): what was chosen, at what cost, and its graph's measures."""

    name: str
    block: Block
    projection: str
    shape: list[Natural]  # out_features, in_features
    sparsity: Share
    retained_score: Number
    output_error: Number
    seconds: Amount
    choice: dict[str, Number]
    notes: list[str]
    min_in_degree: Count
    mean_in_degree: Amount
    max_in_degree: Count
    orphans: Count
    components: Count
    sigma2: Number
    spectral_gap: Number
    ramanujan_margin: Number
    null_gap_mean: Number
    null_gap_std: Number
    gap_z: Number
    certified_expansion: Expansion


class Size(TypedDict):
    """Counted bytes (sizes.size_breakdown)."""

    dense_bytes: Natural
    packed_bytes: Natural
    dense_pruned: Count
    packed_pruned: Count
    values: Count
    positions: Count
    permutations: Count
    untouched: Count
    embeddings: Count
    head: Count
    rest: Count
    formula: str


class Timing(TypedDict):
    """Median and quartiles of `count` timings."""

    median: Positive
    low: Positive
    high: Positive
    count: Count


class Side(TypedDict):
    """The speed of one of the models that took turns."""

    dtype: str
    ms_per_token: Timing
    decode_tokens_per_s: Timing
    first_token_ms: Timing
    prefill_tokens_per_s: Timing


class Latency(TypedDict):
    """Measured speed (generation.measure_generation); further models are named dense_… or packed_…"""

    kernel: str
    threads: Count
    dense: Side
    packed: Side
    zeros: NotRequired[Side]
    device: NotRequired[str]
    prompt_tokens: NotRequired[Count]
    new_tokens: NotRequired[Count]
    texts_equal: NotRequired[bool]
    texts: NotRequired[dict[str, list[Count]]]
    decode_speedup: NotRequired[Positive]


class Seconds(TypedDict):
    """How long the run took, and pruning in it."""

    total: Amount
    prune: Amount


class Choices(TypedDict):
    """What is read of a configuration as it stands; PruneConfig.from_dict reads the whole."""

    model: str
    pattern: str
    method: str
    seed: Count
    score: str
    selection: str
    permutation: str
    reconstruction: str


class Report(TypedDict):
    """Everything of a run but its tensors; `latency` is None for a model that went block by block from disk."""

    schema: NotRequired[int]
    key: str
    model: str
    pattern: str
    method: str
    seed: Count
    config: Choices
    calibration: Calibration
    layers: list[LayerEntry]
    evaluation: Evaluation
    size: Size
    latency: Latency | None
    seconds: Seconds
    device: str
    created: str
    versions: dict[str, str]
    parameters: NotRequired[Count]
    fingerprint: NotRequired[str]  # of the original weights; early runs have none
    checkpoint: NotRequired[str]  # the folder of the pruned model of a streamed run


def checked_report(value: Any) -> Report:
    """A value read from report.json, as a report; raises EggsError, which names what is wrong, if it is none.

    Fields that are not known pass, so that a report of tomorrow opens today. A method that is not known, or whose
    choices have changed since the run was made, is called custom, as which its choices are spelled out.
    """
    try:
        if isinstance(value, dict) and value.get("schema", REPORT_SCHEMA) != REPORT_SCHEMA:
            raise OtherVersion("The report was written by another version of EGGS Explorer.")
        check(value, Report)
        value = _with_known_method(value)
        _check_heading(value)
        _check_layers(value["layers"], NMPattern.parse(value["pattern"]))
        _check_scores(value["evaluation"])
        further = {name: side for name, side in (value["latency"] or {}).items() if name.startswith(SIDES)}
        check(further, dict[str, Side])
    except Mismatch as wrong:
        where = f"'s {wrong.place}" if wrong.place else ""
        raise EggsError(f"The report{where} {wrong.said}.") from wrong
    return value


def _with_known_method(report: Report) -> Report:
    config, method = report["config"], report["method"]
    _require(config["method"] == method, "method is not that of its config")
    if method in METHODS and all(config[name] == value for name, value in METHODS[method].choices().items()):
        return report
    return report | {"method": CUSTOM, "config": config | {"method": CUSTOM}}


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise EggsError(f"The report's {what}.")


def _check_heading(report: dict[str, Any]) -> None:
    """The configuration is one, and what stands beside it agrees."""
    _require(re.fullmatch(r"[0-9A-Za-z]{1,64}", report["key"]) is not None, "key must be letters and digits")
    try:
        config = PruneConfig.from_dict(report["config"])
    except EggsError as error:
        raise EggsError(f"The report's config cannot be used: {error}") from error
    for name in ("model", "pattern", "seed"):
        _require(report[name] == config.to_dict()[name], f"{name} is not that of its config")
    try:
        datetime.datetime.fromisoformat(report["created"])
    except ValueError as error:
        raise EggsError("The report's created must be a date and time.") from error
    place = report.get("checkpoint", "")
    _require("\0" not in place and len(place) < 4096, "checkpoint must be the path of a folder")
    for part in ("calibration", "evaluation"):
        _require(re.fullmatch("[0-9a-f]{64}", report[part]["sha256"]) is not None, f"{part}.sha256 must be 64 digits")


def _check_layers(layers: list[LayerEntry], pattern: NMPattern) -> None:
    _require(bool(layers), "layers must not be empty")
    for layer in layers:
        _require(len(layer["shape"]) == 2 and bool(layer["name"]), "layers must each have a name and a shape of two")
        pattern.check(layer["name"][:200], tuple(layer["shape"]))
    _require(len({layer["name"] for layer in layers}) == len(layers), "layers must each have a name of their own")


def _check_scores(evaluation: Evaluation) -> None:
    for side in ("dense", "pruned"):
        _require(
            len(evaluation[side]["window_nats"]) == evaluation["windows"],
            f"evaluation.{side}.window_nats must hold a number for each window",
        )
