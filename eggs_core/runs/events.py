"""What a run yields while it is computed: progress, each layer, the curve of recovery, and the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from eggs_core.models.loading import LoadedModel
from eggs_core.packed.grid import Grid
from eggs_core.progress import Progress
from eggs_core.pruning.loop import LayerReport
from eggs_core.pruning.recovery import RecoveryPoint
from eggs_core.runs.run import Run

if TYPE_CHECKING:  # it takes transformers seconds to import its models
    from transformers import PreTrainedModel


@dataclass(frozen=True, slots=True)
class LayerDone:
    """A layer was pruned; `total` layers in all."""

    report: LayerReport
    total: int


@dataclass(frozen=True, slots=True)
class Finished:
    """The run is complete; `model` is the pruned model, dense with zeros, and `dense` the one that it came from.

    Both are None for a model that is larger than memory: its pruned checkpoint lies in the report's "checkpoint".
    """

    run: Run
    dense: LoadedModel | None
    model: PreTrainedModel | None
    grids: Mapping[str, Grid] = field(default_factory=dict)  # of rounded values, by layer


Event = Progress | LayerDone | RecoveryPoint | Finished  # a RecoveryPoint: recovery was measured
