"""The report of a run that has just finished, and the versions that its figures depend on."""

import datetime
import importlib.metadata
import platform
import time
from dataclasses import dataclass, field
from typing import cast

import torch

from eggs_core.config import PruneConfig
from eggs_core.device import describe
from eggs_core.evaluation.perplexity import WindowScores, protocol
from eggs_core.report_types import Choices, Latency, LayerEntry, Report, Size
from eggs_core.runs.inputs import Inputs
from eggs_core.runs.report import REPORT_SCHEMA


@dataclass(frozen=True, slots=True)
class Weights:
    """The dense model that a run pruned."""

    parameters: int
    fingerprint: str
    device: torch.device


@dataclass(slots=True)
class Clock:
    """When a run began, and how many seconds of it were pruning."""

    pruning: float = 0.0
    _started: float = field(default_factory=time.monotonic)

    def seconds(self) -> float:
        """Since the run began."""
        return time.monotonic() - self._started


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
) -> Report:
    """The report of a run that ends now; `scores` are those of the dense and of the pruned model."""
    dense, pruned = scores
    return {
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
    }
