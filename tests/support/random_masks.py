"""Random N:M masks, and the paths of the kernel that they are tried on."""

import torch

from eggs_core.packed.kernel import library as kernels
from eggs_core.pattern import NMPattern


def random_mask(out: int, groups: int, pattern: NMPattern, permutation: torch.Tensor | None = None) -> torch.Tensor:
    chosen = torch.rand(out, groups, pattern.group).topk(pattern.keep, -1).indices
    mask = torch.zeros(out, groups, pattern.group, dtype=torch.bool).scatter_(2, chosen, True).view(out, -1)
    if permutation is None:
        return mask
    original = torch.empty_like(mask)
    original[:, permutation] = mask
    return original


def paths() -> tuple[str, ...]:
    found = kernels.kernel()
    return ("torch",) if found is None else ("torch", *kernels.PATHS[: found.best + 1])
