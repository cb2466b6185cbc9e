"""Statistics of a block's layers, those of many experts some at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from eggs_core.heavy import nn
from eggs_core.models.architectures import LinearLayer
from eggs_core.pruning.activations import MOST_GRAM_BYTES, Activations, Statistics


def gathered(
    activations: Activations, layers: list[LinearLayer], number: int, block: nn.Module, need_gram: bool
) -> Iterator[tuple[list[LinearLayer], Statistics]]:
    """All layers of a block with the statistics that it gives while none is pruned.

    Where the grams of many experts would take too much memory, experts are pruned some at a time, before all else:
    nothing that a block computes depends on them but its output.
    """
    experts = [layer for layer in layers if layer.mixture]
    if not need_gram or _gram_bytes(experts) <= MOST_GRAM_BYTES:
        yield layers, activations.gather(layers, number, block, need_gram)
        return
    others = [layer for layer in layers if not layer.mixture]
    kept = activations.gather(others, number, block, need_gram)
    by_expert: dict[str, list[LinearLayer]] = {}
    for layer in experts:
        by_expert.setdefault(layer.projection.rpartition(".")[0], []).append(layer)
    group: list[LinearLayer] = []
    for expert in by_expert.values():
        if group and _gram_bytes(group + expert) > MOST_GRAM_BYTES:
            yield group, activations.gather(group, number, block, need_gram)
            group = []
        group += expert
    yield group, activations.gather(group, number, block, need_gram)
    yield others, kept


def _gram_bytes(layers: Iterable[LinearLayer]) -> int:
    return sum(4 * layer.shape[1] ** 2 for layer in layers)
