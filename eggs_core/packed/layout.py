"""The packed layout in torch operations: kept values and bit-packed positions, to and from a dense matrix."""

import torch
from torch import Tensor

from eggs_core.errors import EggsError
from eggs_core.pattern import NMPattern

ROW_CHUNK = 1 << 22  # dense weights that packing handles at a time, which bounds its scratch memory


def words_per_row(kept: int, bits: int) -> int:
    """32-bit words that the positions of `kept` weights take, `bits` bits each."""
    return -(-kept * bits // 32)


def pack_bits(positions: Tensor, bits: int) -> Tensor:
    """Pack small numbers densely, least bits first: (rows, kept) of any integer dtype → (rows, words) int32.

    >>> pack_bits(torch.tensor([[1, 3, 0, 2]]), 2)  # 0b10_00_11_01
    tensor([[141]], dtype=torch.int32)
    """
    rows, kept = positions.shape
    words = words_per_row(kept, bits)
    if bits == 0:
        return torch.empty(rows, 0, dtype=torch.int32, device=positions.device)
    blocks = -(-kept // 32)  # 32 numbers fill exactly `bits` words
    padded = torch.nn.functional.pad(positions, (0, blocks * 32 - kept)).view(rows, blocks, 32)
    packed = torch.zeros(rows, blocks, bits, dtype=torch.int64, device=positions.device)
    for i in range(32):
        word, shift = divmod(i * bits, 32)
        number = padded[:, :, i].to(torch.int64)
        packed[:, :, word] |= number << shift
        if shift + bits > 32:
            packed[:, :, word + 1] |= number >> (32 - shift)
    packed = packed.view(rows, -1)[:, :words] & 0xFFFFFFFF
    return torch.where(packed >= 1 << 31, packed - (1 << 32), packed).to(torch.int32)


def unpack_bits(packed: Tensor, kept: int, bits: int) -> Tensor:
    """Undo pack_bits: (rows, words) int32 → (rows, kept) uint8."""
    rows = packed.shape[0]
    if bits == 0:
        return torch.zeros(rows, kept, dtype=torch.uint8, device=packed.device)
    blocks = -(-kept // 32)
    words = torch.nn.functional.pad(packed, (0, blocks * bits - packed.shape[1])).view(rows, blocks, bits)
    numbers = torch.empty(rows, blocks, 32, dtype=torch.uint8, device=packed.device)
    for i in range(32):
        word, shift = divmod(i * bits, 32)
        number = words[:, :, word].to(torch.int64).bitwise_and_(0xFFFFFFFF) >> shift
        if shift + bits > 32:
            number |= words[:, :, word + 1].to(torch.int64).bitwise_and_(0xFFFFFFFF) << (32 - shift)
        numbers[:, :, i] = (number & ((1 << bits) - 1)).to(torch.uint8)
    return numbers.view(rows, -1)[:, :kept].contiguous()


def stored_as(kept: int, bits: int | None, dtype: torch.dtype) -> tuple[int, torch.dtype]:
    """Columns and dtype of the tensor that holds `kept` values a row: of `dtype`, or rounded to `bits` bits."""
    if bits is None or bits >= 8:
        return kept, dtype if bits is None else torch.bfloat16 if bits == 16 else torch.int8
    return words_per_row(kept, bits), torch.int32


def pack_codes(codes: Tensor, bits: int) -> Tensor:
    """Whole numbers of `bits` bits as they are stored: int8 (out, kept), or below 8 bits words as pack_bits makes."""
    return codes if bits == 8 else pack_bits(codes & ((1 << bits) - 1), bits)


def unpack_codes(stored: Tensor, kept: int, bits: int) -> Tensor:
    """Undo pack_codes: int8 (out, kept)."""
    if bits == 8:
        return stored
    codes = unpack_bits(stored, kept, bits).to(torch.int8)
    return torch.where(codes >= 1 << (bits - 1), codes - (1 << bits), codes)


def all_finite(values: Tensor) -> bool:
    """Is no number of a tensor of any shape NaN or infinite? Looks at some rows at a time, to need little memory."""
    if not values.is_floating_point():
        return True
    rows = values.reshape(1) if values.ndim == 0 else values
    step = max(1, (1 << 16) * len(rows) // max(1, rows.numel()))
    return all(bool(torch.isfinite(rows[r : r + step]).all()) for r in range(0, len(rows), step))


def check_permutation(permutation: Tensor, in_features: int, name: str) -> Tensor:
    """The permutation as int32 (in,), or EggsError unless it holds each of 0 … in−1 once."""
    if permutation.shape != (in_features,) or permutation.is_floating_point() or permutation.dtype == torch.bool:
        raise EggsError(
            f"Layer {name} needs a permutation of {in_features} whole numbers; got shape {tuple(permutation.shape)} "
            f"of {permutation.dtype}."
        )
    if not torch.equal(permutation.long().sort().values, torch.arange(in_features, device=permutation.device)):
        raise EggsError(f"The permutation of layer {name} must hold each column number 0 to {in_features - 1} once.")
    return permutation.to(torch.int32).contiguous()


def pack(
    weight: Tensor, mask: Tensor, pattern: NMPattern, permutation: Tensor | None = None, name: str = "given"
) -> tuple[Tensor, Tensor]:
    """Split a masked weight into values (out, in·N/M), its dtype, and packed positions (out, words), int32.

    `weight` and bool `mask` are (out, in) in original column order; `permutation` (in,) gives the original column at
    each packed position. Raises EggsError for a mask that breaks N:M, for shapes that do not fit and for NaN or
    infinite weights.
    """
    if weight.ndim != 2 or weight.shape != mask.shape:
        raise EggsError(
            f"Layer {name}: weight {tuple(weight.shape)} and mask {tuple(mask.shape)} must be the same two-dimensional "
            "shape (out_features, in_features)."
        )
    if mask.dtype != torch.bool:
        raise EggsError(f"Layer {name}: the mask must be torch.bool with True for kept weights; got {mask.dtype}.")
    rows, columns = weight.shape
    pattern.check(name, (rows, columns))
    if not all_finite(weight):
        raise EggsError(f"Layer {name} has weights that are NaN or infinite, so it cannot be packed.")
    kept = columns // pattern.group * pattern.keep
    mask = mask.to(weight.device)
    order = None if permutation is None else permutation.long().to(weight.device)
    numbers = torch.arange(pattern.group, dtype=torch.uint8, device=weight.device).repeat(columns // pattern.group)
    values = torch.empty(rows, kept, dtype=weight.dtype, device=weight.device)
    positions = torch.empty(rows, words_per_row(kept, pattern.position_bits), dtype=torch.int32, device=weight.device)
    step = max(1, ROW_CHUNK // max(1, columns))
    for r in range(0, rows, step):
        w, m = weight[r : r + step], mask[r : r + step]
        if order is not None:
            w, m = w[:, order], m[:, order]
        counts = m.view(len(m), -1, pattern.group).sum(-1)
        if (counts != pattern.keep).any():
            row, group = (counts != pattern.keep).nonzero()[0].tolist()
            raise EggsError(
                f"The mask of layer {name} breaks {pattern}: row {r + row} keeps {int(counts[row, group])} of the "
                f"{pattern.group} weights in group {group}"
                + (" of its permuted columns." if order is not None else ".")
            )
        values[r : r + step] = w[m].view(len(w), kept)
        positions[r : r + step] = pack_bits(numbers.expand(len(m), -1)[m].view(len(m), kept), pattern.position_bits)
    return values, positions


def dense_rows(values: Tensor, positions: Tensor, pattern: NMPattern) -> Tensor:
    """Rows with their zeros in packed column order: values (rows, kept), positions (rows, words) → (rows, in)."""
    rows, kept = values.shape
    groups = kept // pattern.keep
    places = unpack_bits(positions, kept, pattern.position_bits).long().view(rows, groups, pattern.keep)
    dense = values.new_zeros(rows, groups, pattern.group)
    return dense.scatter_(2, places, values.view(rows, groups, pattern.keep)).view(rows, groups * pattern.group)


def check_positions(positions: Tensor, kept: int, pattern: NMPattern, name: str) -> None:
    """Raise EggsError unless the positions (rows, words) rise strictly inside each group and stay below M."""
    step = max(1, ROW_CHUNK // max(1, kept))
    for r in range(0, len(positions), step):
        places = unpack_bits(positions[r : r + step], kept, pattern.position_bits)
        places = places.view(len(places), -1, pattern.keep).to(torch.int16)
        if (places >= pattern.group).any() or (places.diff(dim=2) <= 0).any():
            raise EggsError(f"Layer {name}: its positions are not those of a {pattern} mask; the file is damaged.")
