"""The form of a packed weight that an accelerator multiplies with."""

from collections.abc import Iterable

import torch
from torch import Tensor
from typing_extensions import TypedDict

from eggs_core.pattern import NMPattern


def accelerator_weight(dense: Tensor, pattern: NMPattern) -> tuple[Tensor, str]:
    """The weight that an accelerator multiplies with, from dense (out, in) with its zeros, and the name of that path.

    CUDA with 2:4 in a 16-bit dtype gets torch's semi-structured form. Everything else gets the dense one, and the name
    says why.
    """
    device = dense.device
    if device.type != "cuda":
        return dense, f"dense with zeros on {device.type} (no N:M kernel there)"
    if (pattern.keep, pattern.group) != (2, 4):
        return dense, f"dense with zeros on CUDA (its sparse cores know 2:4, not {pattern})"
    if dense.dtype == torch.float32:
        return dense, "dense with zeros on CUDA (2:4 needs fp16 or bf16)"
    if torch.cuda.get_device_capability(device) < (8, 0):
        return dense, "dense with zeros on CUDA (2:4 needs compute capability 8.0)"
    try:
        return torch.sparse.to_sparse_semi_structured(dense), "CUDA 2:4 semi-structured"
    except (RuntimeError, ValueError, NotImplementedError) as error:  # shapes that the library refuses, no library
        return dense, f"dense with zeros on CUDA ({str(error).splitlines()[0][:120]})"


class GpuPlan(TypedDict):
    """What pruned layers would take on a GPU; bytes are counted in fp16."""

    layers: int
    fits: int  # how many can use its 2:4 units
    dense_bytes: int
    sparse_bytes: int  # with those that fit in 2:4 form
    reason: str  # the condition for its 2:4 units


def gpu_plan(shapes: Iterable[tuple[int, int]], pattern: NMPattern) -> GpuPlan:
    """What pruned layers of (out, in) would take on a GPU in fp16: counted bytes and the condition for its 2:4 units.

    The bounds on shapes are those of torch's CUTLASS path.
    """
    bounds = torch.sparse.SparseSemiStructuredTensorCUTLASS._DTYPE_SHAPE_CONSTRAINTS[torch.float16]
    sizes = list(shapes)
    known = (pattern.keep, pattern.group) == (2, 4)
    fits = [known and o % bounds.sparse_min_rows == 0 and i % bounds.sparse_min_cols == 0 for o, i in sizes]
    dense = [2 * o * i for o, i in sizes]
    reason = (
        f"NVIDIA's sparse units know 2:4 only; at {pattern} a GPU multiplies dense weights with zeros."
        if not known
        else f"needs an NVIDIA GPU of compute capability 8.0 or newer (A100, RTX 30 and later), fp16 or bf16, outputs "
        f"divisible by {bounds.sparse_min_rows} and inputs divisible by {bounds.sparse_min_cols}."
    )
    return {
        "layers": len(sizes),
        "fits": sum(fits),
        "dense_bytes": sum(dense),
        "sparse_bytes": sum(d * 9 // 16 if f else d for d, f in zip(dense, fits, strict=True)),  # ½ values, 2 bits each
        "reason": reason,
    }
