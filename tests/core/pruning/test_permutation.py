"""Permutations: what they must keep, what they gain, and that the model's function does not change."""

import itertools

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from eggs_core import EggsError, NMPattern
from eggs_core.masks.selection import check_mask, retained_score, select, topn
from eggs_core.pruning.permutation import lsa, zigzag
from eggs_core.registry import DIMENSIONS

PERMUTATIONS = {name: entry.load() for name, entry in DIMENSIONS["permutation"].entries.items()}


def random_scores(rows, cols, seed=0):
    generator = torch.Generator().manual_seed(seed)
    spread = torch.randn(cols, generator=generator).mul(0.7).exp()
    return torch.randn(rows, cols, generator=generator).abs() * spread


def retained(scores, perm, pattern):
    grouped = scores if perm is None else scores[:, perm]
    return retained_score(grouped, topn(grouped, pattern))


def test_eight_columns_are_dealt_out_in_a_zigzag():
    scores = torch.tensor([[3.0, 8.0, 1.0, 6.0, 5.0, 4.0, 7.0, 2.0]])
    # best first: 1 6 3 4 5 0 7 2; to groups a b b a a b b a
    assert zigzag(scores, NMPattern(2, 4)).tolist() == [1, 4, 5, 2, 6, 3, 0, 7]
    # four groups of two: 1 6 3 4 forwards, 5 0 7 2 backwards
    assert zigzag(scores, NMPattern(1, 2)).tolist() == [1, 2, 6, 7, 3, 0, 4, 5]


def test_equal_columns_are_dealt_in_their_order():
    assert zigzag(torch.ones(2, 8), NMPattern(2, 4)).tolist() == [0, 3, 4, 7, 1, 2, 5, 6]


def test_lsa_finds_the_best_grouping_of_four_columns():
    scores = torch.tensor([[9.0, 8.0, 1.0, 1.0], [1.0, 9.0, 7.0, 1.0]])
    pattern = NMPattern(1, 2)
    best = max(retained(scores, list(order), pattern) for order in itertools.permutations(range(4)))
    assert retained(scores, lsa(scores, pattern), pattern) == best


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([(1, 4), (2, 4), (3, 4), (4, 4), (4, 8), (1, 2), (8, 32)]),
    st.integers(1, 6),
    st.integers(1, 20),
    st.integers(0, 2**20),
    st.sampled_from(["zigzag", "lsa"]),
)
def test_every_column_appears_once_and_always_the_same(pattern, groups, rows, seed, name):
    pattern = NMPattern(*pattern)
    scores = random_scores(rows, groups * pattern.group, seed)
    perm = PERMUTATIONS[name](scores, pattern)
    assert perm.dtype == torch.int64
    assert perm.sort().values.tolist() == list(range(scores.shape[1]))
    assert torch.equal(perm, PERMUTATIONS[name](scores, pattern))


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([(1, 4), (2, 4), (3, 4), (4, 8)]), st.integers(2, 8), st.integers(0, 2**20))
def test_lsa_retains_at_least_what_zigzag_does(pattern, groups, seed):
    pattern = NMPattern(*pattern)
    scores = random_scores(16, groups * pattern.group, seed)
    start = retained(scores, zigzag(scores, pattern), pattern)
    once = retained(scores, lsa(scores, pattern), pattern)
    assert once >= start * (1 - 1e-6)
    assert retained(scores, lsa(scores, pattern, sweeps=3), pattern) >= once * (1 - 1e-6)


def test_lsa_gains_on_a_real_size_and_blocks_cost_little():
    pattern = NMPattern(2, 4)
    scores = random_scores(96, 256)
    plain, dealt, found, blocks = (
        retained(scores, perm, pattern)
        for perm in (None, zigzag(scores, pattern), lsa(scores, pattern), lsa(scores, pattern, block_groups=16))
    )
    assert plain < dealt < blocks <= found * 1.001
    assert found - dealt > 0.25 * (dealt - plain)
    assert blocks - dealt > 0.5 * (found - dealt)


@pytest.mark.parametrize("name", PERMUTATIONS)
@pytest.mark.parametrize("selection", ["topn", "diagonal", "degree"])
def test_permuted_and_unpermuted_layer_compute_the_same(name, selection):
    generator = torch.Generator().manual_seed(0)
    weight, x = torch.randn(24, 32, generator=generator), torch.randn(5, 32, generator=generator)
    pattern = NMPattern(2, 4)
    perm = PERMUTATIONS[name](weight.abs(), pattern)
    perm = torch.arange(32) if perm is None else perm
    grouped = select(weight.abs()[:, perm], pattern, selection).mask
    check_mask(grouped, pattern, "grouped")
    mask = grouped[:, perm.argsort()]
    torch.testing.assert_close(x @ (weight * mask).T, x[:, perm] @ (weight[:, perm] * grouped).T)


def test_no_permutation_is_none():
    assert PERMUTATIONS["none"](torch.rand(2, 4), NMPattern(2, 4)) is None


@pytest.mark.parametrize("name", PERMUTATIONS)
def test_bad_scores_are_refused(name):
    with pytest.raises(EggsError, match="in_features divisible by 4"):
        PERMUTATIONS[name](torch.rand(4, 6), NMPattern(2, 4))
    with pytest.raises(EggsError, match="NaN"):
        PERMUTATIONS[name](torch.full((4, 8), float("nan")), NMPattern(2, 4))


def test_equal_scores_are_no_problem():
    assert lsa(torch.zeros(4, 16), NMPattern(2, 4)).sort().values.tolist() == list(range(16))
