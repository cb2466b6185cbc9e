"""Packed models: swap a pruned model's linear layers for packed N:M ones, and back."""

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeVar

from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from eggs_core.errors import EggsError
from eggs_core.models.architectures import is_linear, is_transposed
from eggs_core.models.experts import release_experts
from eggs_core.packed.byte_counts import size_breakdown
from eggs_core.packed.grid import Grid
from eggs_core.packed.kernel.call import Siblings
from eggs_core.packed.kernel.huge_pages import Arena
from eggs_core.packed.kernel.library import kernel_path
from eggs_core.packed.linear import PackedLinear
from eggs_core.packed.tables import embedding_of, packed_tables, unpack_embedding
from eggs_core.pattern import NMPattern, Patterns, pattern_of

if TYPE_CHECKING:
    from eggs_core.models.architectures import Linear

__all__ = [
    "PackedLinear",
    "kernel_path",
    "pack_layer",
    "pack_model",
    "packed_copy",
    "size_breakdown",
    "unpack_model",
]

Model = TypeVar("Model", bound=nn.Module)

# Projections of one parent module that receive the same input: one kernel call computes them all.
SIBLINGS = (
    ("q_proj", "k_proj", "v_proj"),
    ("query", "key", "value"),
    ("gate_proj", "up_proj"),
    ("w1", "w3"),
)


def pack_model(
    model: Model,
    masks: Mapping[str, Tensor],
    patterns: Patterns,
    permutations: Mapping[str, Tensor] | None = None,
    grids: Mapping[str, Grid] | None = None,
) -> Model:
    """Swap the named nn.Linear and Conv1D layers of a model for packed ones, in place; returns the model.

    `masks[name]` is bool (out, in), True = kept; `permutations[name]` (in,) and `grids[name]`, where there is one.
    Where a grid has 8 bits or fewer, embedding and LM head get 8 (`packed_tables`). Sibling projections are joined into
    one kernel call. Raises EggsError, with the model unchanged, for a name or a mask that does not fit.
    """
    permutations = permutations or {}
    if unknown := sorted(set(permutations) - set(masks)):
        raise EggsError(f"There is a permutation but no mask for layer {unknown[0]}.")
    packed, arena = {}, Arena()
    for name, mask in masks.items():
        grid, pattern = (grids or {}).get(name), pattern_of(patterns, name)
        packed[name] = arena.settle(pack_layer(model, name, mask, pattern, permutations.get(name), grid))
        packed[name].train(model.training)
    found = packed_tables(model, grids)
    put_packed(model, packed)
    if found is not None:
        found.settle(arena)
        found.put(model)
    join_siblings(model)
    return model


def put_packed(model: nn.Module, packed: Mapping[str, PackedLinear]) -> None:
    """Put packed layers in the place of a model's own, also where other layers are tied to these."""
    tied: dict[int, list[str]] = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | Conv1D):
            tied.setdefault(id(module.weight), []).append(name)
    for name, layer in packed.items():
        old = model.get_submodule(name)
        others = tied.get(id(old.weight), []) if isinstance(old, nn.Linear | Conv1D) else []
        for place in {name, *others}:
            set_submodule(model, place, layer)
    release_experts(model)


def pack_layer(
    model: nn.Module,
    name: str,
    mask: Tensor,
    pattern: NMPattern,
    permutation: Tensor | None = None,
    grid: Grid | None = None,
) -> PackedLinear:
    """A packed copy of the model's layer `name`, which stays as it is; raises EggsError as pack_model does."""
    layer = _submodule(model, name)
    if not is_linear(layer):
        raise EggsError(f"Layer {name} is a {type(layer).__name__}; only nn.Linear and Conv1D can be packed.")
    conv1d = is_transposed(layer)
    weight = layer.weight.t() if conv1d else layer.weight
    return PackedLinear.from_dense(weight, mask, pattern, layer.bias, permutation, conv1d=conv1d, name=name, grid=grid)


def packed_copy(
    model: Model,
    masks: Mapping[str, Tensor],
    patterns: Patterns,
    permutations: Mapping[str, Tensor] | None = None,
    grids: Mapping[str, Grid] | None = None,
) -> Model:
    """A packed twin of a dense model, which stays as it is; tensors that are not packed are shared, not copied."""
    shared = {id(t): t for t in (*model.parameters(), *model.buffers())}
    return pack_model(copy.deepcopy(model, shared), masks, patterns, permutations, grids)


def unpack_model(model: Model) -> Model:
    """Undo pack_model in place: dense nn.Linear (or Conv1D) layers with zeros where weights were pruned."""
    table, tied = embedding_of(model), None
    for name, layer in list(model.named_modules()):
        if not isinstance(layer, PackedLinear):
            continue
        weight = layer.to_dense()
        dense: Linear
        if layer.conv1d:
            dense = Conv1D(layer.out_features, layer.in_features)
            weight = weight.t().contiguous()
        else:
            dense = nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None, device="meta")
        dense.weight = nn.Parameter(weight, requires_grad=weight.is_floating_point())
        if layer.bias is not None:
            dense.bias = nn.Parameter(layer.bias.clone())
        if table is not None and layer.values is table[1].values:
            tied = dense
        set_submodule(model, name, dense.train(layer.training))
    if table is not None:
        unpack_embedding(model)
        if tied is not None:
            tied.weight = model.get_submodule(table[0]).weight
    return model


def join_siblings(model: nn.Module) -> int:
    """Join packed projections that share parent and input into one kernel call each; returns how many were joined."""
    joined = 0
    for parent in model.modules():
        for names in SIBLINGS:
            layers = [m for n in names if isinstance(m := parent._modules.get(n), PackedLinear)]
            same = {(m.in_features, m.dtype, m.values.device) for m in layers}
            if len(layers) > 1 and len(same) == 1:
                group = Siblings(layers)
                for layer in layers:
                    layer._siblings = group
                joined += len(layers)
    return joined


def set_submodule(model: nn.Module, name: str, layer: nn.Module) -> None:
    """Put `layer` in the place of the model's submodule `name`."""
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, layer)


def _submodule(model: nn.Module, name: str) -> nn.Module:
    try:
        return model.get_submodule(name)
    except AttributeError:
        raise EggsError(f"The model has no layer named {name}.") from None
