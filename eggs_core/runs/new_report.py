"""The report of a run that has just finished, and the versions that its figures depend on."""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from eggs_core.config import PruneConfig
from eggs_core.device import describe
from eggs_core.evaluation.perplexity import WindowScores, protocol
from eggs_core.heavy import torch
from eggs_core.models.architectures import block_matrices
from eggs_core.models.checkpoint import Checkpoint
from eggs_core.models.loading import LoadedModel
from eggs_core.pruning.plan import Plan
from eggs_core.report_types import Choices, Latency, LayerEntry, Recovery, Report, Rotated, Size
from eggs_core.runs.inputs import Inputs
from eggs_core.runs.report import REPORT_SCHEMA

if TYPE_CHECKING:  # it takes transformers seconds to import its models
    from transformers import PreTrainedModel


NEARLY_ALL = 0.9  # share of the blocks' weights below which all that stayed dense is named


@dataclass(frozen=True, slots=True)
class Weights:
    """The dense model that a run pruned."""

    parameters: int
    fingerprint: str
    device: torch.device
    left_out: tuple[str, ...] = ()  # what its files hold beside the language model
    quantised: str | None = None  # how its files keep the weights

    @classmethod
    def of(cls, model: LoadedModel | Checkpoint) -> Weights:
        """Those of a model in memory, or of one that is read block by block."""
        return cls(model.parameters, model.fingerprint, model.device, model.left_out, model.quantised)


@dataclass(slots=True)
class Clock:
    """When a run began, and how many seconds of it were pruning."""

    pruning: float = 0.0
    _started: float = field(default_factory=time.monotonic)

    def seconds(self) -> float:
        """Since the run began."""
        return time.monotonic() - self._started


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of the blocks was pruned, and reasons by the name of each layer that stayed dense."""

    share: float
    dense: dict[str, str]

    @classmethod
    def of(cls, model: PreTrainedModel, plan: Plan, pruned: Collection[str]) -> Coverage:
        """Of a model, perhaps on the meta device, of which the layers of these names were pruned."""
        dense = plan.dense | {name: "no token passed through it" for name in plan.patterns if name not in pruned}
        weights = sum(rows * columns for name, (rows, columns) in plan.shapes.items() if name in pruned)
        matrices = block_matrices(model)
        share = weights / max(sum(matrix.numel() for matrix in matrices.values()), 1)
        if share < NEARLY_ALL:
            held = {f"{name}.weight" for name in (*plan.patterns, *plan.dense)}
            others = (n for n, m in matrices.items() if n not in held and (m.dim() == 2 or "expert" not in n))
            dense |= dict.fromkeys(others, "it is no linear layer")
        return cls(min(share, 1.0), dense)


def versions() -> dict[str, str]:
    """Versions of what the figures depend on."""
    packages = ("torch", "transformers", "numpy", "scipy", "networkx")
    return {"python": platform.python_version()} | {p: importlib.metadata.version(p) for p in packages}


def new_report(
    config: PruneConfig,
    inputs: Inputs,
    weights: Weights,
    clock: Clock,
    *,
    layers: list[LayerEntry],
    scores: tuple[WindowScores, WindowScores],
    size: Size,
    latency: Latency | None,
    coverage: Coverage,
    recovery: Recovery | None = None,
    rotation: Rotated | None = None,
) -> Report:
    """The report of a run that ends now; `scores` are those of the dense and of the pruned model."""
    dense, pruned = scores
    report: Report = {
        "schema": REPORT_SCHEMA,
        "key": config.key(),
        "model": config.model,
        "pattern": str(config.pattern),
        "method": config.method,
        "seed": config.seed,
        "config": cast(Choices, config.to_dict()),
        "calibration": {**protocol(inputs.texts.calibration, inputs.calibration, inputs.bos), "seed": config.seed},
        "layers": layers,
        "evaluation": {
            **protocol(inputs.texts.evaluation, inputs.evaluation, inputs.bos),
            "dense": dense.to_dict(),
            "pruned": pruned.to_dict(),
        },
        "size": size,
        "latency": latency,
        "parameters": weights.parameters,
        "fingerprint": weights.fingerprint,
        "device": describe(weights.device),
        "seconds": {"total": clock.seconds(), "prune": clock.pruning},
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "pruned_share": coverage.share,
    }
    if recovery is not None:
        report["recovery"] = recovery
    if rotation is not None:
        report["rotation"] = rotation
        whole = size["dense_bytes"] - rotation.get("added_bytes", 0)  # the dense model still has its head tied
        report["size"] = {**size, "dense_bytes": whole}
    if weights.left_out:
        report["left_out"] = list(weights.left_out)
    if weights.quantised:
        report["dequantised"] = weights.quantised
    if coverage.dense:
        report["dense_layers"] = [{"name": name, "why": why} for name, why in coverage.dense.items()]
    return report
