"""The form of a packed weight that an accelerator multiplies with."""

import torch
from torch import Tensor

from eggs_core.pattern import NMPattern


def accelerator_weight(dense: Tensor, pattern: NMPattern) -> tuple[Tensor, str]:
    """The weight that an accelerator multiplies with, from dense (out, in) with its zeros, and the name of that path.

    CUDA with 2:4 in a 16-bit dtype gets torch's semi-structured form; everything else the dense one, reason named.
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
