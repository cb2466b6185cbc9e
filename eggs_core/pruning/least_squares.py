"""The linear systems that ADMM solves at each iteration, for one gram and a penalty that changes."""

from __future__ import annotations

from collections.abc import Callable

from eggs_core.errors import EggsError
from eggs_core.heavy import torch

Solve = Callable[["torch.Tensor", float], "torch.Tensor"]  # right side T (out, in) and penalty ρ -> W (out, in)


def least_squares(gram: torch.Tensor) -> Solve:
    """Solve W (H + ρ I) = T; factors H anew when the penalty changes."""
    known: dict[float, torch.Tensor] = {}

    def solve(right: torch.Tensor, penalty: float) -> torch.Tensor:
        if penalty not in known:
            known.clear()
            known[penalty] = _inverse(gram, penalty)
        return right @ known[penalty]

    return solve


def weighted_least_squares(gram: torch.Tensor, sensitivity: torch.Tensor) -> Solve:
    """Solve G W H + ρ W = T through the eigenvectors of both, in which each weight stands alone."""
    (left, p), (right, q) = (torch.linalg.eigh(matrix) for matrix in (sensitivity, gram))
    product = left.clamp_min(0)[:, None] * right.clamp_min(0)

    def solve(goal: torch.Tensor, penalty: float) -> torch.Tensor:
        return p @ (p.T @ goal @ q / (product + penalty)) @ q.T

    return solve


def _inverse(gram: torch.Tensor, penalty: float) -> torch.Tensor:
    factor, failed = torch.linalg.cholesky_ex(gram + penalty * torch.eye(len(gram), device=gram.device))
    if failed:
        raise EggsError(f"The gram of {len(gram)} input channels is not positive semi-definite; check the calibration.")
    return torch.cholesky_inverse(factor)
