"""The layers of a model that can be pruned, by its configuration alone, and what each takes by a pattern."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from eggs_core.allocation.rates import Rates
from eggs_core.allocation.table import Cell, Choice, LayerRow
from eggs_core.config import PruneConfig
from eggs_core.device import best_device
from eggs_core.heavy import torch
from eggs_core.models.architectures import linear_layers
from eggs_core.models.experts import read_shares
from eggs_core.models.loading import outline
from eggs_core.pattern import NMPattern

if TYPE_CHECKING:  # it takes transformers seconds to import its models
    from transformers import PreTrainedModel


@dataclass(frozen=True, slots=True)
class LayerSize:
    """A layer that can be pruned, without its weights."""

    name: str
    block: int  # from 0, as modules are counted
    projection: str
    shape: tuple[int, int]  # (out, in)
    itemsize: int  # bytes of a weight in memory
    share: float  # of all tokens that it reads: of an expert's layer as many as its router sends

    def takes(self, choice: Choice) -> bool:
        """Does the pattern's group divide its inputs? Every layer can stay dense."""
        return choice is None or self.shape[1] % choice.group == 0

    def cost(self, choice: Choice, config: PruneConfig) -> tuple[int, int]:
        """Packed bytes and kept weights by a choice that it takes, with the configuration's channel order and bits."""
        from eggs_core.packed.byte_counts import layer_bytes  # here, as it imports torch at once

        count = self.shape[0] * self.shape[1]
        if choice is None:
            return count * self.itemsize, count
        ordered = config.permutation != "none"
        return sum(layer_bytes(self.shape, choice, self.itemsize, ordered, config.bits)), round(count * choice.density)


def sizes_in(model: PreTrainedModel, itemsize: int | None = None) -> Iterator[LayerSize]:
    """The layers of a model, which may be on the meta device; `itemsize` in place of its own weights'."""
    share_of = read_shares(model, model.config)
    for layer in linear_layers(model):
        own = itemsize or layer.module.weight.dtype.itemsize
        yield LayerSize(layer.name, layer.block, layer.projection, layer.shape, own, share_of(layer.name))


def layer_sizes(name: str) -> list[LayerSize]:
    """The layers of the model of that name as `load` would open it; reads no weights, raises EggsError as it does."""
    on_cpu = best_device().type == "cpu"
    return list(sizes_in(outline(name).model, torch.float32.itemsize if on_cpu else None))


def rows_of(
    layers: Iterable[LayerSize],
    losses: Mapping[str, Mapping[NMPattern, float]],
    config: PruneConfig,
    rates: Rates | None = None,
) -> tuple[LayerRow, ...]:
    """A row for each layer that losses were measured of, with the cell of each choice; `rates` tell seconds."""

    def cell(layer: LayerSize, choice: Choice, loss: float) -> Cell:
        seconds = None if rates is None else layer.share * rates[layer.shape, choice]
        return Cell(loss, *layer.cost(choice, config), seconds)

    return tuple(
        LayerRow(
            layer.name,
            layer.block,
            layer.projection,
            layer.shape,
            {None: cell(layer, None, 0.0)} | {p: cell(layer, p, loss) for p, loss in losses[layer.name].items()},
        )
        for layer in layers
        if layer.name in losses  # else no text passes it
    )
