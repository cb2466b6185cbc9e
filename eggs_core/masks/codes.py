"""Masks as they are stored: N:M group codes where those are smaller than bits (docs/masks-format.md), else bits."""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from collections.abc import Mapping

import numpy as np

from eggs_core.errors import EggsError, OtherVersion
from eggs_core.heavy import torch
from eggs_core.masks.bits import pack_bits, unpack_bits
from eggs_core.masks.selection import check_mask
from eggs_core.pattern import NMPattern, Patterns, pattern_of

ENCODING, VERSION = "nm-group-codes", "1"
Shapes = Mapping[str, tuple[int, int]]  # layer name -> (out, in)
Tensors = Mapping[str, "torch.Tensor"]


def groups_per_byte(pattern: NMPattern) -> int:
    """How many groups one byte holds, each in one of C(M, N) states; 0 where that saves nothing against bits.

    >>> [groups_per_byte(NMPattern.parse(p)) for p in ("2:4", "1:4", "1:8", "4:8")]
    [3, 4, 2, 0]
    """
    states = math.comb(pattern.group, pattern.keep)
    most = 0 if states == 1 else max(k for k in range(9) if states**k <= 256)
    return most if most * pattern.group > 8 else 0


def bytes_per_row(columns: int, pattern: NMPattern) -> int:
    """Bytes that one row of a stored mask takes."""
    each = groups_per_byte(pattern)
    return -(-pattern.groups(columns) // each) if each else -(-columns // 8)


def pack_masks(
    masks: Tensors, shapes: Shapes, patterns: Patterns, orders: Tensors
) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """What goes into a file: a tensor for each layer, and the metadata of the file.

    masks: bits uint8 (out, ⌈in/8⌉) by layer; orders: int64 (in,), the order of columns in which a layer's groups lie.
    Raises EggsError, which names the layer, for a mask that does not keep N in every group, and for masks of other
    layers than `shapes` has.
    """
    if masks.keys() != shapes.keys():
        raise EggsError("The masks are not those of the report's layers; run it again.")
    about = {
        "shapes": json.dumps({name: list(shape) for name, shape in shapes.items()}),
        **_described(shapes, patterns),
    }
    packed = {}
    for name, bits in masks.items():
        pattern = pattern_of(patterns, name)
        each = groups_per_byte(pattern)
        grouped = _checked(name, bits, shapes[name], pattern, orders.get(name))
        packed[name] = _encode(grouped, pattern, each) if each else bits.contiguous()
    return packed, about


def unpack_masks(
    tensors: Tensors, metadata: Mapping[str, str], shapes: Shapes, patterns: Patterns, orders: Tensors
) -> dict[str, torch.Tensor]:
    """The inverse of pack_masks: bits uint8 (out, ⌈in/8⌉) by layer, from codes or, as in older files, from bits.

    Raises EggsError, which names the layer, for a mask that is not stored, belongs to no layer, has another shape,
    breaks the pattern or holds what no mask is stored as; and for a file of another encoding.
    """
    if "encoding" in metadata:
        if (metadata["encoding"], metadata.get("encoding_version")) != (ENCODING, VERSION):
            raise OtherVersion("The masks were stored by another version of EGGS Explorer.")
        expected = _described(shapes, patterns)
        if any(metadata.get(name) != expected.get(name) for name in ("pattern", "patterns", "groups_per_byte")):
            raise EggsError(f"The masks are not stored as those of {expected['pattern']} are.")
    if missing := sorted(shapes.keys() - tensors.keys()):
        raise EggsError(f"The mask of {missing[0][:200]} is missing.")
    if unknown := sorted(tensors.keys() - shapes.keys()):
        raise EggsError(f"The mask {unknown[0][:200]!r} belongs to no layer of the report.")
    if "encoding" in metadata:
        return {
            name: _unpacked(name, tensors[name], shape, pattern_of(patterns, name), orders.get(name))
            for name, shape in shapes.items()
        }
    for name, shape in shapes.items():
        _checked(name, tensors[name], shape, pattern_of(patterns, name), orders.get(name))
    return {name: tensors[name] for name in shapes}


def _described(shapes: Shapes, patterns: Patterns) -> dict[str, str]:
    """What a file says of its patterns: that of most layers, those of others by name, and how most are stored."""
    own = {name: pattern_of(patterns, name) for name in shapes}
    most = Counter(own.values()).most_common(1)[0][0] if own else None
    if most is None:
        return {}
    about = {"pattern": str(most)}
    if others := {name: str(pattern) for name, pattern in own.items() if pattern != most}:
        about["patterns"] = json.dumps(others)
    if any(map(groups_per_byte, own.values())):
        about |= {"encoding": ENCODING, "encoding_version": VERSION, "groups_per_byte": str(groups_per_byte(most))}
    return about


def _unpacked(
    name: str, stored: torch.Tensor, shape: tuple[int, int], pattern: NMPattern, order: torch.Tensor | None
) -> torch.Tensor:
    """One mask's bits, from codes where its pattern has some."""
    if groups_per_byte(pattern):
        return _decode(name, stored, shape, pattern, order)
    _checked(name, stored, shape, pattern, order)
    return stored


def _checked(
    name: str, bits: torch.Tensor, shape: tuple[int, int], pattern: NMPattern, order: torch.Tensor | None
) -> np.ndarray:
    """A packed mask as bool (out, in), its columns in the order of its groups; raises EggsError if it breaks N:M."""
    mask = unpack_bits(bits, shape).numpy()
    if shape[1] % 8 and (bits[:, -1].numpy() & (0xFF >> shape[1] % 8)).any():
        raise EggsError(f"The mask of {name[:200]} has bits set behind its last column.")
    grouped = mask if order is None else np.take(mask, order.numpy(), axis=1)
    check_mask(torch.from_numpy(grouped), pattern, name[:200])
    return grouped


def _states(pattern: NMPattern) -> np.ndarray:
    """The masks of one group, bool (states, M), in the order of itertools.combinations: a state's rank is its place."""
    kept = list(itertools.combinations(range(pattern.group), pattern.keep))
    return np.asarray(np.eye(pattern.group, dtype=bool)[kept].any(axis=1))


def _numbers(columns: np.ndarray, pattern: NMPattern) -> np.ndarray:
    """Each group's bits as one number, (rows, groups), first column highest; columns: bool (rows, groups · M)."""
    number = np.zeros((columns.shape[0], columns.shape[1] // pattern.group), np.min_scalar_type(2**pattern.group - 1))
    for place in range(pattern.group):
        number <<= 1
        number |= columns[:, place :: pattern.group]
    return number


def _ranks(grouped: np.ndarray, pattern: NMPattern) -> np.ndarray:
    """The rank of each group's state, uint8 (rows, groups), of bool (rows, groups · M) that keeps the pattern."""
    falling = _numbers(_states(pattern), pattern)[:, 0]  # combinations come with falling numbers
    if pattern.group > 16:
        return (len(falling) - 1 - np.searchsorted(falling[::-1], _numbers(grouped, pattern))).astype(np.uint8)
    table = np.zeros(2**pattern.group, np.uint8)
    table[falling] = np.arange(len(falling))
    return table[_numbers(grouped, pattern)]


def _encode(grouped: np.ndarray, pattern: NMPattern, each: int) -> torch.Tensor:
    """Bool (out, in) to uint8 (out, ⌈groups/each⌉)."""
    ranks, states = _ranks(grouped, pattern), math.comb(pattern.group, pattern.keep)
    ranks = np.pad(ranks, ((0, 0), (0, -ranks.shape[1] % each)))
    return torch.from_numpy(sum(ranks[:, place::each] * states**place for place in range(each)))


def _decode(
    name: str, codes: torch.Tensor, shape: tuple[int, int], pattern: NMPattern, order: torch.Tensor | None
) -> torch.Tensor:
    """Uint8 (out, ⌈groups/each⌉) to bits uint8 (out, ⌈in/8⌉) in the layer's own order of columns."""
    (rows, columns), each, states = shape, groups_per_byte(pattern), _states(pattern)
    width = bytes_per_row(columns, pattern)
    if codes.dtype != torch.uint8 or tuple(codes.shape) != (rows, width):
        raise EggsError(f"The mask of {name[:200]} has the shape {tuple(codes.shape)}, which is not that of its layer.")
    values, last = codes.numpy(), pattern.groups(columns) - (width - 1) * each
    if (values >= len(states) ** each).any() or (values[:, -1] >= len(states) ** last).any():
        raise EggsError(f"The mask of {name[:200]} holds a code that stands for no group of {pattern}.")
    ranks = np.arange(len(states) ** each)[:, None] // len(states) ** np.arange(each) % len(states)
    table = states[ranks].reshape(len(ranks), -1)  # (codes, each · M)
    grouped = table.take(values, axis=0).reshape(rows, -1)[:, :columns]
    return pack_bits(torch.from_numpy(grouped if order is None else np.take(grouped, order.argsort().numpy(), axis=1)))
