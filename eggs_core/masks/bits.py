"""Masks as bits: eight weights a byte."""

from __future__ import annotations

import numpy as np

from eggs_core.errors import EggsError
from eggs_core.heavy import torch


def pack_bits(mask: torch.Tensor) -> torch.Tensor:
    """Pack a bool mask (out, in) to uint8 (out, ⌈in/8⌉), first column in the highest bit, as numpy.packbits(axis=1).

    >>> pack_bits(torch.tensor([[True, False, True]])).tolist()
    [[160]]
    """
    return torch.from_numpy(np.packbits(mask.detach().cpu().numpy(), axis=1))


def count_differences(one: torch.Tensor, other: torch.Tensor) -> int:
    """How many weights one of two packed masks keeps and the other does not; both uint8 (out, ⌈in/8⌉)."""
    return int(np.bitwise_count(one.numpy() ^ other.numpy()).sum())


def unpack_bits(packed: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """Undo pack_bits: uint8 (out, ⌈in/8⌉) to bool `shape`; raises EggsError when the sizes do not agree.

    >>> unpack_bits(torch.tensor([[160]], dtype=torch.uint8), (1, 3)).tolist()
    [[True, False, True]]
    """
    if packed.dtype != torch.uint8 or tuple(packed.shape) != (shape[0], -(-shape[1] // 8)):
        raise EggsError(f"A packed mask of {packed.dtype} and shape {tuple(packed.shape)} does not unpack to {shape}.")
    return torch.from_numpy(np.unpackbits(packed.cpu().numpy(), axis=1, count=shape[1]).astype(bool))
