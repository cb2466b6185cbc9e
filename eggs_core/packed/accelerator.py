"""What an accelerator makes of packed weights, and what 2:4 would take on a GPU."""

from collections.abc import Iterable

import torch
from typing_extensions import TypedDict

from eggs_core.pattern import NMPattern


def dense_path(device: torch.device, pattern: NMPattern) -> str:
    """The name of the product with a dense weight that packed layers use on an accelerator, and why it is that one.

    torch's semi-structured products (torch.sparse.to_sparse_semi_structured) were slower than dense ones at all sizes
    that a language model has when they were called one by one on an H100: benchmarks/gpu.py.
    """
    if device.type != "cuda":
        return f"dense with zeros on {device.type} (no N:M kernel there)"
    if (pattern.keep, pattern.group) != (2, 4):
        return f"dense with zeros on CUDA (its sparse cores know 2:4, not {pattern})"
    return "dense with zeros on CUDA (its 2:4 products take longer to call than they save)"


class GpuPlan(TypedDict):
    """What pruned layers would take on a GPU; bytes are counted in fp16."""

    layers: int
    fits: int  # how many can use its 2:4 units
    dense_bytes: int
    sparse_bytes: int  # with those that fit in 2:4 form
    reason: str  # the condition for its 2:4 units


def gpu_plan(layers: Iterable[tuple[tuple[int, int], NMPattern]]) -> GpuPlan:
    """What pruned layers of (out, in) and a pattern would take on a GPU in fp16: counted bytes and the condition.

    The bounds on shapes are those of torch's CUTLASS path.
    """
    bounds = torch.sparse.SparseSemiStructuredTensorCUTLASS._DTYPE_SHAPE_CONSTRAINTS[torch.float16]
    known, others, fits, dense = False, dict[NMPattern, None](), list[bool](), list[int]()
    for (rows, columns), pattern in layers:
        own = (pattern.keep, pattern.group) == (2, 4)
        known = known or own
        others |= {} if own else {pattern: None}
        fits.append(own and rows % bounds.sparse_min_rows == 0 and columns % bounds.sparse_min_cols == 0)
        dense.append(2 * rows * columns)
    known_only = (
        f"NVIDIA's sparse units know 2:4 only; at {', '.join(map(str, others))} a GPU multiplies dense weights "
    )
    known_only += "with zeros."
    reason = (
        known_only
        if not known
        else f"needs an NVIDIA GPU of compute capability 8.0 or newer (A100, RTX 30 and later), fp16 or bf16, outputs "
        f"divisible by {bounds.sparse_min_rows} and inputs divisible by {bounds.sparse_min_cols}."
        + (f" {known_only}" if others else "")
    )
    return {
        "layers": len(dense),
        "fits": sum(fits),
        "dense_bytes": sum(dense),
        "sparse_bytes": sum(d * 9 // 16 if f else d for d, f in zip(dense, fits, strict=True)),  # ½ values, 2 bits each
        "reason": reason,
    }
