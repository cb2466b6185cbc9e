"""Counted bytes: what a pruned model takes dense and packed, and what one decoded token reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from torch import Tensor, nn

from eggs_core.errors import EggsError
from eggs_core.models.architectures import is_linear, shape_of
from eggs_core.models.expert_linear import ExpertLinear
from eggs_core.models.experts import experts_in, read_shares
from eggs_core.packed import layout
from eggs_core.packed.linear import PackedLinear
from eggs_core.pattern import NMPattern, Patterns, pattern_of
from eggs_core.report_types import Size

if TYPE_CHECKING:  # it takes transformers seconds to import its models
    from transformers import PreTrainedModel


def decode_bytes(model: PreTrainedModel) -> dict[str, int]:
    """Bytes of weights that one decoded token reads: {"linear": …, "head": …, "other": …, "total": …}.

    "linear" are the decoder's linear layers, of a mixture as many experts as a token is sent to. "head" is the LM head,
    with tied embeddings the embedding table. "other" are norms and one row of each embedding table. "total" ÷
    memory_bandwidth is the least time that a token can take.
    """
    head = model.get_output_embeddings()
    linear = other = 0.0
    share_of = read_shares(model, model.config)
    seen = {id(t) for t in head.parameters()} if head is not None else set()
    for name, module in model.named_modules():
        if module is head:
            continue
        share = share_of(name)
        if isinstance(module, PackedLinear):
            linear += share * module.nbytes
        elif isinstance(module, nn.Embedding):
            other += module.weight.nbytes // max(1, module.num_embeddings)
        else:
            mine = sum(p.nbytes for p in module.parameters(recurse=False) if id(p) not in seen)
            if is_linear(module) or experts_in(module) or share < 1:
                linear += share * mine
            else:
                other += mine
    heads = head.nbytes if isinstance(head, PackedLinear) else sum(p.nbytes for p in head.parameters()) if head else 0
    found = {"linear": round(linear), "head": heads, "other": round(other)}
    return {**found, "total": sum(found.values())}


def layer_bytes(shape: tuple[int, int], pattern: NMPattern, itemsize: int, permuted: bool) -> tuple[int, int, int]:
    """Bytes of one packed layer's values, positions and channel order; `shape` is (out, in).

    A pattern that has no packed form takes what dense weights with zeros do.
    """
    rows, columns = shape
    if not pattern.packs:
        return rows * columns * itemsize, 0, 0
    kept = pattern.groups(columns) * pattern.keep
    return rows * kept * itemsize, rows * layout.words_per_row(kept, pattern.position_bits) * 4, 4 * columns * permuted


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
        elif name in names and patterns is not None and is_linear(module):
            shape, weight = shape_of(module), module.weight
            own, order, size = pattern_of(patterns, name), name in permuted, weight.dtype.itemsize
            whole = module.shared if isinstance(module, ExpertLinear) else weight
            counted[id(whole)] += shape[0] * shape[1] * size
        else:
            continue
        dense += shape[0] * shape[1] * size
        mine = layer_bytes(shape, own, size, order)
        values, positions, orders = values + mine[0], positions + mine[1], orders + mine[2]
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
    if not pattern.packs:
        return f"{pattern}: {size} B, no packed form"
    per_weight = size * pattern.keep / pattern.group + pattern.position_bits * pattern.keep / (8 * pattern.group)
    return (
        f"{pattern}: {size} B × {pattern.keep}/{pattern.group} + {pattern.position_bits} bit / 8 × "
        f"{pattern.keep}/{pattern.group} = {per_weight:g} B per weight, {per_weight / size:.1%} of dense"
    )
