"""Reconstruction: give the kept weights new values, so that the layer's output changes as little as possible.

With the gram H = XᵀX / tokens of the layer's inputs, the output's squared error is tr((W − Ŵ) H (W − Ŵ)ᵀ).
"""

from __future__ import annotations

from dataclasses import replace

from eggs_core.heavy import torch
from eggs_core.masks.selection import topn_in_order
from eggs_core.pruning.least_squares import least_squares, weighted_least_squares
from eggs_core.pruning.problem import LayerProblem, Reconstruction, checked_gram
from eggs_core.pruning.rounding import swept

ITERATIONS = 30  # of admm; measured on SmolLM2-135M at 2:4, as are the next three: 60 gain nothing
CHOOSING = 25  # iterations that choose the mask anew,
LAST_CHOICES = 5  # the last of them choose by the given selection; the others take the N best, which is faster
PENALTY = (0.3, 1.0)  # first and last: a growing penalty finds masks of less error than 1.0 throughout
EVENLY = 0.1  # share of the plain sum of squares in what a sensitivity weighs
RIDGE = 0.03  # pulls weights to what they were, which lowers the error on unseen text: see admm
STAGE = 5  # iterations between factorisations


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
    With `bits` kept weights are rounded in the same sweep: see rounding.swept.
    Raises EggsError for a gram that is missing, misshapen, not finite or not positive.

    >>> obs(LayerProblem(torch.tensor([[1.0, 2.0]]), torch.eye(2), NMPattern(1, 2))).weight.tolist()
    [[0.0, 2.0]]
    """
    gram, notes = checked_gram(problem, "obs")
    weight = problem.weight.to(torch.float32).masked_fill(gram.diagonal() == 0, 0)
    mask = None if problem.mask is None else problem.checked_mask(problem.mask, "obs")
    return swept(replace(problem, weight=weight, mask=mask), gram, notes)


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
    gram, notes = checked_gram(problem, "admm")
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
            mask = topn_in_order(candidate.abs(), problem.pattern, order)
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
