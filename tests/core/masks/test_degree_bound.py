"""Degree-bounded selection: exact against linear programming, and certified by its prices."""

import hypothesis.strategies as st
import oracles
import pytest
import torch
from hypothesis import given, settings
from strategies import problems

from eggs_core import EggsError, NMPattern
from eggs_core.masks.degree_bound import degree_mask, min_degree_bound
from eggs_core.masks.selection import FLOOR, auto_beta, check_mask, degree, retained_score, topn


@settings(max_examples=120, deadline=None)
@given(problems(), st.sampled_from([0.0, 0.1, 0.37, 0.5, 0.9, 1.0]))
def test_degree_is_exact_and_keeps_its_bound(problem, beta):
    scores, pattern = problem
    bound = min_degree_bound(scores.shape[0], pattern, beta)
    mask = degree(scores, pattern, beta)
    check_mask(mask, pattern, "test")
    assert mask.sum(0).min() >= bound
    best = oracles.degree_optimum(scores.tolist(), pattern.keep, pattern.group, bound)
    assert retained_score(scores, mask) == pytest.approx(best, rel=1e-6, abs=1e-6)
    assert torch.equal(mask, degree(scores, pattern, beta))


@pytest.mark.parametrize(("keep", "group"), [(1, 4), (2, 4), (3, 4), (4, 8), (16, 32)])
@pytest.mark.parametrize("rows", [64, 65, 190])
def test_degree_at_scale_is_exact(keep, group, rows):
    generator = torch.Generator().manual_seed(rows)
    scores = torch.randn(rows, 2 * group, generator=generator).abs()
    scores *= torch.randn(2 * group, generator=generator).mul(2).exp()
    pattern = NMPattern(keep, group)
    mask = degree(scores, pattern, 1.0)
    bound = min_degree_bound(rows, pattern, 1.0)
    assert mask.sum(0).min() >= bound
    best = oracles.degree_optimum(scores.tolist(), keep, group, bound)
    assert retained_score(scores, mask) == pytest.approx(best, rel=1e-6)


def test_full_bound_is_a_biregular_graph():
    scores = torch.rand(64, 32, generator=torch.Generator().manual_seed(1)) * torch.arange(1, 33)
    assert (degree(scores, NMPattern(2, 4), 1.0).sum(0) == 32).all()


def test_prices_certify_the_mask():
    """The mask is a best topn(S + λ), and a price is paid only where the bound is met: that proves the optimum."""
    generator = torch.Generator().manual_seed(5)
    scores = torch.rand(96, 16, generator=generator).double() * torch.randn(16, generator=generator).exp().double()
    mask, prices = degree_mask(scores, NMPattern(2, 4), 30)
    assert (prices >= 0).all()
    assert (mask.sum(0)[prices.view(-1) > 1e-12] == 30).all()
    priced = scores + prices.view(1, -1)
    assert retained_score(priced, mask) == pytest.approx(retained_score(priced, topn(priced, NMPattern(2, 4))))


def test_prices_of_a_smaller_bound_lead_to_the_same_optimum():
    scores = torch.rand(96, 16, generator=torch.Generator().manual_seed(6)).double() * torch.arange(1, 17)
    _, prices = degree_mask(scores, NMPattern(2, 4), 20)
    warm, _ = degree_mask(scores, NMPattern(2, 4), 40, prices)
    cold, _ = degree_mask(scores, NMPattern(2, 4), 40)
    assert retained_score(scores, warm) == pytest.approx(retained_score(scores, cold))


def test_a_bound_that_no_mask_meets_is_refused():
    with pytest.raises(EggsError, match="4 rows at 2:4 cannot give every input channel 3"):
        degree_mask(torch.rand(4, 4), NMPattern(2, 4), 3)


@pytest.mark.parametrize("beta", [-0.1, 1.1, float("nan")])
def test_beta_outside_its_range_is_refused(beta):
    with pytest.raises(EggsError, match="between 0 and 1"):
        degree(torch.rand(4, 4), NMPattern(2, 4), beta)


def test_bound_does_not_lose_a_weight_to_rounding():
    assert min_degree_bound(100, NMPattern(1, 1), 0.29) == 29
    assert min_degree_bound(7, NMPattern(2, 4), 1.0) == 3
    assert min_degree_bound(576, NMPattern(2, 4), 0.25) == 72


def test_auto_beta_keeps_the_share_and_no_larger_beta_does():
    generator = torch.Generator().manual_seed(2)
    scores = torch.randn(128, 64, generator=generator).abs() * torch.randn(64, generator=generator).mul(0.3).exp()
    pattern = NMPattern(2, 4)
    mask, beta = auto_beta(scores, pattern)
    best = retained_score(scores, topn(scores, pattern))
    assert 0 < beta < 1
    assert retained_score(scores, mask) >= FLOOR * best
    assert retained_score(scores, degree(scores, pattern, beta + 1 / 64)) < FLOOR * best
    assert mask.sum(0).min() >= min_degree_bound(128, pattern, beta)
    assert auto_beta(scores, pattern, floor=0.0)[1] == 1.0
