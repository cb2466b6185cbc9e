"""The multiple-choice knapsack, exact and by price, against every combination there is."""

import itertools
import math
import random

import numpy as np
import pytest

from eggs_core.allocation import knapsack
from eggs_core.allocation.knapsack import least_loss
from eggs_core.errors import EggsError


def problem(seed: int, items: int = 5, choices: int = 4):
    """Random losses that fall as costs rise, not always in step, and a budget between the cheapest and the dearest."""
    draw = random.Random(seed)
    costs = [sorted(float(draw.randint(1, 40)) for _ in range(choices)) for _ in range(items)]
    losses = [sorted((draw.random() for _ in range(choices)), reverse=True) for _ in range(items)]
    least, most = sum(map(min, costs)), sum(map(max, costs))
    return losses, costs, least + draw.random() * (most - least)


def by_hand(losses, costs, budget):
    """The least loss of all combinations within the budget."""
    best = math.inf
    for picks in itertools.product(*(range(len(row)) for row in losses)):
        if sum(row[k] for row, k in zip(costs, picks, strict=True)) <= budget:
            best = min(best, sum(row[k] for row, k in zip(losses, picks, strict=True)))
    return best


@pytest.mark.parametrize("seed", range(25))
def test_the_exact_solution_is_the_best_of_all_combinations(seed):
    losses, costs, budget = problem(seed)
    found = least_loss(losses, costs, budget)
    assert found.loss == pytest.approx(by_hand(losses, costs, budget), abs=1e-12)
    assert found.loss == pytest.approx(sum(row[k] for row, k in zip(losses, found.picks, strict=True)))
    assert found.cost == sum(row[k] for row, k in zip(costs, found.picks, strict=True)) <= budget
    assert found.gap == 0.0


@pytest.mark.parametrize("seed", range(25))
def test_costs_without_a_common_divisor_are_rounded_up_so_that_the_budget_holds(seed, monkeypatch):
    monkeypatch.setattr(knapsack, "MOST_STATES", 2000)
    losses, costs, budget = problem(seed)
    costs = [[cost + random.Random(seed + i).random() for i, cost in enumerate(row)] for row in costs]
    budget += 2.0
    found, best = least_loss(losses, costs, budget), by_hand(losses, costs, budget)
    assert found.cost <= budget
    assert found.bound <= best + 1e-12 and best <= found.loss + 1e-12
    assert found.loss <= best * 1.1


@pytest.mark.parametrize("seed", range(25))
def test_the_price_s_gap_holds_what_the_best_could_gain(seed, monkeypatch):
    monkeypatch.setattr(knapsack, "MOST_EXACT", 0)
    losses, costs, budget = problem(seed, items=6)
    found, best = least_loss(losses, costs, budget), by_hand(losses, costs, budget)
    assert found.cost <= budget
    assert found.bound <= best + 1e-12 and best <= found.loss + 1e-12
    assert (found.loss - best) / found.loss <= found.gap + 1e-12


def test_thousands_of_items_are_solved_by_price_within_the_budget():
    draw = np.random.default_rng(0)
    size = draw.integers(1, 20, (12_000, 1)) * 1000.0
    costs = size * [0.25, 0.375, 0.5, 0.75, 1.0]
    losses = draw.exponential(size=(12_000, 1)) * [3.0, 1.6, 1.0, 0.3, 0.0]
    budget = 0.5 * costs[:, -1].sum()
    found = least_loss(losses.tolist(), costs.tolist(), budget)
    assert found.cost <= budget and found.gap < 1e-3
    assert least_loss(losses.tolist(), costs.tolist(), budget) == found


def test_a_choice_that_an_item_does_not_have_is_never_taken():
    losses = [[0.0, 9.0], [0.0, 1.0]]
    costs = [[math.inf, 1.0], [2.0, 1.0]]
    assert least_loss(losses, costs, 3.0).picks == [1, 0]
    assert least_loss(losses, costs, 2.0).picks == [1, 1]


def test_of_equal_choices_the_cheaper_is_taken_and_all_of_a_large_budget_is_not_spent():
    found = least_loss([[1.0, 1.0, 2.0]], [[3.0, 2.0, 1.0]], 100.0)
    assert (found.picks, found.gap) == ([1], 0.0)


def test_a_budget_below_the_cheapest_choices_is_refused():
    with pytest.raises(EggsError, match="cheapest choices cost 2,"):
        least_loss([[0.0], [0.0]], [[1.0], [1.0]], 1.9)
