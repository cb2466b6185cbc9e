"""Scores: worked by hand, against plain loops, and on input that cannot be scored."""

import oracles
import pytest
import torch

from eggs_core import EggsError
from eggs_core.pruning.scores import magnitude, ria, score, wanda
from eggs_core.registry import DIMENSIONS

ENTRIES = DIMENSIONS["score"].entries
SCORES = {name: ENTRIES[name].load() for name in ("magnitude", "wanda", "ria")}
NEEDS_ACTIVATIONS = [name for name in SCORES if ENTRIES[name].sees_inputs]

WEIGHT = torch.tensor([[1.0, -2.0, 0.0, 4.0], [3.0, 2.0, 0.0, -4.0]])
NORMS = torch.tensor([4.0, 1.0, 9.0, 0.25])


def test_eight_weights_by_hand():
    assert magnitude(WEIGHT).tolist() == [[1, 2, 0, 4], [3, 2, 0, 4]]
    assert wanda(WEIGHT, NORMS).tolist() == [[4, 2, 0, 1], [12, 2, 0, 1]]
    # column sums 4 4 0 8, row sums 7 9, square roots of the norms 2 1 3 0.5
    by_hand = [
        [(1 / 4 + 1 / 7) * 2, (2 / 4 + 2 / 7) * 1, 0, (4 / 8 + 4 / 7) * 0.5],
        [(3 / 4 + 3 / 9) * 2, (2 / 4 + 2 / 9) * 1, 0, (4 / 8 + 4 / 9) * 0.5],
    ]
    torch.testing.assert_close(ria(WEIGHT, NORMS), torch.tensor(by_hand))


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_equals_the_published_formula(name, dtype):
    generator = torch.Generator().manual_seed(3)
    weight = torch.randn(13, 24, generator=generator).to(dtype)
    norms = torch.rand(24, generator=generator) * 5
    exact = weight.double().tolist()
    args = (exact, norms.double().tolist()) if name in NEEDS_ACTIVATIONS else (exact,)
    expected = torch.tensor(getattr(oracles, name)(*args))
    got = score(name, weight, norms)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, expected.float(), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", SCORES)
def test_zero_rows_and_columns_score_zero(name):
    weight = WEIGHT.clone()
    weight[0] = 0
    scores = SCORES[name](weight, NORMS)
    assert torch.isfinite(scores).all()
    assert scores[0].eq(0).all()
    assert scores[:, 2].eq(0).all()


def test_silent_channels_score_zero():
    assert ria(WEIGHT, torch.zeros(4)).eq(0).all()
    assert wanda(WEIGHT, torch.zeros(4)).eq(0).all()


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_weight_that_is_not_finite_is_refused(name, bad):
    weight = WEIGHT.clone()
    weight[1, 2] = bad
    with pytest.raises(EggsError, match=r"\(2, 4\) holds 1 NaN or infinite"):
        SCORES[name](weight, NORMS)


@pytest.mark.parametrize("name", sorted(NEEDS_ACTIVATIONS))
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -1.0])
def test_a_norm_that_is_not_finite_is_refused_by_channel(name, bad):
    norms = NORMS.clone()
    norms[3] = bad
    with pytest.raises(EggsError, match="channel 3"):
        SCORES[name](WEIGHT, norms)


@pytest.mark.parametrize("name", sorted(NEEDS_ACTIVATIONS))
def test_missing_or_misshapen_norms_are_refused(name):
    with pytest.raises(EggsError, match="calibration"):
        SCORES[name](WEIGHT, None)
    with pytest.raises(EggsError, match=r"\(4,\); got \(3,\)"):
        SCORES[name](WEIGHT, torch.ones(3))


def test_unknown_score_names_the_known_ones():
    with pytest.raises(EggsError, match="magnitude, wanda, ria"):
        score("taylor", WEIGHT)


def test_large_half_precision_weights_do_not_overflow():
    weight = torch.full((64, 64), 60000.0, dtype=torch.float16)
    assert torch.isfinite(ria(weight, torch.ones(64))).all()


def test_only_matrices_are_scored():
    with pytest.raises(EggsError, match="matrix"):
        magnitude(torch.ones(4))
