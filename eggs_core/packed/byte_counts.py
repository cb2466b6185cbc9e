"""Counted bytes: what a pruned model takes dense and packed, and what one decoded token reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from torch import Tensor, nn

from eggs_core.errors import EggsError
from eggs_core.models.architectures import Linear, shape_of
from eggs_core.models.experts import ExpertLinear, experts_in
from eggs_core.packed import layout
from eggs_core.packed.linear import PackedLinear
from eggs_core.pattern import NMPattern, Patterns, pattern_of
from eggs_core.report_types import Size

if TYPE_CHECKING:  # it takes transformers seconds to import its models
    from transformers import PreTrainedModel


def decode_bytes(model: PreTrainedModel) -> dict[str, int]:
    """Bytes of weights that one decoded token reads: {"linear": …, "head": …, "other": …, "total": …}.

    "linear" are the decoder's linear layers. "head" is the LM head, with tied embeddings the embedding table. "other"
    are norms and one row of each embedding table. "total" ÷ memory_bandwidth is the least time that a token can take.
    """
    head = model.get_output_embeddings()
    linear = other = 0
    seen = {id(t) for t in head.parameters()} if head is not None else set()
    for module in model.modules():
        if module is head:
            continue
        if isinstance(module, PackedLinear):
            linear += module.nbytes
        elif isinstance(module, nn.Embedding):
            other += module.weight.nbytes // max(1, module.num_embeddings)
        else:
            mine = sum(p.nbytes for p in module.parameters(recurse=False) if id(p) not in seen)
            if isinstance(module, Linear) or experts_in(module):
                linear += mine
            else:
                other += mine
    heads = head.nbytes if isinstance(head, PackedLinear) else sum(p.nbytes for p in head.parameters()) if head else 0
    return {"linear": linear, "head": heads, "other": other, "total": linear + heads + other}


def size_breakdown(
    model: PreTrainedModel,
    masks: Mapping[str, Tensor] | Iterable[str] = (),
    patterns: Patterns | None = None,
    permutations: Iterable[str] | None = None,
) -> Size:
    """Count a pruned model's bytes: dense with zeros, and packed split into values, positions and what is untouched.

    "dense_bytes" = "dense_pruned" (the pruned layers, zeros stored) + "untouched"; "packed_bytes" = "packed_pruned" +
    "untouched"; "packed_pruned" = "values" + "positions" + "permutations"; "untouched" = "embeddings" + "head" (0 when
    tied to the embeddings) + "rest" (norms, biases, unpruned layers); "formula" spells out the bytes per weight.

    The model is dense or packed. For a dense one, `masks` names the pruned layers, `patterns` are theirs, and
    `permutations` names those that are permuted. Tied weights count once. Raises EggsError for a name that the model
    lacks.
    """
    names, permuted = set(masks), set(permutations or ())
    if names and patterns is None:
        raise EggsError("Counting a dense model's packed bytes needs the N:M pattern beside the layers' names.")
    modules = dict(model.named_modules())
    if unknown := sorted(names - set(modules)):
        raise EggsError(f"The model has no layer named {unknown[0]}.")
    dense = values = positions = orders = 0
    used: set[tuple[NMPattern, int]] = set()
    counted: Counter[int] = Counter()
    for name, module in modules.items():
        if isinstance(module, PackedLinear):
            shape, own, order = (
                (module.out_features, module.in_features),
                module.pattern,
                module.permutation is not None,
            )
            size = module.values.dtype.itemsize
        elif name in names and patterns is not None and isinstance(module, Linear):
            shape, weight = shape_of(module), module.weight
            own, order, size = pattern_of(patterns, name), name in permuted, weight.dtype.itemsize
            whole = module.shared if isinstance(module, ExpertLinear) else weight
            counted[id(whole)] += shape[0] * shape[1] * size
        else:
            continue
        kept = own.groups(shape[1]) * own.keep
        dense += shape[0] * shape[1] * size
        values += shape[0] * kept * size
        positions += shape[0] * layout.words_per_row(kept, own.position_bits) * 4
        orders += 4 * shape[1] * order
        used.add((own, size))
    parts = _not_pruned(model, counted)
    packed, untouched = values + positions + orders, sum(parts.values())
    return {
        "dense_bytes": dense + untouched,
        "packed_bytes": packed + untouched,
        "dense_pruned": dense,
        "packed_pruned": packed,
        "values": values,
        "positions": positions,
        "permutations": orders,
        "untouched": untouched,
        "embeddings": parts["embeddings"],
        "head": parts["head"],
        "rest": parts["rest"],
        "formula": " · ".join(map(_formula, sorted(used, key=str))),
    }


def _not_pruned(model: PreTrainedModel, counted: Mapping[int, int]) -> dict[str, int]:
    """Bytes of "embeddings", "head" and "rest", without those that are `counted` already, by the tensors' ids."""
    seen: set[int] = set()
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    parts = {"embeddings": 0, "head": 0, "rest": 0}
    for kind, module in (("embeddings", embedding), ("head", head), ("rest", model)):
        tensors = [] if module is None else list(module.parameters())
        if kind == "rest":  # the packed layers' biases are buffers
            tensors += [m.bias for m in model.modules() if isinstance(m, PackedLinear) and m.bias is not None]
        for tensor in tensors:
            if id(tensor) not in seen:
                seen.add(id(tensor))
                parts[kind] += tensor.nbytes - counted.get(id(tensor), 0)
    return parts


def _formula(case: tuple[NMPattern, int]) -> str:
    """The packed bytes per dense weight, spelt out."""
    pattern, size = case
    per_weight = size * pattern.keep / pattern.group + pattern.position_bits * pattern.keep / (8 * pattern.group)
    return (
        f"{pattern}: {size} B × {pattern.keep}/{pattern.group} + {pattern.position_bits} bit / 8 × "
        f"{pattern.keep}/{pattern.group} = {per_weight:g} B per weight, {per_weight / size:.1%} of dense"
    )
