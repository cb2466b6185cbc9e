"""Counted bytes: what a pruned model takes dense and packed, and what one decoded token reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from torch import Tensor, nn

from eggs_core.errors import EggsError
from eggs_core.models.architectures import is_linear, shape_of, tables
from eggs_core.models.expert_linear import ExpertLinear
from eggs_core.models.experts import experts_in, read_shares
from eggs_core.packed import layout
from eggs_core.packed.grid import WHOLE, bits_per_weight, rounds_tables, scales_per_row, values_per_scale
from eggs_core.packed.linear import PackedLinear
from eggs_core.packed.tables import PackedEmbedding, embedding_of
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
        elif isinstance(module, PackedEmbedding):
            other += module.nbytes // max(1, module.num_embeddings)
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


def layer_bytes(
    shape: tuple[int, int], pattern: NMPattern, itemsize: int, permuted: bool, bits: int | None = None
) -> tuple[int, int, int, int]:
    """Bytes of one packed layer's values, positions, channel order and scales; `shape` is (out, in).

    `bits` are those of rounded values. A pattern that has no packed form takes what dense weights with zeros do.
    """
    rows, columns = shape
    if not pattern.packs:
        return rows * columns * itemsize, 0, 0, 0
    kept = pattern.groups(columns) * pattern.keep
    width = kept * itemsize if bits is None else kept * bits // 8 if bits >= 8 else layout.words_per_row(kept, bits) * 4
    scales = 2 * rows * scales_per_row(kept, pattern) if bits is not None and bits <= 8 else 0
    return rows * width, rows * layout.words_per_row(kept, pattern.position_bits) * 4, 4 * columns * permuted, scales


def size_breakdown(
    model: PreTrainedModel,
    masks: Mapping[str, Tensor] | Iterable[str] = (),
    patterns: Patterns | None = None,
    permutations: Iterable[str] | None = None,
    bits: int | None = None,
    whole_tables: bool = False,
) -> Size:
    """Count a pruned model's bytes: dense with zeros, and packed split into values, positions and what is untouched.

    "dense_bytes" = "dense_pruned" (the pruned layers, zeros stored) + "untouched"; "packed_bytes" = "packed_pruned" +
    "untouched"; "packed_pruned" = "values" + "positions" + "permutations" + "scales" (there if values are rounded).
    Embedding and head in 8 bits take "tables_saved" more in "dense_bytes"; `whole_tables` leaves them as they are.
    "untouched" = "embeddings" + "head" (0 when tied to the embeddings) + "rest" (norms, biases, unpruned layers);
    "formula" spells out the bytes per weight.

    The model is dense or packed. For a dense one, `masks` names the pruned layers, `patterns` are theirs, and
    `permutations` names those that are permuted, `bits` are those of rounded values. Tied weights count once. Raises
    EggsError for a name that the model lacks.
    """
    names, permuted = set(masks), set(permutations or ())
    if names and patterns is None:
        raise EggsError("Counting a dense model's packed bytes needs the N:M pattern beside the layers' names.")
    modules = dict(model.named_modules())
    if unknown := sorted(names - set(modules)):
        raise EggsError(f"The model has no layer named {unknown[0]}.")
    dense = values = positions = orders = scales = 0
    used: set[tuple[NMPattern, int, int | None]] = set()
    counted: Counter[int] = Counter()
    table, head = embedding_of(model), model.get_output_embeddings()
    for name, module in modules.items():
        if isinstance(module, PackedLinear) and not (module is head and table):
            shape, own = (module.out_features, module.in_features), module.pattern
            order, size, few = module.permutation is not None, module.dtype.itemsize, module.bits
        elif name in names and patterns is not None and is_linear(module):
            shape, weight = shape_of(module), module.weight
            own, order, size, few = pattern_of(patterns, name), name in permuted, weight.dtype.itemsize, bits
            whole = module.shared if isinstance(module, ExpertLinear) else weight
            counted[id(whole)] += shape[0] * shape[1] * size
        else:
            continue
        dense += shape[0] * shape[1] * size
        mine = layer_bytes(shape, own, size, order, few)
        values, positions, orders, scales = values + mine[0], positions + mine[1], orders + mine[2], scales + mine[3]
        used.add((own, size, few))
    parts = _not_pruned(model, counted)
    saved = _saved_by_tables(model, parts, rounds_tables(bits) and not whole_tables)
    packed, untouched = values + positions + orders + scales, sum(parts.values())
    found: Size = {
        "dense_bytes": dense + untouched + saved,
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
    more = {name: count for name, count in (("scales", scales), ("tables_saved", saved)) if count}
    return found | more  # type: ignore[return-value]


def _saved_by_tables(model: PreTrainedModel, parts: dict[str, int], will_be: bool) -> int:
    """Bytes that embedding and head take less than dense where they are in 8 bits, or will be packed so."""
    packed, found = embedding_of(model), tables(model)
    if packed is not None:
        head, itemsize = model.get_output_embeddings(), packed[1].dtype.itemsize
        own = head.values is not packed[1].values
        parts["embeddings"] += packed[1].nbytes
        parts["head"] += head.nbytes - (head.bias.nbytes if head.bias is not None else 0) if own else 0
        numbers = packed[1].values.numel() + (head.values.numel() if own else 0)
        return itemsize * numbers - packed[1].nbytes - (head.values.nbytes + head.scales.nbytes if own else 0)
    if found is None or not will_be:
        return 0
    saved = 0
    kinds = (("head", found[1].weight), ("embeddings", found[0].weight))
    for part, weight in {id(weight): (part, weight) for part, weight in kinds}.values():
        few = weight.numel() + 2 * weight.shape[0] * scales_per_row(weight.shape[1], WHOLE)
        parts[part] -= weight.nbytes - few
        saved += weight.nbytes - few
    return saved


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


def _formula(case: tuple[NMPattern, int, int | None]) -> str:
    """The packed bytes per dense weight, spelt out; bits where values are rounded."""
    pattern, size, bits = case
    if not pattern.packs:
        return f"{pattern}: {size} B, no packed form"
    if bits is not None:
        scale = f" + 16 / {values_per_scale(pattern)}" if bits <= 8 else ""
        each = bits_per_weight(bits, pattern)
        return (
            f"{pattern}: ({bits} + {pattern.position_bits}{scale}) bits × {pattern.keep}/{pattern.group} = {each:g} "
            f"bits per weight, {each / (8 * size):.1%} of dense"
        )
    per_weight = size * pattern.keep / pattern.group + pattern.position_bits * pattern.keep / (8 * pattern.group)
    return (
        f"{pattern}: {size} B × {pattern.keep}/{pattern.group} + {pattern.position_bits} bit / 8 × "
        f"{pattern.keep}/{pattern.group} = {per_weight:g} B per weight, {per_weight / size:.1%} of dense"
    )
