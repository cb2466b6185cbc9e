"""Reconstruction: SparseGPT against a plain loop, ADMM by what it must reach and keep, and bad grams."""

import oracles
import pytest
import torch
from layer_problem import error, problem

from eggs_core import EggsError, NMPattern
from eggs_core.masks.degree_bound import min_degree_bound
from eggs_core.masks.selection import check_mask, select, topn
from eggs_core.pruning.permutation import lsa
from eggs_core.pruning.problem import LayerProblem
from eggs_core.pruning.reconstruction import admm, none, obs
from eggs_core.registry import DIMENSIONS

RECONSTRUCTIONS = {name: entry.load() for name, entry in DIMENSIONS["reconstruction"].entries.items()}

PATTERNS = ["1:4", "2:4", "3:4", "4:8"]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_obs_equals_sparsegpt(pattern):
    pattern = NMPattern.parse(pattern)
    weight, _, gram = problem(rows=6)
    expected, mask = oracles.sparsegpt(weight.tolist(), gram.tolist(), pattern.keep, pattern.group)
    got = obs(LayerProblem(weight, gram, pattern))
    assert got.mask.tolist() == mask.tolist()
    torch.testing.assert_close(got.weight, torch.tensor(expected).float(), rtol=1e-4, atol=1e-4)
    assert got.notes == []


def test_obs_equals_sparsegpt_with_a_given_mask():
    weight, _, gram = problem(rows=6)
    mask = topn(weight.abs(), NMPattern(2, 4))
    expected, _ = oracles.sparsegpt(weight.tolist(), gram.tolist(), 2, 4, mask.tolist())
    got = obs(LayerProblem(weight, gram, NMPattern(2, 4), mask))
    assert torch.equal(got.mask, mask)
    torch.testing.assert_close(got.weight, torch.tensor(expected).float(), rtol=1e-4, atol=1e-4)


def test_obs_passes_errors_on_across_sweeps():
    weight, _, gram = problem(rows=3, cols=160, tokens=800)  # more columns than one sweep takes
    expected, mask = oracles.sparsegpt(weight.tolist(), gram.tolist(), 2, 4)
    got = obs(LayerProblem(weight, gram, NMPattern(2, 4)))
    assert got.mask.tolist() == mask.tolist()
    torch.testing.assert_close(got.weight, torch.tensor(expected).float(), rtol=1e-4, atol=1e-4)


def test_obs_on_eight_weights_with_independent_inputs_is_topn():
    weight = torch.tensor([[1.0, -9.0, 3.0, 7.0, 5.0, -5.0, 5.0, 2.0]])
    got = obs(LayerProblem(weight, torch.eye(8), NMPattern(2, 4)))
    assert got.weight.tolist() == [[0, -9, 0, 7, 5, -5, 0, 0]]


def test_two_equal_inputs_share_their_weight():
    """By hand: y = 2a + b with a = b always, so keeping one of the two as 3 loses nothing (up to damping)."""
    weight, gram = torch.tensor([[2.0, 1.0]]), torch.ones(2, 2)
    for name in ("obs", "admm"):
        got = RECONSTRUCTIONS[name](LayerProblem(weight, gram, NMPattern(1, 2), torch.tensor([[False, True]])))
        torch.testing.assert_close(got.weight, torch.tensor([[0.0, 3.0]]), atol=0.2, rtol=0)
        assert any("singular" in note for note in got.notes)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_admm_comes_close_to_least_squares(pattern):
    pattern = NMPattern.parse(pattern)
    weight, x, gram = problem()
    mask = topn(weight.abs() * gram.diagonal().sqrt(), pattern)
    got = admm(LayerProblem(weight, gram, pattern, mask), ridge=0.0)
    assert torch.equal(got.mask, mask)
    assert got.weight[~mask].eq(0).all()
    best = torch.zeros_like(weight)
    for row, kept in enumerate(mask):
        best[row, kept] = torch.linalg.lstsq(x[:, kept], x @ weight[row]).solution
    lowest, plain = error(weight, best, x), error(weight, weight * mask, x)
    assert lowest <= error(weight, got.weight, x) * (1 + 1e-5)
    assert error(weight, got.weight, x) - lowest < 0.05 * (plain - lowest)
    assert error(weight, got.weight, x) < error(weight, obs(LayerProblem(weight, gram, pattern, mask)).weight, x)


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("selection", ["topn", "degree"])
def test_admm_that_chooses_the_mask_does_better_and_keeps_pattern_and_bound(pattern, selection):
    pattern = NMPattern.parse(pattern)
    weight, x, gram = problem(rows=64, cols=64)
    scores = weight.abs() * gram.diagonal().sqrt()
    perm = lsa(scores, pattern)
    beta = 0.75 if selection == "degree" else None

    def choose(scores):
        return select(scores[:, perm], pattern, selection, beta=beta).mask[:, perm.argsort()]

    mask = choose(scores)
    fixed = admm(LayerProblem(weight, gram, pattern, mask, permutation=perm))
    chosen = admm(LayerProblem(weight, gram, pattern, mask, choose=choose, permutation=perm))
    plain = error(weight, weight * mask, x)
    assert error(weight, chosen.weight, x) < 0.95 * error(weight, fixed.weight, x) < 0.9 * plain
    check_mask(chosen.mask[:, perm], pattern, "chosen")
    assert chosen.weight[~chosen.mask].eq(0).all()
    if selection == "degree":
        assert chosen.mask.sum(0).min() >= min_degree_bound(64, pattern, beta)


def test_the_ridge_saves_error_on_text_that_calibration_did_not_see():
    weight, x, _ = problem(tokens=2000)
    seen, unseen = x[:48], x[48:]
    mask = topn(weight.abs(), NMPattern(2, 4))
    free, held = (
        admm(LayerProblem(weight, seen.T @ seen / 48, NMPattern(2, 4), mask), ridge=r).weight for r in (0.0, 0.1)
    )
    assert error(weight, free, seen) < error(weight, held, seen)
    assert error(weight, held, unseen) < error(weight, free, unseen)


def test_obs_follows_the_permutation():
    weight, _, gram = problem()
    pattern = NMPattern(2, 4)
    perm = lsa(weight.abs() * gram.diagonal().sqrt(), pattern)
    got = obs(LayerProblem(weight, gram, pattern, permutation=perm))
    inside = obs(LayerProblem(weight[:, perm], gram[perm][:, perm], pattern))
    assert torch.equal(got.mask[:, perm], inside.mask)
    torch.testing.assert_close(got.weight[:, perm], inside.weight)


def test_a_target_of_other_activations_is_approached():
    """Wanted: Y = X' Wᵀ of other inputs X'; the target is Yᵀ X / tokens."""
    weight, x, gram = problem()
    other = x + 0.3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(9))
    wanted = other @ weight.T
    mask = topn(weight.abs(), NMPattern(2, 4))
    plain = admm(LayerProblem(weight, gram, NMPattern(2, 4), mask)).weight
    aimed = admm(LayerProblem(weight, gram, NMPattern(2, 4), mask, target=wanted.T @ x / len(x))).weight
    assert (x @ aimed.T - wanted).square().sum() < (x @ plain.T - wanted).square().sum()


@pytest.mark.parametrize("name", ["obs", "admm"])
def test_silent_channels_are_reported_and_harmless(name):
    weight, _, gram = problem()
    gram[5], gram[:, 5] = 0, 0
    mask = topn(weight.abs(), NMPattern(2, 4))
    got = RECONSTRUCTIONS[name](LayerProblem(weight, gram, NMPattern(2, 4), mask))
    assert torch.isfinite(got.weight).all()
    assert got.notes == ["1 of 32 input channels were silent during calibration"]
    if name == "admm":
        torch.testing.assert_close(got.weight[:, 5], (weight * mask)[:, 5])


@pytest.mark.parametrize("name", ["obs", "admm"])
def test_a_gram_of_too_few_tokens_is_reported(name):
    weight, x, _ = problem()
    few = x[:10]
    mask = topn(weight.abs(), NMPattern(2, 4))
    got = RECONSTRUCTIONS[name](LayerProblem(weight, few.T @ few / 10, NMPattern(2, 4), mask))
    assert torch.isfinite(got.weight).all()
    assert len(got.notes) == 1
    assert "singular" in got.notes[0]
    assert error(weight, got.weight, few) < error(weight, weight * mask, few)


def test_more_damping_is_reported():
    weight = torch.randn(24, 32, generator=torch.Generator().manual_seed(0))
    gram = torch.eye(32)
    gram[0, 1] = gram[1, 0] = 1.05  # no longer positive: its smallest eigenvalue is -0.05
    got = obs(LayerProblem(weight, gram, NMPattern(2, 4)))
    assert torch.isfinite(got.weight).all()
    assert any("needed damping by" in note for note in got.notes)


@pytest.mark.parametrize("name", ["obs", "admm"])
def test_bad_grams_are_refused(name):
    weight, _, gram = problem()
    mask = topn(weight.abs(), NMPattern(2, 4))
    method, pattern = RECONSTRUCTIONS[name], NMPattern(2, 4)
    for bad in (float("nan"), float("inf")):
        broken = gram.clone()
        broken[3, 3] = bad
        with pytest.raises(EggsError, match="NaN, infinite or negative"):
            method(LayerProblem(weight, broken, pattern, mask))
    with pytest.raises(EggsError, match=r"gram \(32, 32\); got none"):
        method(LayerProblem(weight, None, pattern, mask))
    with pytest.raises(EggsError, match=r"gram \(32, 32\); got \(8, 8\)"):
        method(LayerProblem(weight, gram[:8, :8], pattern, mask))
    indefinite = -gram
    indefinite.diagonal().copy_(gram.diagonal())
    with pytest.raises(EggsError, match="not positive"):
        method(LayerProblem(weight, 100 * indefinite + 1e4 * (1 - torch.eye(32)), pattern, mask))


@pytest.mark.parametrize("name", ["none", "admm"])
def test_a_mask_is_needed_and_checked(name):
    weight, _, gram = problem()
    with pytest.raises(EggsError, match="needs a mask"):
        RECONSTRUCTIONS[name](LayerProblem(weight, gram, NMPattern(2, 4)))
    with pytest.raises(EggsError, match="breaks 2:4"):
        RECONSTRUCTIONS[name](LayerProblem(weight, gram, NMPattern(2, 4), torch.ones(24, 32, dtype=torch.bool)))


def test_inputs_stay_as_they_are_and_half_precision_works():
    weight, _, gram = problem()
    mask = topn(weight.abs(), NMPattern(2, 4))
    before = weight.clone(), gram.clone(), mask.clone()
    for method in RECONSTRUCTIONS.values():
        assert method(LayerProblem(weight.half(), gram, NMPattern(2, 4), mask)).weight.dtype == torch.float32
        method(LayerProblem(weight, gram, NMPattern(2, 4), mask))
    assert all(torch.equal(a, b) for a, b in zip(before, (weight, gram, mask), strict=True))
    assert torch.equal(none(LayerProblem(weight, None, NMPattern(2, 4), mask)).weight, weight * mask)


def test_a_sensitivity_of_equal_rows_changes_nothing():
    weight, _, gram = problem()
    mask = topn(weight.abs(), NMPattern(2, 4))
    plain = admm(LayerProblem(weight, gram, NMPattern(2, 4), mask)).weight
    even = admm(LayerProblem(weight, gram, NMPattern(2, 4), mask, sensitivity=7.0 * torch.eye(len(weight)))).weight
    torch.testing.assert_close(even, plain, rtol=1e-3, atol=1e-4)


def test_rows_make_up_for_each_other_where_only_some_sums_of_outputs_matter():
    """G = Jᵀ J with few rows in J: the error that J lets through shrinks, that of the rows by themselves grows."""
    weight, x, gram = problem()
    reader = torch.randn(6, len(weight), generator=torch.Generator().manual_seed(5))
    mask = topn(weight.abs(), NMPattern(2, 4))
    plain, aimed = (
        admm(LayerProblem(weight, gram, NMPattern(2, 4), mask, sensitivity=g)).weight for g in (None, reader.T @ reader)
    )
    assert error(reader @ weight, reader @ aimed, x) < 0.8 * error(reader @ weight, reader @ plain, x)
    assert error(weight, aimed, x) > error(weight, plain, x)
    assert aimed[~mask].eq(0).all()
