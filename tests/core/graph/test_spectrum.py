"""σ₂ against numpy's dense SVD, and the null that a spectral gap is compared with."""

from dataclasses import asdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eggs_core.graph.measures import measure
from eggs_core.graph.spectrum import (
    null_gap,
    ramanujan_sigma,
    second_singular_value,
    singular_density,
    singular_values,
    verified_sigma2,
)
from eggs_core.masks.selection import degree, diagonal, topn
from eggs_core.pattern import NMPattern

pytestmark = pytest.mark.usefixtures("one_thread")

PATTERNS = ("1:4", "2:4", "3:4", "2:8", "4:8", "1:2", "1:32", "4:4")


def dense_sigma2(matrix) -> float:
    """The definition, with numpy in fp64: normalise what has edges, and take the second singular value."""
    a = np.asarray(matrix, dtype=np.float64)
    a = a[a.sum(1) > 0][:, a.sum(0) > 0]
    if min(a.shape) < 2:
        return 0.0
    a = a / np.sqrt(a.sum(1, keepdims=True) * a.sum(0))
    return float(np.linalg.svd(a, compute_uv=False)[1])


def random_mask(out: int, groups: int, text: str, seed: int) -> torch.Tensor:
    pattern = NMPattern.parse(text)
    scores = torch.rand(out, groups * pattern.group, generator=torch.Generator().manual_seed(seed))
    return topn(scores, pattern)


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 70), st.integers(1, 12), st.sampled_from(PATTERNS), st.integers(0, 9))
def test_random_masks(out, groups, text, seed):
    mask = random_mask(out, groups, text, seed)
    assert second_singular_value(mask).item() == pytest.approx(dense_sigma2(mask), abs=1e-4)


@pytest.mark.parametrize("shape", [(96, 192), (256, 96), (37, 256)])
@pytest.mark.parametrize("text", ["1:4", "4:8"])
def test_layer_sized_masks_of_every_selection(shape, text):
    pattern = NMPattern.parse(text)
    scores = torch.rand(*shape) * torch.rand(shape[1]).square()  # some columns hardly ever win
    for mask in (topn(scores, pattern), diagonal(scores, pattern), degree(scores, pattern, 0.5)):
        assert second_singular_value(mask).item() == pytest.approx(dense_sigma2(mask), abs=1e-4)


@pytest.mark.parametrize("parts", [2, 3, 8])
def test_disconnected_graphs_have_sigma2_one(parts):
    mask = torch.block_diag(*[torch.ones(5, 4) for _ in range(parts)]).bool()
    assert second_singular_value(mask).item() == pytest.approx(1, abs=1e-6)


def test_parts_of_different_size():
    mask = torch.block_diag(torch.ones(60, 8), random_mask(300, 20, "2:4", 0).float(), torch.ones(1, 2))
    assert second_singular_value(mask).item() == pytest.approx(1, abs=1e-4)


def test_a_thin_bridge_between_two_halves():
    mask = torch.block_diag(random_mask(80, 20, "2:4", 1), random_mask(80, 20, "2:4", 2)).bool()
    mask[0, 80] = True
    assert second_singular_value(mask).item() == pytest.approx(dense_sigma2(mask), abs=1e-4)


def test_orphans_do_not_count():
    mask = random_mask(40, 10, "2:4", 3)
    mask[:, [0, 7, 30]] = False
    mask[5] = False
    assert second_singular_value(mask).item() == pytest.approx(dense_sigma2(mask), abs=1e-4)
    inside = mask[mask.any(1)][:, mask.any(0)]
    assert second_singular_value(mask).item() == pytest.approx(second_singular_value(inside).item(), abs=1e-5)


def test_one_row_and_all_rows_alike_mix_at_once():
    assert second_singular_value(random_mask(1, 8, "2:4", 0)).item() == 0
    assert second_singular_value(random_mask(1, 1, "1:4", 0)).item() == 0
    alike = random_mask(1, 16, "2:4", 0).expand(50, -1)  # half of the columns are orphans
    assert second_singular_value(alike).item() == pytest.approx(0, abs=1e-3)


def test_no_edges_at_all():
    assert second_singular_value(torch.zeros(6, 8, dtype=torch.bool)).item() == 0


def test_full_matrix_and_identity():
    assert second_singular_value(torch.ones(9, 7)).item() == pytest.approx(0, abs=1e-3)
    assert second_singular_value(torch.eye(7)).item() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("shape", [(64, 96), (96, 64)])
def test_weighted(shape):
    weights = torch.rand(*shape).square() * topn(torch.rand(*shape), NMPattern(2, 4))
    assert second_singular_value(weights).item() == pytest.approx(dense_sigma2(weights), abs=1e-4)


def test_a_batch_is_its_members():
    masks = torch.stack([random_mask(30, 10, "2:4", s) for s in range(4)])
    single = torch.stack([second_singular_value(m) for m in masks])
    assert torch.allclose(second_singular_value(masks), single, atol=1e-5)


def test_the_order_of_channels_does_not_matter():
    mask = random_mask(50, 12, "2:4", 5)
    shuffled = mask[torch.randperm(50)][:, torch.randperm(48)]
    assert second_singular_value(shuffled).item() == pytest.approx(second_singular_value(mask).item(), abs=1e-4)


def test_all_singular_values():
    mask = random_mask(24, 6, "2:4", 6)
    values = singular_values(mask)
    assert values.shape == (24,)
    assert values[0].item() == pytest.approx(1, abs=1e-5)
    assert values[1].item() == pytest.approx(dense_sigma2(mask), abs=1e-5)


def test_the_null_is_deterministic_and_that_of_random_masks():
    null_gap.cache_clear()
    state = torch.get_rng_state()
    first = null_gap((48, 64), NMPattern(2, 4))
    null_gap.cache_clear()
    assert null_gap((48, 64), NMPattern(2, 4)) == first
    assert torch.equal(torch.get_rng_state(), state)
    mean, std = first
    gaps = [1 - dense_sigma2(random_mask(48, 16, "2:4", 100 + s)) for s in range(20)]
    assert abs(np.mean(gaps) - mean) < 4 * std / 20**0.5 + 1e-4
    assert 0 < std < mean
    assert null_gap((48, 64), NMPattern(2, 4), seed=1) != first


def test_big_shapes_are_drawn_one_by_one_to_the_same_end():
    """Splitting the batch of random masks must not repeat them."""
    _, std = null_gap((1200, 1000), NMPattern(2, 4), samples=3)
    assert std > 0


def test_ramanujan_edge():
    assert ramanujan_sigma(2, 2) == pytest.approx(1)  # a cycle never beats it
    assert ramanujan_sigma(8, 8) == pytest.approx(2 * 7**0.5 / 8)
    assert ramanujan_sigma(0.5, 0) == 0


def test_the_density_is_that_of_all_singular_values():
    mask = random_mask(60, 20, "2:4", 4)
    density = singular_density(mask, 20)
    assert density.exact and density.shares.sum() == pytest.approx(1)
    assert density.shares[-1] == pytest.approx(1 / 60)  # σ₁ = 1 alone
    assert density.shares[: int(20 * dense_sigma2(mask)) + 1].sum() == pytest.approx(59 / 60)


def test_the_estimated_density_follows_the_exact_one():
    mask = random_mask(600, 200, "2:4", 4)
    exact = singular_density(mask, 20)
    estimate = singular_density(mask, 20, exact_up_to=0)
    assert exact.exact and not estimate.exact
    assert estimate.shares.sum() == pytest.approx(1, abs=1e-3)
    assert abs(estimate.shares.cumsum() - exact.shares.cumsum()).max() < 0.03


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 70), st.integers(1, 12), st.sampled_from(PATTERNS), st.integers(0, 9))
def test_the_verified_bound_lies_above_and_close(out, groups, text, seed):
    mask = random_mask(out, groups, text, seed)
    exact = dense_sigma2(mask)
    bound = verified_sigma2(mask, second_singular_value(mask).item())
    assert exact <= bound + 1e-9
    assert bound == 1 or bound <= exact + 3e-4


def test_a_sigma2_that_is_too_small_is_not_verified():
    mask = random_mask(96, 32, "2:4", 0)
    exact = dense_sigma2(mask)
    assert verified_sigma2(mask, exact - 0.005) > exact  # a wider slack, but never below the truth
    assert verified_sigma2(mask, exact / 2) == 1
    assert verified_sigma2(torch.block_diag(torch.ones(4, 4), torch.ones(4, 4)).bool(), 1.0) == 1


@pytest.mark.gpu
@pytest.mark.parametrize(("out", "groups"), [(96, 32), (300, 128)])
def test_cuda_finds_the_same(out, groups):
    mask = random_mask(out, groups, "2:4", 0).bool()
    assert second_singular_value(mask.cuda()).item() == pytest.approx(second_singular_value(mask).item(), abs=1e-4)
    there, here = (asdict(measure(m, NMPattern(2, 4))) for m in (mask.cuda(), mask))
    for name, value in here.items():
        assert there[name] == pytest.approx(value, abs=0.05 if name == "gap_z" else 1e-3), name
