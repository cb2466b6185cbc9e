"""Where pruning does its harm: how the error grows through the blocks, and what one part pruned alone costs."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from eggs_core.evaluation.intervals import Interval, paired_ratio
from eggs_core.evaluation.perplexity import evaluate
from eggs_core.heavy import nn, no_grad, torch
from eggs_core.models.architectures import find_blocks, linear_layers
from eggs_core.models.hooks import hooked
from eggs_core.progress import Progress

if TYPE_CHECKING:  # it takes transformers seconds to import its models
    from transformers import PreTrainedModel


@dataclass(frozen=True, slots=True)
class BlockDrift:
    """How far the pruned model's hidden states are from the dense one's behind a block, over all tokens.

    error: ‖pruned − dense‖ ÷ ‖dense‖, median over tokens (a few tokens carry huge norms); cosine: mean over tokens.
    """

    block: int
    error: float
    cosine: float


@dataclass(frozen=True, slots=True)
class PartCost:
    """Perplexity when only one part is pruned, over that of the dense model, with its interval; `share` of weights."""

    kind: str  # "block" or "projection"
    name: str
    layers: int
    share: float  # of the pruned layers' weights that lie in this part
    ratio: Interval


@no_grad
def drift(dense: PreTrainedModel, pruned: PreTrainedModel, windows: torch.Tensor) -> list[BlockDrift]:
    """The drift behind every block on windows (windows, length) int64, whose errors come from all blocks before."""
    sums: list[list[torch.Tensor]] = [[] for _ in find_blocks(dense)[1]]
    for window in windows.split(1):
        for number, (a, b) in enumerate(zip(_hidden(dense, window), _hidden(pruned, window), strict=True)):
            error = (b - a).norm(dim=-1) / a.norm(dim=-1).clamp_min(1e-30)
            cosine = torch.nn.functional.cosine_similarity(a, b, dim=-1)
            sums[number].append(torch.stack([error, cosine]).flatten(1))
    joined = [torch.cat(parts, dim=1) for parts in sums]
    return [BlockDrift(i, both[0].median().item(), both[1].mean().item()) for i, both in enumerate(joined)]


def _hidden(model: PreTrainedModel, window: torch.Tensor) -> list[torch.Tensor]:
    """The output of every block, fp32 (1, length, hidden)."""
    found: list[torch.Tensor] = []

    def hook(
        _module: nn.Module, _args: tuple[torch.Tensor, ...], output: torch.Tensor | tuple[torch.Tensor, ...]
    ) -> None:
        found.append((output[0] if isinstance(output, tuple) else output).float().clone())

    with hooked(block.register_forward_hook(hook) for block in find_blocks(model)[1]):
        model(input_ids=window.to(model.device), use_cache=False, logits_to_keep=1)
    return found


@no_grad
def leave_one_in(
    dense: PreTrainedModel, pruned: PreTrainedModel, windows: torch.Tensor
) -> Iterator[Progress | PartCost]:
    """Evaluate the dense model with one block, or one kind of projection, taken from the pruned one.

    windows: (windows, length) int64. Yields progress, and a PartCost for each block and each kind of projection. Both
    models stay as they are; closing the generator stops after the part at hand.
    """
    yield Progress("The dense model", 0.0)
    base = evaluate(dense, windows).nats.tolist()
    mixed = copy.deepcopy(dense)
    places, sources = ({layer.name: layer for layer in linear_layers(model)} for model in (mixed, pruned))
    parts: dict[tuple[str, str], list[str]] = {}
    for name, layer in places.items():
        parts.setdefault(("block", str(layer.block + 1)), []).append(name)
    for name, layer in places.items():
        parts.setdefault(("projection", layer.projection), []).append(name)
    total = sum(layer.module.weight.numel() for layer in places.values())
    for number, ((kind, part), names) in enumerate(parts.items(), 1):
        yield Progress(f"Only {kind} {part} pruned: {number} of {len(parts)}", number / (len(parts) + 1))
        kept = {name: places[name].module.weight.data for name in names}
        for name in names:
            places[name].module.weight.data = sources[name].module.weight.data
        try:
            nats = evaluate(mixed, windows).nats.tolist()
        finally:
            for name, weight in kept.items():
                places[name].module.weight.data = weight
        share = sum(w.numel() for w in kept.values()) / total
        yield PartCost(kind, part, len(names), share, paired_ratio(base, nats))
