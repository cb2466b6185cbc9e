"""Degree-bounded selection, exactly: the best N:M mask in which every input channel keeps at least B weights.

Per strip this is a transportation problem. So an optimum is integral and has prices λ ≥ 0, one per column, with
mask = topn(S + λ). A price phase gets close for all strips at once. Then successive shortest augmenting paths over the
M columns of a strip (Ford and Fulkerson; Edmonds and Karp 1972) make the bound and the optimum exact.
"""

from __future__ import annotations

import math

from eggs_core.errors import EggsError
from eggs_core.heavy import torch
from eggs_core.pattern import NMPattern

RAISE_ROUNDS = 3
PRICE_ROUNDS = 15
BLOCK = 1 << 23  # scores worked on at once, which bounds the memory that the strips' copies take
PAIRWISE_UP_TO = 16  # group sizes for which comparing all pairs is faster than sorting
BETA_STEPS = 64
BETA_SAMPLE = 16  # strips that a first search for β looks at


def min_degree_bound(out_features: int, pattern: NMPattern, beta: float) -> int:
    """Kept weights that β guarantees every input channel, ⌊β·out·N/M⌋; raises EggsError for a β outside [0, 1].

    >>> min_degree_bound(8, NMPattern(2, 4), 0.5)
    2
    """
    if not 0 <= beta <= 1:
        raise EggsError(f"β is a share of the mean in-degree, between 0 and 1; got {beta}.")
    return math.floor(beta * out_features * pattern.keep / pattern.group + 1e-9)


def keep_best(values: torch.Tensor, keep: int, dim: int) -> torch.Tensor:
    """Mark the `keep` largest values along `dim`, the lowest index first among equals; returns bool of values' shape.

    values: any shape and float dtype, no NaN; infinities are allowed.

    >>> keep_best(torch.tensor([2.0, 3.0, 3.0]), 1, dim=0).tolist()
    [False, True, False]
    """
    size = values.shape[dim]
    if size > PAIRWISE_UP_TO:
        best = values.sort(dim=dim, descending=True, stable=True).indices.narrow(dim, 0, keep)
        return torch.zeros_like(values, dtype=torch.bool).scatter_(dim, best, True)
    columns = values.unbind(dim)
    rank = [torch.zeros_like(columns[0], dtype=torch.int8) for _ in columns]  # how many beat this one
    for i in range(size):
        for j in range(i):
            beaten = columns[j] >= columns[i]
            rank[i] += beaten
            rank[j] += beaten.logical_not_()
    return torch.stack([r < keep for r in rank], dim=dim)


def degree_mask(
    scores: torch.Tensor, pattern: NMPattern, bound: int, prices: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Solve for a bound of kept weights per column; returns (mask, prices) of shapes (out, in) and (in // M, M).

    scores: (out_features, in_features), finite; prices: those of a smaller bound on the same scores, to start from.
    Raises EggsError when out·N/M rows cannot give every column `bound` weights.

    >>> degree_mask(torch.tensor([[5.0, 1.0], [4.0, 1.0]]), NMPattern(1, 2), 1)[1].tolist()
    [[0.0, 3.5]]
    """
    out, cols = scores.shape
    keep, size = pattern.keep, pattern.group
    if bound * size > out * keep or bound < 0:
        raise EggsError(f"{out} rows at {pattern} cannot give every input channel {bound} weights; lower the bound.")
    if scores.dtype in (torch.float16, torch.bfloat16):
        scores = scores.to(torch.float32)
    grouped = scores.reshape(out, -1, size)
    mask = keep_best(grouped, keep, dim=2)
    prices = scores.new_zeros(cols // size, size) if prices is None else prices.clone()
    short = (mask.sum(dim=0) < bound).any(dim=1).nonzero()[:, 0]  # the strips that the bound touches
    for strips in short.split(max(1, BLOCK // (out * size))):
        values = grouped[:, strips].permute(1, 2, 0).contiguous()  # (strips, M, out)
        kept, prices[strips] = _solve(values, keep, bound, prices[strips])
        mask[:, strips] = kept.permute(2, 0, 1)
    return mask.view(out, cols), prices


def largest_beta(scores: torch.Tensor, pattern: NMPattern, floor: float) -> tuple[torch.Tensor, float]:
    """Search for the largest β in steps of 1/64 that keeps `floor` of topn's score; returns (mask, β).

    The kept score falls as β grows, and it is a sum over strips. So a few strips tell about where to look in all.
    """
    out, cols = scores.shape
    strips = cols // pattern.group
    step = -(-strips // BETA_SAMPLE)
    guess = 0
    if step > 1:
        sample = scores.view(out, strips, pattern.group)[:, ::step].reshape(out, -1)
        guess = _search(sample, pattern, floor, 0)[1]
    mask, found = _search(scores, pattern, floor, guess)
    return mask, found / BETA_STEPS


def _search(scores: torch.Tensor, pattern: NMPattern, floor: float, guess: int) -> tuple[torch.Tensor, int]:
    """The largest number of β's steps that keeps `floor` of topn's score, and its mask; quick when `guess` is near."""

    def kept(mask: torch.Tensor) -> float:
        return float(torch.where(mask, scores, 0).sum(dtype=torch.float64))

    best, prices = degree_mask(scores, pattern, 0)
    enough = floor * kept(best)
    low, high, stride, now = 0, BETA_STEPS + 1, 1 if guess else BETA_STEPS // 8, guess or BETA_STEPS // 8
    while high - low > 1:  # ever wider strides from the guess until it is bracketed, then bisection
        mask, new_prices = degree_mask(
            scores, pattern, min_degree_bound(scores.shape[0], pattern, now / BETA_STEPS), prices
        )
        if kept(mask) >= enough:
            low, best, prices = now, mask, new_prices
        else:
            high = now
        if high > BETA_STEPS:
            now = min(low + stride, BETA_STEPS)
        elif low == 0:
            now = max(high - stride, 1)
        else:
            now = (low + high) // 2
        stride *= 2
    return best, low


def _solve(values: torch.Tensor, keep: int, bound: int, prices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Price phase, then repair; values: (strips, M, out). Returns kept, bool alike, and prices (strips, M)."""
    prices, best_prices = prices.clone(), prices.clone()
    kept = torch.empty_like(values, dtype=torch.bool)
    best = torch.full_like(prices[:, 0], torch.inf)  # kept weights too many or too few, per strip
    live = torch.arange(len(values), device=values.device)
    for turn in range(PRICE_ROUNDS):
        priced = values[live] + prices[live][:, :, None]
        now = keep_best(priced, keep, dim=1)
        surplus = now.sum(dim=2) - bound
        surplus = torch.where(prices[live] > 0, surplus, surplus.clamp(max=0))  # what is free may be plentiful
        error = surplus.abs().sum(dim=1).to(values.dtype)
        better = error < best[live]
        done = live[better]
        best[done], best_prices[done], kept[done] = error[better], prices[done], now[better]
        todo = error > 0
        live, priced, now, surplus = live[todo], priced[todo], now[todo], surplus[todo]
        if len(live) == 0:
            break
        if turn < RAISE_ROUNDS:
            prices[live] += _raise_each(priced, now, surplus, bound)
        elif turn % 2:
            together = (surplus < 0) | (prices[live] > 0 if turn % 4 == 3 else False)
            prices[live] += _raise_together(priced, now, surplus, together)
        else:
            prices[live] = (prices[live] + _newton_step(priced, now, surplus, prices[live])).clamp_(min=0)
    return _repair(values, kept, bound, best_prices)


def _raise_each(priced: torch.Tensor, kept: torch.Tensor, surplus: torch.Tensor, bound: int) -> torch.Tensor:
    """Raise each short column's price until `bound` rows keep it, while the others' prices stand still.

    priced, kept: (strips, M, out); surplus and the result: (strips, M). The price goes halfway to the amount at which
    the next row switches, so that no tie is left. Among equal amounts it goes just there: no price can tell those rows
    apart, and the repair chooses.
    """
    threshold = priced.masked_fill(~kept, torch.inf).amin(dim=1)  # (strips, out): the weakest kept value
    strip, column = (surplus < 0).nonzero(as_tuple=True)
    amount = threshold[strip] - priced[strip, column]  # (short columns, out): what makes a row switch
    amount.masked_fill_(kept[strip, column], -torch.inf)
    needed = amount.kthvalue(bound, dim=1).values
    within = amount <= needed[:, None]
    beyond = amount.masked_fill_(within, torch.inf).amin(dim=1)
    halfway = torch.where(beyond.isinf(), needed * 1.001, (needed + beyond) / 2)
    step = torch.zeros_like(surplus, dtype=priced.dtype)
    step[strip, column] = torch.where(within.sum(dim=1) > bound, needed, halfway)
    return step


def _raise_together(
    priced: torch.Tensor, kept: torch.Tensor, surplus: torch.Tensor, together: torch.Tensor
) -> torch.Tensor:
    """Raise a set of columns by one amount that covers their joint shortage; one by one they would outbid each other.

    priced, kept: (strips, M, out); surplus, together (bool) and the result: (strips, M).
    """
    inside = together[:, :, None]
    weakest = priced.masked_fill(~kept | inside, torch.inf).amin(dim=1)  # kept outside the set
    strongest = priced.masked_fill(kept | ~inside, -torch.inf).amax(dim=1)  # not kept inside it
    amounts = (weakest - strongest).sort(dim=1).values  # (strips, out)
    shortage = -(surplus * together).sum(dim=1, keepdim=True)
    amount = amounts.gather(1, shortage.clamp(1, amounts.shape[1]) - 1)
    return together * torch.where((shortage > 0) & torch.isfinite(amount), amount, 0)


def _newton_step(priced: torch.Tensor, kept: torch.Tensor, surplus: torch.Tensor, prices: torch.Tensor) -> torch.Tensor:
    """Newton's step on the dual, whose curvature is the density of rows about to switch between two columns.

    priced, kept: (strips, M, out); surplus, prices and the result: (strips, M).
    """
    strips, size, out = priced.shape
    low, loser = priced.masked_fill(~kept, torch.inf).min(dim=1)
    high, winner = priced.masked_fill(kept, -torch.inf).max(dim=1)
    margin = low - high  # (strips, out)
    window = surplus.abs().amax(dim=1, keepdim=True).mul(2).clamp(min=16).clamp(max=out)  # rows to look at
    width = margin.sort(dim=1).values.gather(1, window - 1).clamp(min=1e-30)
    near = (margin <= width).to(priced.dtype)
    density = priced.new_zeros(strips, size * size).scatter_add_(1, loser * size + winner, near).view(-1, size, size)
    density = (density + density.transpose(1, 2)) / 2
    laplacian = torch.diag_embed(density.sum(dim=2) + 0.01 * window / size) - density
    active = (prices > 0) | (surplus < 0)
    both = active[:, :, None] & active[:, None, :]
    laplacian = torch.where(both, laplacian, torch.diag_embed(torch.ones_like(prices)))
    step = torch.linalg.solve(laplacian, torch.where(active, -surplus, 0).to(priced.dtype))
    return step.clamp_(-4, 4) * width


def _repair(
    values: torch.Tensor, kept: torch.Tensor, bound: int, prices: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Move kept weights along shortest paths until every strip meets the bound at the optimum.

    Nodes are the M columns and a pool, which owns the surplus of columns whose price is zero. Moving a row's kept
    weight from column a to c costs S[r, a] − S[r, c]. With the prices all such costs are at least 0, from start to end.
    """
    kept, prices = kept.clone(), prices.clone()
    live = torch.arange(len(values), device=values.device)
    while True:
        surplus = kept[live].sum(dim=2) - bound
        open_strips = ((surplus < 0) | ((surplus > 0) & (prices[live] > 0))).any(dim=1)
        live = live[open_strips]
        if len(live) == 0:
            return kept, prices
        new_kept, new_prices = _augment(values[live], kept[live], surplus[open_strips], prices[live])
        kept[live], prices[live] = new_kept, new_prices


def _shortest(cost: torch.Tensor, source: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Distances from the sources, and the node before each (−1: none); cost (strips, from, to), source (strips, node).

    Bellman and Ford's algorithm, all strips and nodes at once.
    """
    distance = cost.new_full(source.shape, torch.inf).masked_fill_(source, 0)
    before = torch.full(source.shape, -1, device=cost.device)
    for _ in range(source.shape[1]):
        through, via = (distance[:, :, None] + cost).min(dim=1)
        shorter = through < distance
        if not shorter.any():
            break
        distance = torch.where(shorter, through, distance)
        before = torch.where(shorter, via, before)
    return distance, before


def _augment(
    values: torch.Tensor, kept: torch.Tensor, surplus: torch.Tensor, prices: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """One shortest augmenting path in every strip; values, kept: (strips, M, out); surplus, prices: (strips, M)."""
    strips, size, _ = values.shape
    pool, every = size, torch.arange(strips, device=values.device)
    wide = prices.double()
    leaving = values.masked_fill(~kept, torch.inf)
    entering = values.masked_fill(kept, -torch.inf)
    cost = torch.stack([(leaving[:, a, None] - entering).amin(dim=2) for a in range(size)], dim=1)  # (strips, a, c)
    reduced = wide.new_full((strips, size + 1, size + 1), torch.inf)
    reduced[:, :size, :size] = (cost + wide[:, :, None] - wide[:, None, :]).clamp_(min=0)
    reduced[:, :size, pool] = wide
    held = torch.where(wide > 0, 0, surplus.clamp(min=0))  # surplus that the pool owns
    excess = surplus.clamp(min=0) - held
    reduced[:, pool, :size] = torch.where(held > 0, 0.0, torch.inf)

    pushing = excess.sum(dim=1) > 0
    source = torch.cat([excess > 0, ~pushing[:, None]], dim=1)
    sink = torch.cat([surplus < 0, pushing[:, None]], dim=1)
    distance, before = _shortest(reduced, source)
    reach, target = distance.masked_fill(~sink, torch.inf).min(dim=1)

    arcs, node = [], target
    amount = torch.cat([(-surplus).clamp(min=0), surplus.new_full((strips, 1), 1 << 30)], dim=1)[every, target]
    stock = torch.cat([excess, surplus.new_full((strips, 1), 1 << 30)], dim=1)
    for _ in range(size + 1):
        last = before[every, node]
        on = last >= 0
        if not on.any():
            break
        a, c = last.clamp(0, pool - 1), node.clamp(max=pool - 1)
        swap = on & (last < pool) & (node < pool)
        tied = kept[every, a] & ~kept[every, c] & swap[:, None]  # (strips, out)
        tied &= (values[every, a] - values[every, c]) == cost[every, a, c][:, None]
        room = torch.where(swap, tied.sum(dim=1), torch.where(on & (last == pool), held[every, c], 1 << 30))
        amount = torch.minimum(amount, room)
        arcs.append((a, c, tied))
        node = torch.where(on, last, node)
    amount = torch.minimum(amount, stock[every, node])
    kept = kept.clone()
    for a, c, tied in arcs:
        moved = tied & (tied.cumsum(dim=1) <= amount[:, None])
        kept[every, a] ^= moved
        kept[every, c] ^= moved
    moved_by = torch.minimum(distance, reach[:, None])
    return kept, (wide + moved_by[:, :size] - moved_by[:, pool:]).to(prices.dtype)
