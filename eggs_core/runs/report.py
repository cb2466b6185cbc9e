"""The one check of a report that was read from report.json.

Whoever reads a checked report may rely on every field of `Report`: numbers are finite and small enough to be added up
and divided, times and perplexities are above 0, a layer's name is its own, both models were scored on the same windows.
"""

import datetime
import re
from collections import Counter

from eggs_core.config import PruneConfig
from eggs_core.errors import EggsError, OtherVersion
from eggs_core.pattern import NMPattern
from eggs_core.registry import CUSTOM, METHODS
from eggs_core.report_types import Evaluation, LayerEntry, Report, Scores, Side
from eggs_core.validation import Mismatch, check

REPORT_SCHEMA = 1  # of report.json and the files beside it
SIDES = ("dense_", "packed_")  # how the names of further models begin that were timed


def checked_report(value: object) -> Report:
    """A value read from report.json, as a report; raises EggsError, which names what is wrong, if it is none.

    Fields that are not known pass, so that a report of tomorrow opens today. A method that is not known, or whose
    choices have changed since the run was made, is called custom, as which its choices are spelled out.
    """
    try:
        if isinstance(value, dict) and value.get("schema", REPORT_SCHEMA) != REPORT_SCHEMA:
            raise OtherVersion("The report was written by another version of EGGS Explorer.")
        report = _with_known_method(check(value, Report))
        _check_heading(report)
        _check_layers(report["layers"], report["pattern"])
        _check_scores(report["evaluation"])
        _check_recovery(report)
        _check_rotation(report)
        further = {name: side for name, side in (report["latency"] or {}).items() if name.startswith(SIDES)}
        check(further, dict[str, Side], "latency")
    except Mismatch as wrong:
        where = f"'s {wrong.place}" if wrong.place else ""
        raise EggsError(f"The report{where} {wrong.message}.") from wrong
    return report


def left_dense(report: Report) -> str:
    """What was opened of the model if not all, as sentences, and which layers stayed dense; "" for neither."""
    said = []
    if others := report.get("left_out"):
        said.append(f"This is the model's text part, without {' and '.join(others)}.")
    if method := report.get("dequantised"):
        said.append(f"Its weights were dequantised from {method}.")
    if counts := Counter(layer["why"] for layer in report.get("dense_layers", [])):
        reasons = "; ".join(f"{count:,} as {why}" for why, count in counts.most_common())
        share = f"{report.get('pruned_share', 1.0):.0%}"
        said.append(f"{share} of the blocks' weights are in pruned layers. Dense stayed {reasons}.")
    return " ".join(said)


def _with_known_method(report: Report) -> Report:
    config, method = report["config"], report["method"]
    _require(config["method"] == method, "method is not that of its config")
    if method in METHODS and METHODS[method].choices().items() <= dict(config).items():
        return report
    return {**report, "method": CUSTOM, "config": {**config, "method": CUSTOM}}


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise EggsError(f"The report's {what}.")


def _check_heading(report: Report) -> None:
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


def _check_layers(layers: list[LayerEntry], pattern: str) -> None:
    _require(bool(layers), "layers must not be empty")
    for layer in layers:
        _require(len(layer["shape"]) == 2 and bool(layer["name"]), "layers must each have a name and a shape of two")
        NMPattern.parse(layer.get("pattern", pattern)).on(layer["shape"][1]).check(layer["name"][:200], layer["shape"])
    _require(len({layer["name"] for layer in layers}) == len(layers), "layers must each have a name of their own")


def _check_scores(evaluation: Evaluation) -> None:
    for side in ("dense", "pruned"):
        _check_windows(evaluation[side], f"evaluation.{side}", evaluation["windows"])


def _check_windows(scores: Scores, place: str, windows: int) -> None:
    _require(len(scores["window_nats"]) == windows, f"{place}.window_nats must hold a number for each window")


def _check_rotation(report: Report) -> None:
    """A run says what became of a rotation if its configuration asks for one."""
    asked = PruneConfig.from_dict(report["config"]).rotates
    found = report.get("rotation")
    _require(asked == (found is not None), "rotation is not what its config asks for")
    if found is not None and "why" not in found:
        _require(found.keys() >= {"steps", "before", "after"}, "rotation must say its steps and what is dropped")
        names = {layer["name"] for layer in report["layers"]}
        _require(names >= found["before"].keys() == found["after"].keys(), "rotation must name layers of the run")


def _check_recovery(report: Report) -> None:
    """A run says what followed pruning if its configuration asks for it, and its figures are those after it."""
    asked, found = bool(PruneConfig.from_dict(report["config"]).recovery_tokens), report.get("recovery")
    _require(asked == (found is not None), "recovery is not what its config asks for")
    if found is None:
        return
    for side in ("before", "after"):
        _check_windows(found[side], f"recovery.{side}", report["evaluation"]["windows"])
    _require(bool(found["losses"]), "recovery.losses must not be empty")
    _require(found["after"] == report["evaluation"]["pruned"], "recovery.after is not the pruned model's evaluation")
    place = found.get("weights", "")
    _require("\0" not in place and len(place) < 4096, "recovery.weights must be the path of a file")
