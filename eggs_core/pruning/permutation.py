"""Orders of the input channels before grouping: which M columns share a group decides what N:M can keep."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from eggs_core.errors import EggsError
from eggs_core.heavy import scipy, torch
from eggs_core.pattern import NMPattern

BLOCK_GROUPS = 512  # groups that exchange columns with each other: cost grows with its square, so wide layers are cut


def none(scores: torch.Tensor, pattern: NMPattern) -> None:
    """Leave the columns where they are; returns None, which stands for the identity.

    >>> none(torch.ones(1, 4), NMPattern(2, 4))
    """
    _check(scores, pattern)


def zigzag(scores: torch.Tensor, pattern: NMPattern) -> torch.Tensor:
    """Deal the columns, best score sum first, out to the groups in a zigzag (the start of RIA's channel permutation).

    scores: (out_features, in_features). Returns perm, (in_features,) int64: perm[j] is the original column that comes
    to position j, so that weight[:, perm] is grouped. Raises EggsError when M does not divide in_features.

    >>> zigzag(torch.tensor([[9.0, 8.0, 2.0, 1.0]]), NMPattern(1, 2)).tolist()
    [0, 3, 1, 2]
    """
    _check(scores, pattern)
    groups = pattern.groups(scores.shape[1])
    order = scores.sum(dim=0, dtype=torch.float64).sort(descending=True, stable=True).indices
    rounds = order.view(pattern.group, groups).clone()  # (position, group)
    rounds[1::2] = rounds[1::2].flip(1)
    return rounds.T.reshape(-1)


def lsa(scores: torch.Tensor, pattern: NMPattern, sweeps: int = 1, block_groups: int = BLOCK_GROUPS) -> torch.Tensor:
    """Reassign columns to groups so that topn retains more score, by linear sum assignments (RIA, Zhang et al. 2024).

    It starts from the zigzag and takes each position in the group in turn. The columns at that position leave their
    groups and are given back so that the retained score is largest. A column c adds Σ_r max(0, S[r, c] − t[r, g]) to
    group g, where t is the N-th best of the group's others. Up to terms of c or g alone, that is half the L1 distance
    of S[:, c] and t[:, g]. A layer of more than `block_groups` groups is worked on in blocks, so that the cost stays
    near-linear in width.
    scores: (out_features, in_features), finite. Returns perm, (in_features,) int64, as zigzag does.
    Raises EggsError when M does not divide in_features.

    >>> lsa(torch.tensor([[9.0, 8.0, 2.0, 1.0]]), NMPattern(1, 2)).tolist()
    [0, 3, 1, 2]
    """
    _check(scores, pattern)
    perm = zigzag(scores, pattern)
    groups = pattern.groups(scores.shape[1])
    if pattern.keep == pattern.group or groups == 1:
        return perm
    grouped = perm.view(groups, pattern.group)  # (group, position) -> column
    blocks = -(-groups // block_groups)
    members = [torch.arange(b, groups, blocks, device=scores.device) for b in range(blocks)]  # interleaved: alike
    columns = scores.T.contiguous().to(torch.float32)  # (in, out)
    for _ in range(sweeps):
        for position in range(pattern.group):
            values = [_values(columns, grouped[m], position, pattern.keep) for m in members]
            with ThreadPoolExecutor() as pool:
                assigned = list(pool.map(lambda v: scipy.optimize.linear_sum_assignment(v, maximize=True)[1], values))
            for m, value, to in zip(members, values, assigned, strict=True):
                here = np.arange(len(value))
                if value[here, to].sum() > value[here, here].sum():
                    given = torch.empty_like(m)
                    given[torch.from_numpy(to).to(m.device)] = grouped[m, position]
                    grouped[m, position] = given
    return grouped.reshape(-1)


def _values(columns: torch.Tensor, grouped: torch.Tensor, position: int, keep: int) -> np.ndarray:
    """What each candidate column is worth in each group, (candidates, groups) up to sums of rows and columns."""
    others = torch.cat([grouped[:, :position], grouped[:, position + 1 :]], dim=1)  # (groups, M − 1)
    threshold = columns[others].topk(keep, dim=1).values[:, -1]  # (groups, out): what a newcomer has to beat
    return torch.cdist(columns[grouped[:, position]], threshold, p=1.0).double().cpu().numpy()


def _check(scores: torch.Tensor, pattern: NMPattern) -> None:
    if scores.dim() != 2:
        raise EggsError(f"A permutation needs scores (out_features, in_features); got shape {tuple(scores.shape)}.")
    rows, columns = scores.shape
    pattern.check("of these scores", (rows, columns))
    if not torch.isfinite(scores).all():
        raise EggsError(f"Scores of shape {tuple(scores.shape)} hold NaN or infinite values; check weights and norms.")
