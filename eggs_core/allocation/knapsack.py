"""One choice for every item, of least loss within a budget: the multiple-choice knapsack problem."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from eggs_core.errors import EggsError

MOST_EXACT = 1000  # items that are solved exactly, if their costs have a common divisor
MOST_STATES = 60_000_000  # of the dynamic programming, all items together: bytes of memory
HALVINGS = 60  # of the interval in which the price of cost lies

Matrix = NDArray[np.float64]  # (items, choices)


@dataclass(frozen=True, slots=True)
class Solution:
    """The number of each item's choice, what they lose and cost, and a loss that none within the budget goes below."""

    picks: list[int]
    loss: float
    cost: float
    bound: float

    @property
    def gap(self) -> float:
        """How far from the best this may be, as a share of its loss; 0 where it is the best."""
        return 0.0 if self.loss <= self.bound else (self.loss - self.bound) / abs(self.loss)


def least_loss(losses: Sequence[Sequence[float]], costs: Sequence[Sequence[float]], budget: float) -> Solution:
    """The choices of least summed loss whose summed cost is within the budget.

    losses, costs: (items, choices); a choice that an item does not have costs infinity. Up to 1,000 items are solved by
    dynamic programming: exactly where costs have a common divisor that is large enough, as the bytes and weights of
    SmolLM2's layers have; else in steps of a millionth of the budget or so. More items go by a Lagrangian price. The
    same input gives the same choices. Raises EggsError if even the cheapest choices cost more than the budget.

    Branch and bound (scipy.optimize.milp) was tried first: for 210 layers it took from seconds to minutes, as plans of
    nearly equal loss abound.
    """
    loss, cost = np.asarray(losses, dtype=np.float64), np.asarray(costs, dtype=np.float64)
    if (least := float(cost.min(axis=1).sum())) > budget:
        raise EggsError(f"Even the cheapest choices cost {least:,.0f}, more than the budget of {budget:,.0f}.")
    loss = np.where(np.isfinite(cost), loss, np.inf)
    priced, price = _by_price(loss, cost, budget)
    return _by_steps(loss, cost, budget, priced, price) if len(loss) <= MOST_EXACT else priced


def _solution(picks: NDArray[np.int64], loss: Matrix, cost: Matrix, bound: float) -> Solution:
    rows = np.arange(len(loss))
    found = float(loss[rows, picks].sum())
    return Solution(picks.tolist(), found, float(cost[rows, picks].sum()), min(bound, found))


def _by_price(loss: Matrix, cost: Matrix, budget: float) -> tuple[Solution, float]:
    """Bisect for the least price of cost at which the choices fit the budget, then spend what is left.

    At any price p ≥ 0, the sum of min(loss + p·cost) less p·budget is a loss that nothing within the budget goes below
    (weak duality). Returns the choices, with the largest of these as the bound, and the price that gave it.
    """
    rows = np.arange(len(loss))

    def at(price: float) -> tuple[NDArray[np.int64], float]:
        total = _priced(loss, cost, price)
        least = total.min(axis=1)
        ties = np.where(total <= least[:, None], cost, np.inf)  # of equals the cheaper
        return ties.argmin(axis=1), float(least.sum() - price * budget)

    picks, found = at(0.0)
    best = (found, 0.0)
    if cost[rows, picks].sum() > budget:
        low, high = 0.0, 1e-30 + _spread(loss, cost) / _smallest_step(cost)  # at the highest price all are cheapest
        picks, found = at(high)
        best = max(best, (found, high))
        for _ in range(HALVINGS):
            middle = (low * high) ** 0.5 if low else high * 2.0**-40
            tried, found = at(middle)
            best = max(best, (found, middle))
            if cost[rows, tried].sum() <= budget:
                high, picks = middle, tried
            else:
                low = middle
    return _solution(_spend(picks, loss, cost, budget), loss, cost, best[0]), best[1]


def _priced(loss: Matrix, cost: Matrix, price: float) -> Matrix:
    """loss + price · cost, infinite for choices that an item does not have."""
    there = np.isfinite(cost)
    return np.where(there, loss + price * np.where(there, cost, 0.0), np.inf)


def _spread(loss: Matrix, cost: Matrix) -> float:
    there = np.isfinite(cost)
    return float(loss[there].max() - loss[there].min())


def _smallest_step(cost: Matrix) -> float:
    """The least difference of two choices' costs within an item."""
    steps = np.diff(np.sort(cost, axis=1), axis=1)
    steps = steps[np.isfinite(steps) & (steps > 0)]
    return float(steps.min()) if len(steps) else 1.0


def _spend(picks: NDArray[np.int64], loss: Matrix, cost: Matrix, budget: float) -> NDArray[np.int64]:
    """Take better choices while the budget has room, each time the one that gains most for what it costs."""
    picks, rows = picks.copy(), np.arange(len(loss))
    left = budget - float(cost[rows, picks].sum())
    while True:
        gain = loss[rows, picks][:, None] - loss
        more = cost - cost[rows, picks][:, None]
        fits = (gain > 0) & (more <= left)
        if not fits.any():
            return picks
        worth = np.where(fits, gain / np.maximum(more, 1e-12), -np.inf)
        item, choice = divmod(int(worth.argmax()), loss.shape[1])
        left -= float(more[item, choice])
        picks[item] = choice


def _by_steps(loss: Matrix, cost: Matrix, budget: float, priced: Solution, price: float) -> Solution:
    """Dynamic programming over what is spent beyond the cheapest choices, in steps of a common divisor.

    best[s] is the least loss of the items so far that spend at most s steps. Where the divisor is too small, steps are
    larger and costs are rounded up to them. Choices with which the bound is above what the price gave are left out.
    """
    total = _priced(loss, cost, price)
    room = (priced.loss - priced.bound) * (1 + 1e-9) + 1e-12 * abs(priced.loss)
    useful = total - total.min(axis=1, keepdims=True) <= room
    least = np.where(useful, cost, np.inf).min(axis=1, keepdims=True)
    spare = budget - float(least.sum())
    if spare < 0:  # rounding left out what fits; what the price gave does
        return priced
    extra = np.where(useful, cost - least, 0.0)
    step, exact = _step(extra, spare, len(loss))
    states = int(spare // step) + 1
    steps = np.ceil(extra / step - 1e-9).astype(np.int64)
    best, taken = np.zeros(states), np.zeros((len(loss), states), dtype=np.int8)
    for item in range(len(loss)):
        now = np.full(states, np.inf)
        there = np.flatnonzero(useful[item] & (steps[item] < states))
        for choice in there[np.argsort(steps[item, there], kind="stable")]:  # of equals the cheaper
            first = steps[item, choice]
            value = best[: states - first] + loss[item, choice]
            better = value < now[first:]
            now[first:][better] = value[better]
            taken[item, first:][better] = choice
        best = now
    picks, at = np.zeros(len(loss), dtype=np.int64), states - 1
    for item in reversed(range(len(loss))):
        picks[item] = taken[item, at]
        at -= int(steps[item, picks[item]])
    found = _solution(picks, loss, cost, priced.bound)
    if found.cost > budget or found.loss > priced.loss:
        found = priced
    return replace(found, bound=found.loss) if exact else found


def _step(extra: Matrix, spare: float, items: int) -> tuple[float, bool]:
    """The size of a step, and whether all costs are whole numbers of it."""
    smallest = max(spare * items / MOST_STATES, 1e-300)
    whole = extra.astype(np.int64)
    if (whole == extra).all() and (common := float(np.gcd.reduce(whole, axis=None))) >= smallest:
        return common, True
    return (smallest, False) if extra.any() else (max(spare, 1.0), True)
