"""Mask selection: which N of every M weights are kept, given their scores; ties go to the lowest column."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from eggs_core.errors import EggsError
from eggs_core.heavy import torch
from eggs_core.masks.degree_bound import degree_mask, keep_best, largest_beta, min_degree_bound
from eggs_core.pattern import NMPattern
from eggs_core.registry import entry, readers

ROWS_PER_DIAGONAL = 144

FLOOR = 0.9999  # of topn's score, which the automatic β keeps: on SmolLM2-135M, 0.999 costs more than it connects


@dataclass(frozen=True, slots=True)
class Selection:
    """A chosen mask, (out_features, in_features) bool, and what was used to choose it."""

    mask: torch.Tensor
    note: str
    options: Mapping[str, float] = field(default_factory=dict)  # that were used, those chosen automatically too
    min_degree: int = 0  # kept weights that every input channel is guaranteed to have


def topn(scores: torch.Tensor, pattern: NMPattern) -> torch.Tensor:
    """Keep the N best weights of every group of M.

    scores: (out_features, in_features), any float dtype, no NaN. Returns bool of the same shape.
    Raises EggsError when M does not divide in_features or a score is NaN.

    >>> topn(torch.tensor([[1.0, 3.0, 2.0, 3.0]]), NMPattern(2, 4)).int().tolist()
    [[0, 1, 0, 1]]
    """
    _check(scores, pattern)
    return _topn(scores, pattern)


def topn_in_order(scores: torch.Tensor, pattern: NMPattern, order: torch.Tensor) -> torch.Tensor:
    """The N best of every group of M where the columns are grouped in an order; the mask is in the original one.

    scores: as for topn; order: (in_features,) int64, the original column at each place. Returns bool of scores' shape.
    All first columns of groups come together, then all second ones: what is compared lies in one piece.
    Raises EggsError as topn does.

    >>> topn_in_order(torch.tensor([[1.0, 3.0, 2.0, 3.0]]), NMPattern(1, 2), torch.tensor([1, 3, 0, 2])).int().tolist()
    [[0, 1, 1, 0]]
    """
    _check(scores, pattern)
    places = order.view(-1, pattern.group).T.reshape(-1)
    grouped = scores[:, places].view(len(scores), pattern.group, -1)
    return keep_best(grouped, pattern.keep, dim=1).view(scores.shape)[:, places.argsort()]


def diagonal(scores: torch.Tensor, pattern: NMPattern, diagonals: int | None = None) -> torch.Tensor:
    """Keep the B best cyclic diagonals of every strip, then fill each row up to N by score (our reading of EGGS-PTP).

    The diagonal (tile b, shift d) has the M entries (bM + i, (i + d) mod M). So each diagonal gives every input channel
    of its strip one kept weight. A tile takes at most N. A last tile of fewer than M rows has no full diagonal.
    The best diagonals cost least. An entry costs what it lacks to its row's N-th best; among equals the largest sum
    wins.
    scores: (out_features, in_features), any float dtype, no NaN; diagonals: B, by default max(1, out // 144).
    Returns bool of the same shape. Raises EggsError when B is negative or more than the out // M tiles can hold.

    >>> diagonal(torch.tensor([[5.0, 1.0], [5.0, 1.0]]), NMPattern(1, 2), 1).int().tolist()
    [[1, 0], [0, 1]]
    """
    return _topn(scores.masked_fill(best_diagonals(scores, pattern, diagonals), torch.inf), pattern)


def best_diagonals(scores: torch.Tensor, pattern: NMPattern, diagonals: int | None = None) -> torch.Tensor:
    """The weights on the B best cyclic diagonals of every strip, which `diagonal` keeps first; arguments as there.

    Returns bool of the scores' shape, at most N in a row's group and B in a column.
    """
    _check(scores, pattern)
    out, cols = scores.shape
    keep, size = pattern.keep, pattern.group
    count = _diagonal_count(out, pattern, diagonals)
    forced = torch.zeros_like(scores, dtype=torch.bool)
    if count == 0:
        return forced
    tiles, strips = out // size, cols // size
    tiled = scores[: tiles * size].reshape(tiles, size, strips, size)
    row = torch.arange(size, device=scores.device)
    column = (row[None, :] + row[:, None]) % size  # (shift, row) -> column
    worst = tiled.topk(keep, dim=3).values[..., -1]  # (tile, row, strip), the least that topn keeps
    sums = torch.zeros(strips, tiles, size, device=scores.device, dtype=torch.float32)  # (strip, tile, shift)
    costs = torch.zeros_like(sums)
    for i in range(size):
        entries = tiled[:, i].permute(1, 0, 2)[:, :, column[:, i]]  # (strip, tile, shift)
        sums += entries
        costs += (worst[:, i].T[:, :, None] - entries).clamp_min(0)
    shifts = _cheapest(costs, sums)[:, :, :keep]  # (strip, tile, keep)
    costs, sums = (x.gather(2, shifts).reshape(strips, -1) for x in (costs, sums))
    order = _cheapest(costs, sums)[:, :count]
    chosen = torch.zeros(strips, tiles, size, dtype=torch.bool, device=scores.device)
    strip = torch.arange(strips, device=scores.device)[:, None]
    chosen[strip, order // keep, shifts.reshape(strips, -1).gather(1, order)] = True
    full = forced[: tiles * size].view(tiles, size, strips, size)
    for i in range(size):  # column c of row i lies on shift (c - i) mod M
        full[:, i] = chosen[:, :, (row - i) % size].permute(1, 0, 2)
    return forced


def degree(scores: torch.Tensor, pattern: NMPattern, beta: float) -> torch.Tensor:
    """Maximise the kept score subject to N per group and at least ⌊β·out·N/M⌋ kept weights per input channel, exactly.

    scores: (out_features, in_features), any float dtype, finite; 0 ≤ beta ≤ 1. Returns bool of the same shape.
    Raises EggsError for a beta outside [0, 1] or scores that are not finite.

    >>> degree(torch.tensor([[5.0, 1.0], [4.0, 1.0]]), NMPattern(1, 2), 1.0).int().tolist()
    [[1, 0], [0, 1]]
    """
    _check(scores, pattern)
    return degree_mask(scores, pattern, min_degree_bound(scores.shape[0], pattern, beta))[0]


def auto_beta(scores: torch.Tensor, pattern: NMPattern, floor: float = FLOOR) -> tuple[torch.Tensor, float]:
    """Find the largest β (to 1/64) whose degree mask keeps at least `floor` of topn's score; returns (mask, β).

    scores: (out_features, in_features), any float dtype, finite and not negative; mask: bool of the same shape.

    >>> auto_beta(torch.ones(4, 4), NMPattern(2, 4))[1]
    1.0
    """
    _check(scores, pattern)
    if not 0 <= floor <= 1:
        raise EggsError(f"The share of topn's score to keep lies between 0 and 1; got {floor}.")
    return largest_beta(scores, pattern, floor)


def select(scores: torch.Tensor, pattern: NMPattern, selection: str, **options: float | None) -> Selection:
    """Choose the mask by the named selection: the one place where masks are selected; an option of None is automatic.

    scores: (out_features, in_features), any float dtype, finite. Returns a Selection.
    Raises EggsError for an unknown selection, or an option that the selection does not read.

    >>> select(torch.tensor([[1.0, 2.0]]), NMPattern(1, 2), "topn").mask.tolist()
    [[False, True]]
    """
    chosen = entry("selection", selection)
    given = {name: value for name, value in options.items() if value is not None}
    if unread := sorted(given.keys() - chosen.options.keys()):
        others = " or ".join(readers(unread[0]).get("selection", []))
        raise EggsError(
            f"Selection {selection} does not use {unread[0]}; leave it out or choose selection {others or 'another'}."
        )
    return chosen.load()(scores, pattern, **given)


def by_topn(scores: torch.Tensor, pattern: NMPattern) -> Selection:
    """The selection `topn`."""
    return Selection(topn(scores, pattern), f"the {pattern.keep} best of every {pattern.group}")


def by_diagonals(scores: torch.Tensor, pattern: NMPattern, diagonals: int | None = None) -> Selection:
    """The selection `diagonal`; `diagonals` None is max(1, out // 144)."""
    count = _diagonal_count(scores.shape[0], pattern, diagonals)
    mask = diagonal(scores, pattern, count)
    return Selection(mask, f"{count} cyclic diagonals per strip", {"diagonals": count}, min_degree=count)


def by_degree(scores: torch.Tensor, pattern: NMPattern, beta: float | None = None) -> Selection:
    """The selection `degree`; `beta` None is the largest that keeps FLOOR of the score."""
    mask, used = auto_beta(scores, pattern) if beta is None else (degree(scores, pattern, beta), beta)
    out = scores.shape[0]
    bound = min_degree_bound(out, pattern, used)
    how = "chosen automatically" if beta is None else "as set"
    note = f"every input channel keeps at least {bound} of {out} weights (β = {used:.3g}, {how})"
    return Selection(mask, note, {"beta": used}, min_degree=bound)


def retained_score(scores: torch.Tensor, mask: torch.Tensor) -> float:
    """Sum of the scores that a mask keeps, in fp64; scores and mask: (out_features, in_features).

    >>> retained_score(torch.tensor([[1.0, 2.0]]), torch.tensor([[False, True]]))
    2.0
    """
    return float(torch.where(mask, scores, 0).sum(dtype=torch.float64))


def check_mask(mask: torch.Tensor, pattern: NMPattern, name: str) -> None:
    """Raise EggsError, naming the layer, unless mask (out_features, in_features) keeps exactly N in every group.

    >>> check_mask(torch.tensor([[True, False]]), NMPattern(1, 2), "layer")
    """
    if mask.dim() != 2 or mask.dtype != torch.bool:
        raise EggsError(f"The mask of {name} must be a bool matrix; got {mask.dtype} of shape {tuple(mask.shape)}.")
    pattern.check(name, tuple(mask.shape))
    kept = torch.zeros(mask.shape[0], pattern.groups(mask.shape[1]), dtype=torch.uint8, device=mask.device)
    for place in range(pattern.group):  # ten times as fast as a sum over groups
        kept += mask[:, place :: pattern.group]
    wrong = (kept != pattern.keep).nonzero()
    if len(wrong):
        row, group = wrong[0].tolist()
        raise EggsError(
            f"The mask of {name} breaks {pattern} in {len(wrong)} of {kept.numel()} groups; the first is row {row}, "
            f"group {group}, which keeps {int(kept[row, group])}."
        )


def _cheapest(costs: torch.Tensor, sums: torch.Tensor) -> torch.Tensor:
    """Indices along the last dimension by rising cost, then falling sum, then position."""
    order = sums.sort(dim=-1, descending=True, stable=True).indices
    return order.gather(-1, costs.gather(-1, order).sort(dim=-1, stable=True).indices)


def _topn(scores: torch.Tensor, pattern: NMPattern) -> torch.Tensor:
    grouped = scores.reshape(scores.shape[0], -1, pattern.group)
    return keep_best(grouped, pattern.keep, dim=2).view(scores.shape)


def _diagonal_count(out: int, pattern: NMPattern, diagonals: int | None) -> int:
    most = out // pattern.group * pattern.keep
    if diagonals is None:
        return min(max(1, out // ROWS_PER_DIAGONAL), most)
    if not 0 <= diagonals <= most:
        raise EggsError(
            f"{diagonals} diagonals per strip are not possible at {pattern} with {out} rows: "
            f"{out // pattern.group} full tiles of {pattern.keep} hold 0 to {most}."
        )
    return diagonals


def _check(scores: torch.Tensor, pattern: NMPattern) -> None:
    if scores.dim() != 2:
        raise EggsError(f"Selection needs scores of shape (out_features, in_features); got {tuple(scores.shape)}.")
    pattern.check("of these scores", tuple(scores.shape))
    if not torch.isfinite(scores).all():
        raise EggsError(f"Scores of shape {tuple(scores.shape)} hold NaN or infinite values; check weights and norms.")
