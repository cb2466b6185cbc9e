"""Importance scores: how much each weight matters, computed in fp32 whatever the model's dtype."""

from __future__ import annotations

from eggs_core.errors import EggsError
from eggs_core.heavy import torch
from eggs_core.registry import entry


def magnitude(weight: torch.Tensor, act_norm: torch.Tensor | None = None) -> torch.Tensor:
    """Score every weight by its size, |W| (Han et al. 2015, arXiv 1506.02626).

    weight: (out_features, in_features), any float dtype; act_norm is not used.
    Returns (out_features, in_features), fp32. Raises EggsError when weight is no finite matrix.

    >>> magnitude(torch.tensor([[1.0, -2.0]])).tolist()
    [[1.0, 2.0]]
    """
    return _absolute(weight)


def wanda(weight: torch.Tensor, act_norm: torch.Tensor | None) -> torch.Tensor:
    """Score every weight by |W| · ‖x‖₂, its size times its input's norm (Sun et al. 2023, arXiv 2306.11695, eq. 1).

    weight: (out_features, in_features), any float dtype; act_norm: (in_features,), L2 over calibration tokens.
    Returns (out_features, in_features), fp32. Raises EggsError for a missing, misshapen, negative or non-finite input.

    >>> wanda(torch.tensor([[1.0, -2.0]]), torch.tensor([3.0, 1.0])).tolist()
    [[3.0, 2.0]]
    """
    return _absolute(weight) * _norms(act_norm, weight, "wanda")


def ria(weight: torch.Tensor, act_norm: torch.Tensor | None, exponent: float = 0.5) -> torch.Tensor:
    """Score by relative importance and activations, (|W|/Σ_rows|W| + |W|/Σ_cols|W|) · ‖x‖₂^a (RIA, Zhang et al. 2024).

    weight: (out_features, in_features), any float dtype; act_norm: (in_features,), L2 over calibration tokens.
    Σ_rows is the sum over a weight's column, Σ_cols over its row; an all-zero row or column scores 0.
    Returns (out_features, in_features), fp32. Raises EggsError for a missing, misshapen, negative or non-finite input.

    >>> ria(torch.tensor([[1.0, -1.0], [1.0, 0.0]]), torch.tensor([4.0, 1.0])).tolist()
    [[2.0, 1.5], [3.0, 0.0]]
    """
    size = _absolute(weight)
    norms = _norms(act_norm, weight, "ria")
    inverse_column = _inverse(size.sum(dim=0, keepdim=True))  # (1, in)
    inverse_row = _inverse(size.sum(dim=1, keepdim=True))  # (out, 1)
    return size * (inverse_column + inverse_row) * norms**exponent


def score(name: str, weight: torch.Tensor, act_norm: torch.Tensor | None = None) -> torch.Tensor:
    """Compute the score registered under `name`; shapes as there; raises EggsError for an unknown name.

    >>> score("magnitude", torch.tensor([[-2.0]])).item()
    2.0
    """
    return entry("score", name).load()(weight, act_norm)


def _absolute(weight: torch.Tensor) -> torch.Tensor:
    if weight.dim() != 2:
        raise EggsError(f"A score needs a weight matrix (out_features, in_features); got shape {tuple(weight.shape)}.")
    size = weight.detach().to(torch.float32).abs()
    if not torch.isfinite(size).all():
        bad = int((~torch.isfinite(size)).sum())
        raise EggsError(
            f"A weight of shape {tuple(weight.shape)} holds {bad} NaN or infinite values; repair the model."
        )
    return size


def _norms(act_norm: torch.Tensor | None, weight: torch.Tensor, name: str) -> torch.Tensor:
    if act_norm is None:
        raise EggsError(f"Score {name} needs act_norm, the input channels' norms: gather them by calibration first.")
    if act_norm.shape != weight.shape[1:]:
        expected, got = tuple(weight.shape[1:]), tuple(act_norm.shape)
        raise EggsError(
            f"Score {name} of a weight {tuple(weight.shape)} needs act_norm of shape {expected}; got {got}."
        )
    norms = act_norm.detach().to(weight.device, torch.float32)
    bad = ~(torch.isfinite(norms) & (norms >= 0))
    if bad.any():
        channel = int(bad.nonzero()[0])
        raise EggsError(
            f"{int(bad.sum())} of {norms.numel()} input channels have a NaN, infinite or negative activation norm "
            f"(first: channel {channel}, {norms[channel].item()}); check the calibration text and the model's dtype."
        )
    return norms


def _inverse(sums: torch.Tensor) -> torch.Tensor:
    return torch.where(sums > 0, 1 / sums, torch.zeros_like(sums))


def without_sweep(name: str) -> str:
    """The score that stands for one which a sweep computes as it goes: wanda for obs, any other for itself."""
    return "wanda" if entry("score", name).leaves_choice else name
