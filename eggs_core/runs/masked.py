"""A finished run's masks, put on the weights of a dense model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eggs_core.errors import EggsError
from eggs_core.models.architectures import linear_layers
from eggs_core.runs.run import Run, layer_shape

if TYPE_CHECKING:  # it takes transformers seconds to import its models
    from transformers import PreTrainedModel


def apply_masks(model: PreTrainedModel, run: Run) -> None:
    """Set to zero, in place, what a run pruned; the kept weights stay, also where the run re-fitted them.

    Raises EggsError, before any change, if the run's layers are not the model's.
    """
    layers = {layer.name: layer for layer in linear_layers(model)}
    for entry in run.report["layers"]:
        name, shape = entry["name"], layer_shape(entry)
        if name not in layers or layers[name].shape != shape:
            raise EggsError(f"The run's model {run.report['model']} has a layer {name} {shape}, which this one lacks.")
    for entry in run.report["layers"]:
        layers[entry["name"]].apply_mask(run.mask(entry["name"]))
