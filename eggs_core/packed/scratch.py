"""Memory of each thread in which weights are unpacked for products with many tokens."""

import threading

import torch
from torch import Tensor

TILE = 1 << 20  # dense weights unpacked at a time: 4 MB in fp32, which stays in cache
_scratch = threading.local()


def scratch_tile(rows: int, columns: int, dtype: torch.dtype) -> Tensor:
    """This thread's scratch as (rows, columns) of dtype; layers of one shape share the view as well."""
    views = getattr(_scratch, "views", None)
    if views is None or rows * columns * dtype.itemsize > _scratch.memory.numel():
        _scratch.memory = torch.empty(max(rows * columns * dtype.itemsize, 4 * TILE), dtype=torch.uint8)
        views = _scratch.views = {}
    key = (rows, columns, dtype)
    if key not in views:
        views[key] = _scratch.memory.view(dtype)[: rows * columns].view(rows, columns)
    return views[key]
