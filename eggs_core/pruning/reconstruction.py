"""Reconstruction: give the kept weights new values, so that the layer's output changes as little as possible.

With the gram H = XᵀX / tokens of the layer's inputs, the output's squared error is tr((W − Ŵ) H (W − Ŵ)ᵀ).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from eggs_core.errors import EggsError
from eggs_core.heavy import torch
from eggs_core.masks.degree_bound import keep_best
from eggs_core.masks.selection import check_mask, topn
from eggs_core.pattern import NMPattern
from eggs_core.pruning.least_squares import least_squares, weighted_least_squares

Choose = Callable[["torch.Tensor"], "torch.Tensor"]  # scores (out, in) -> mask, both in original column order

DAMPING = 0.01  # share of the gram's mean diagonal that obs adds to it, as SparseGPT's published code does
DAMPING_TRIES = 4  # each ten times the one before
SWEEP = 128  # columns that obs updates before it passes their errors on, as published
ITERATIONS = 30  # of admm; measured on SmolLM2-135M at 2:4, as are the next three: 60 gain nothing
CHOOSING = 25  # iterations that choose the mask anew,
LAST_CHOICES = 5  # the last of them choose by the given selection; the others take the N best, which is faster
PENALTY = (0.3, 1.0)  # first and last: a growing penalty finds masks of less error than 1.0 throughout
EVENLY = 0.1  # share of the plain sum of squares in what a sensitivity weighs
RIDGE = 0.03  # pulls weights to what they were, which lowers the error on unseen text: see admm
STAGE = 5  # iterations between factorisations


@dataclass(frozen=True, slots=True)
class LayerProblem:
    """One layer whose kept weights get new values; none of its tensors is changed.

    weight: (out, in), any float dtype. gram: (in, in), fp32, XᵀX / tokens of the layer's inputs X.
    mask: bool (out, in), the weights to keep. choose: scores (out, in) -> mask, in original column order, that keeps to
    the pattern, permutation and degree bound. permutation: (in,), the order in which columns are grouped.
    target: (out, in), Yᵀ X / tokens of the target output Y, if that is not weight @ gram.
    sensitivity: (out, out), G of the error tr(G (W − Ŵ) H (W − Ŵ)ᵀ), up to a factor, by default the identity (see
    sensitivity.py).
    """

    weight: torch.Tensor
    gram: torch.Tensor | None
    pattern: NMPattern
    mask: torch.Tensor | None = None
    choose: Choose | None = None
    permutation: torch.Tensor | None = None
    target: torch.Tensor | None = None
    sensitivity: torch.Tensor | None = None

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
    """New weight, fp32 (out, in), zero off the mask; its mask, bool (out, in); and what a report should say."""

    weight: torch.Tensor
    mask: torch.Tensor
    notes: list[str] = field(default_factory=list)


def none(problem: LayerProblem) -> Reconstruction:
    """Leave the kept weights as they are; of the problem only weight, pattern, permutation and mask are used.

    >>> none(LayerProblem(torch.tensor([[1.0, 2.0]]), None, NMPattern(1, 2), torch.tensor([[False, True]]))).weight
    tensor([[0., 2.]])
    """
    mask = problem.checked_mask(problem.mask, "none")
    return Reconstruction(problem.weight.to(torch.float32) * mask, mask)


def obs(problem: LayerProblem) -> Reconstruction:
    """Sweep over the columns, each pruned weight's error made up for by those after it (SparseGPT, arXiv 2301.00774).

    Columns are swept in the problem's order. Without a mask SparseGPT chooses its own: when the sweep reaches a group,
    it keeps the N of M weights with the largest w² / [H⁻¹]². `choose`, `target` and `sensitivity` are not used.
    The gram is damped by 1 % of its mean diagonal, as published. Notes tell of more damping and of silent channels.
    Raises EggsError for a gram that is missing, misshapen, not finite or not positive.

    >>> obs(LayerProblem(torch.tensor([[1.0, 2.0]]), torch.eye(2), NMPattern(1, 2))).weight.tolist()
    [[0.0, 2.0]]
    """
    weight, pattern, order = problem.weight, problem.pattern, problem.order()
    gram, notes = _checked_gram(problem, "obs")
    own = problem.mask is None
    kept = torch.zeros_like(weight, dtype=torch.bool) if own else problem.checked_mask(problem.mask, "obs")
    kept = kept[:, order]
    work, gram = weight.to(torch.float32)[:, order], gram[order][:, order]
    dead = gram.diagonal() == 0
    gram.diagonal()[dead] = 1
    work[:, dead] = 0
    factor = torch.linalg.cholesky(_damped_inverse(gram, notes), upper=True)  # (in, in), Uᵀ U = H⁻¹
    size, cols = pattern.group, weight.shape[1]
    step = max(SWEEP // size, 1) * size
    for start in range(0, cols, step):
        stop = min(start + step, cols)
        errors = torch.zeros_like(work[:, start:stop])
        for i in range(start, stop):
            if own and i % size == 0:
                group = slice(i, i + size)
                saliency = work[:, group] ** 2 / factor.diagonal()[group] ** 2
                kept[:, group] = keep_best(saliency, pattern.keep, dim=1)
            error = work[:, i].masked_fill(kept[:, i], 0) / factor[i, i]  # (out,)
            work[:, i:stop].addr_(error, factor[i, i:stop], alpha=-1)
            work[:, i].masked_fill_(~kept[:, i], 0)
            errors[:, i - start] = error
        work[:, stop:].addmm_(errors, factor[start:stop, stop:], alpha=-1)
    back = order.argsort()
    return Reconstruction(work[:, back], kept[:, back], notes)


def admm(problem: LayerProblem, *, iterations: int = ITERATIONS, ridge: float = RIDGE) -> Reconstruction:
    """Minimise the output's error over the kept weights by ADMM on the column-normalised gram (Boža 2024, 2401.02938).

    With `choose`, most iterations also choose the mask anew: they project |W + U| onto the pattern. Meanwhile the
    penalty grows from 0.3 to 1, so that first the weights lead and then the mask (as in ALPS, arXiv 2406.07831).
    The ridge adds that share of each channel's own power to the gram, as independent noise on the inputs would: it
    costs error on the calibration text and saves error on other texts. The problem's mask is the one to start from.
    A silent channel keeps its weights, as nothing is known of it.
    Raises EggsError for a missing mask and for a gram that is missing, misshapen, not finite or not positive.

    >>> given = LayerProblem(torch.tensor([[1.0, 2.0]]), torch.eye(2), NMPattern(1, 2), torch.tensor([[False, True]]))
    >>> [round(w, 2) for w in admm(given).weight[0].tolist()]
    [0.0, 2.0]
    """
    weight, choose, target, order = problem.weight, problem.choose, problem.target, problem.order()
    mask = problem.checked_mask(problem.mask, "admm")
    gram, notes = _checked_gram(problem, "admm")
    back = order.argsort()
    scale = gram.diagonal().sqrt()
    scale = torch.where(scale == 0, 1.0, scale)  # (in,)
    gram = gram / scale[:, None] / scale
    rows, sensitivity = _normalised(problem.sensitivity)
    work = weight.to(torch.float32) * scale * rows
    goal = (work @ gram if target is None else target.to(torch.float32) / scale * rows) + ridge * work  # (out, in)
    gram.diagonal().add_(ridge)
    solve = least_squares(gram) if sensitivity is None else weighted_least_squares(gram, sensitivity)
    if sensitivity is not None:
        goal = sensitivity @ goal
    kept, dual = work * mask, torch.zeros_like(work)
    stages = -(-iterations // STAGE)
    choosing = iterations * CHOOSING // ITERATIONS if choose is not None else 0
    first, last = PENALTY if choose is not None else (PENALTY[1], PENALTY[1])
    penalty = first
    for i in range(iterations):
        if i % STAGE == 0 and penalty != (now := first * (last / first) ** (i // STAGE / max(stages - 1, 1))):
            dual *= penalty / now
            penalty = now
        candidate = dual + solve(goal + penalty * (kept - dual), penalty)  # W + U, (out, in)
        if i < choosing - LAST_CHOICES:
            mask = topn(candidate.abs()[:, order], problem.pattern)[:, back]
        elif i < choosing and choose is not None:
            mask = choose((candidate / rows).abs())
        kept = candidate * mask
        dual = candidate - kept
    if choosing:
        mask = problem.checked_mask(mask, "admm")
    plain = work * mask
    if not _objective(kept, gram, goal, sensitivity) <= _objective(plain, gram, goal, sensitivity):
        notes.append("admm did not lower the output's error, so the kept weights stay as they were")
        kept = plain
    return Reconstruction((kept / scale / rows).masked_fill_(~mask, 0), mask, notes)


def _objective(weight: torch.Tensor, gram: torch.Tensor, goal: torch.Tensor, sensitivity: torch.Tensor | None) -> float:
    """Squared output error up to a constant: tr(G Ŵ H Ŵᵀ) − 2 tr(Ŵ Tᵀ), with T the goal, which G has weighed."""
    product = weight @ gram
    if sensitivity is not None:
        product = sensitivity @ product
    return float(((product - 2 * goal) * weight).sum(dtype=torch.float64))


def _normalised(sensitivity: torch.Tensor | None) -> tuple[torch.Tensor | float, torch.Tensor | None]:
    """Scales of the rows, (out, 1), and G between the scaled rows, its diagonal 1; 1.0 and None without sensitivity."""
    if sensitivity is None:
        return 1.0, None
    size = sensitivity.diagonal().clamp_min(0).sqrt()
    size = size.clamp_min(1e-3 * size.max())
    between = sensitivity / size[:, None] / size * (1 - EVENLY)
    between.diagonal().fill_(1.0)
    return (size / size.square().mean().sqrt())[:, None], between


def _checked_gram(problem: LayerProblem, name: str) -> tuple[torch.Tensor, list[str]]:
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


def _damped_inverse(gram: torch.Tensor, notes: list[str]) -> torch.Tensor:
    mean = gram.diagonal().mean()
    for attempt in range(DAMPING_TRIES):
        share = DAMPING * 10**attempt
        factor, failed = torch.linalg.cholesky_ex(gram + share * mean * torch.eye(len(gram), device=gram.device))
        if not failed:
            if attempt:
                notes.append(f"the gram needed damping by {share:.0%} of its mean diagonal instead of {DAMPING:.0%}")
            return torch.cholesky_inverse(factor)
    raise EggsError(f"The gram of {len(gram)} input channels is not positive even with heavy damping; check the model.")
