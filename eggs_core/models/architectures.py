"""Where a model keeps its decoder blocks and their linear layers: one table row per architecture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch import nn
from transformers import PreTrainedConfig
from transformers.pytorch_utils import Conv1D

from eggs_core.errors import EggsError
from eggs_core.pattern import NMPattern

if TYPE_CHECKING:  # it takes transformers seconds to import its models
    from transformers import PreTrainedModel

# config.model_type -> path of the ModuleList of decoder blocks.
BLOCK_PATHS: dict[str, str] = {
    "bloom": "transformer.h",
    "falcon": "transformer.h",
    "gemma": "model.layers",
    "gemma2": "model.layers",
    "gemma3_text": "model.layers",
    "gpt2": "transformer.h",
    "gpt_neox": "gpt_neox.layers",
    "llama": "model.layers",
    "mistral": "model.layers",
    "opt": "model.decoder.layers",
    "phi3": "model.layers",
    "qwen2": "model.layers",
    "qwen3": "model.layers",
}


Linear = nn.Linear | Conv1D  # the kinds of linear layers


def is_transposed(module: nn.Module) -> bool:
    """Is the module's weight (in_features, out_features), as GPT-2's Conv1D keeps it?"""
    return isinstance(module, Conv1D)


def shape_of(module: Linear) -> tuple[int, int]:
    """(out_features, in_features) of a linear layer."""
    rows, columns = module.weight.shape
    return (columns, rows) if is_transposed(module) else (rows, columns)


def context_length(config: PreTrainedConfig) -> int | None:
    """The most tokens that a model of this configuration reads at once; None for one without a limit."""
    found = getattr(config, "max_position_embeddings", None)
    return found if isinstance(found, int) and found > 0 else None


@dataclass(frozen=True, slots=True)
class LinearLayer:
    """One prunable layer: its full name, its block's number, its name in the block, and the module."""

    name: str
    block: int
    projection: str
    module: Linear

    @property
    def shape(self) -> tuple[int, int]:
        """(out_features, in_features), also for GPT-2's transposed Conv1D."""
        return shape_of(self.module)

    def weight(self) -> torch.Tensor:
        """The weight as a detached fp32 copy, (out_features, in_features)."""
        weight = self.module.weight.detach()
        return (weight.T if is_transposed(self.module) else weight).to(torch.float32, copy=True)

    @torch.no_grad()
    def set_weight(self, weight: torch.Tensor) -> None:
        """Write an (out_features, in_features) weight back in the model's own dtype and layout."""
        self.module.weight.copy_(weight.T if is_transposed(self.module) else weight)

    @torch.no_grad()
    def apply_mask(self, mask: torch.Tensor) -> None:
        """Set to zero in place what a mask, bool (out_features, in_features), prunes."""
        weight = self.module.weight
        weight.mul_((mask.T if is_transposed(self.module) else mask).to(weight.device))


def find_blocks(model: PreTrainedModel) -> tuple[str, nn.ModuleList]:
    """The path and the list of a causal LM's decoder blocks.

    An architecture outside the table works if it has exactly one ModuleList of equal blocks with linear layers inside.
    Raises EggsError, which names the architecture, for any other and for experts fused in one tensor.
    """
    kind = model.config.model_type
    if any(p.dim() == 3 for name, p in model.named_parameters() if "experts" in name):
        raise EggsError(
            f"The architecture {kind!r} keeps its experts fused in one tensor, which cannot be pruned here yet; "
            f"supported are {', '.join(sorted(BLOCK_PATHS))} and models built the same way."
        )
    if kind in BLOCK_PATHS:
        return BLOCK_PATHS[kind], cast(nn.ModuleList, model.get_submodule(BLOCK_PATHS[kind]))
    found = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList)
        and len(module) > 1
        and len({type(block) for block in module}) == 1
        and any(isinstance(m, nn.Linear) for m in module[0].modules())
    ]
    outermost = [(n, m) for n, m in found if not any(n.startswith(other + ".") for other, _ in found)]
    if len(outermost) != 1:
        raise EggsError(
            f"The architecture {kind!r} is not supported: its decoder blocks were not found; "
            f"supported are {', '.join(sorted(BLOCK_PATHS))} and models built the same way."
        )
    return outermost[0]


def block_layers(path: str, number: int, block: nn.Module) -> list[LinearLayer]:
    """The linear layers of one decoder block, in the order in which the block defines them."""
    return [
        LinearLayer(f"{path}.{number}.{name}", number, name, module)
        for name, module in block.named_modules()
        if isinstance(module, Linear)
    ]


def linear_layers(model: PreTrainedModel) -> Iterator[LinearLayer]:
    """Every layer that pruning touches; embeddings, norms and the LM head are left alone."""
    path, blocks = find_blocks(model)
    for number, block in enumerate(blocks):
        yield from block_layers(path, number, block)


def check_pattern(model: PreTrainedModel, pattern: NMPattern) -> None:
    """Raise EggsError, naming the first layer that the pattern does not fit."""
    for layer in linear_layers(model):
        pattern.check(layer.name, layer.shape)
