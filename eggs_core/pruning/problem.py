"""One layer's problem, what a reconstruction makes of it, and the gram that both rest on, checked and damped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from eggs_core.errors import EggsError
from eggs_core.heavy import torch
from eggs_core.masks.selection import check_mask
from eggs_core.packed.grid import Grid
from eggs_core.pattern import NMPattern

Choose = Callable[["torch.Tensor"], "torch.Tensor"]  # scores (out, in) -> mask, both in original column order

DAMPING = 0.01  # share of the gram's mean diagonal that obs adds to it, as SparseGPT's published code does
DAMPING_TRIES = 4  # each ten times the one before


@dataclass(frozen=True, slots=True)
class LayerProblem:
    """One layer whose kept weights get new values; none of its tensors is changed.

    weight: (out, in), any float dtype. gram: (in, in), fp32, XᵀX / tokens of the layer's inputs X.
    mask: bool (out, in), the weights to keep. choose: scores (out, in) -> mask, in original column order, that keeps to
    the pattern, permutation and degree bound. permutation: (in,), the order in which columns are grouped.
    target: (out, in), Yᵀ X / tokens of the target output Y, if that is not weight @ gram.
    sensitivity: (out, out), G of the error tr(G (W − Ŵ) H (W − Ŵ)ᵀ), up to a factor, by default the identity (see
    sensitivity.py). bits: those that obs rounds kept weights to, None for none.
    """

    weight: torch.Tensor
    gram: torch.Tensor | None
    pattern: NMPattern
    mask: torch.Tensor | None = None
    choose: Choose | None = None
    permutation: torch.Tensor | None = None
    target: torch.Tensor | None = None
    sensitivity: torch.Tensor | None = None
    bits: int | None = None

    def order(self) -> torch.Tensor:
        """The order of columns, int64 (in,)."""
        if self.permutation is not None:
            return self.permutation
        return torch.arange(self.weight.shape[1], device=self.weight.device)

    def checked_mask(self, mask: torch.Tensor | None, name: str) -> torch.Tensor:
        """A mask of the reconstruction `name`; raises EggsError unless it fits the weight and the pattern."""
        if mask is None or mask.shape != self.weight.shape:
            got, size = "none" if mask is None else tuple(mask.shape), tuple(self.weight.shape)
            raise EggsError(f"Reconstruction {name} needs a mask of the weight's shape {size}; got {got}.")
        check_mask(mask[:, self.order()], self.pattern, f"reconstruction {name}")
        return mask


@dataclass(slots=True)
class Reconstruction:
    """New weight, fp32 (out, in), zero off the mask; its mask, bool (out, in); and what a report should say.

    `grid` holds the numbers that the kept weights were rounded to, if they were.
    """

    weight: torch.Tensor
    mask: torch.Tensor
    notes: list[str] = field(default_factory=list)
    grid: Grid | None = None


def checked_gram(problem: LayerProblem, name: str) -> tuple[torch.Tensor, list[str]]:
    """The gram as an fp32 copy, and notes on silent channels and rank."""
    weight, gram, cols = problem.weight, problem.gram, problem.weight.shape[1]
    if gram is None or tuple(gram.shape) != (cols, cols):
        got = "none" if gram is None else tuple(gram.shape)
        raise EggsError(
            f"Reconstruction {name} of a weight {tuple(weight.shape)} needs a gram ({cols}, {cols}); got {got}."
        )
    gram = gram.detach().to(weight.device, torch.float32, copy=True)
    diagonal = gram.diagonal()
    if not torch.isfinite(gram).all() or (diagonal < 0).any():
        bad = int((~torch.isfinite(gram)).any(dim=0).sum() + (diagonal < 0).sum())
        raise EggsError(
            f"The gram of {cols} input channels is NaN, infinite or negative in {bad} of them; check the model."
        )
    notes = []
    dead = diagonal == 0
    if dead.any():
        notes.append(f"{int(dead.sum())} of {cols} input channels were silent during calibration")
    scale = diagonal.sqrt().masked_fill(dead, 1.0)
    normal = gram / scale[:, None] / scale
    normal.diagonal()[dead] = 1
    factor, failed = torch.linalg.cholesky_ex(normal)
    if failed or float(factor.diagonal().min()) < 1e-3:
        notes.append(
            "the gram is singular to working precision, so damping decides part of the weights: calibrate longer"
        )
    return gram, notes


def damped_inverse(gram: torch.Tensor, notes: list[str]) -> torch.Tensor:
    """The inverse of a gram with as little damping as it takes, of which notes tell; raises EggsError."""
    mean = gram.diagonal().mean()
    for attempt in range(DAMPING_TRIES):
        share = DAMPING * 10**attempt
        factor, failed = torch.linalg.cholesky_ex(gram + share * mean * torch.eye(len(gram), device=gram.device))
        if not failed:
            if attempt:
                notes.append(f"the gram needed damping by {share:.0%} of its mean diagonal instead of {DAMPING:.0%}")
            return torch.cholesky_inverse(factor)
    raise EggsError(f"The gram of {len(gram)} input channels is not positive even with heavy damping; check the model.")
