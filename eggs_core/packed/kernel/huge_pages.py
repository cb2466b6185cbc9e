"""Memory for packed weights in large blocks on huge pages, so that reading them misses fewer address translations."""

import ctypes
import sys
from typing import TypeVar

import torch
from torch import Tensor

from eggs_core.packed.kernel.call import Packed

Layer = TypeVar("Layer", bound=Packed)
BLOCK = 64 << 20  # bytes asked for at a time; what is never written never becomes resident
HUGE_PAGE = 2 << 20
ALIGN = 64  # a cache line
MADV_HUGEPAGE = 14  # of Linux


class Arena:
    """Hands out tensors that lie one after the other in large blocks of CPU memory."""

    def __init__(self) -> None:
        self._block = torch.empty(0, dtype=torch.uint8)
        self._used = 0

    def take(self, source: Tensor) -> Tensor:
        """A copy of a contiguous CPU tensor in the arena; a tensor on another device comes back as it is."""
        if not source.is_cpu or not source.numel():
            return source
        if self._used + source.nbytes > self._block.numel():
            self._block, self._used = huge_block(max(BLOCK, source.nbytes)), 0
        place = self._block[self._used : self._used + source.nbytes].view(source.dtype).view(source.shape)
        self._used += -(-source.nbytes // ALIGN) * ALIGN
        return place.copy_(source)

    def settle(self, layer: Layer) -> Layer:
        """Move a packed layer's values and positions here; returns the layer."""
        layer.values, layer.positions = self.take(layer.values), self.take(layer.positions)
        return layer


def huge_block(size: int) -> Tensor:
    """`size` bytes, uint8, that begin on a huge page; Linux is asked to back them with such pages."""
    whole = torch.empty(-(-size // HUGE_PAGE) * HUGE_PAGE + HUGE_PAGE, dtype=torch.uint8)
    block = whole[-whole.data_ptr() % HUGE_PAGE :][: whole.numel() - HUGE_PAGE]
    if sys.platform == "linux":
        ctypes.CDLL(None).madvise(ctypes.c_void_p(block.data_ptr()), ctypes.c_size_t(block.numel()), MADV_HUGEPAGE)
    return block
