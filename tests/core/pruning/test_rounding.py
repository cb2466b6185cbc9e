"""Rounding: the sweep against a plain loop, what it must keep, and that passing errors on pays."""

import pytest
import torch
from layer_problem import error, problem

from eggs_core import NMPattern
from eggs_core.config import make_config
from eggs_core.masks.selection import check_mask, topn
from eggs_core.packed.grid import best_scales, values_per_scale
from eggs_core.packed.linear import PackedLinear
from eggs_core.pruning.activations import InputStatistics
from eggs_core.pruning.loop import prune_weight
from eggs_core.pruning.problem import LayerProblem
from eggs_core.pruning.reconstruction import none, obs
from eggs_core.pruning.rounding import rounded, to_bf16

P24 = NMPattern(2, 4)


def plain_sweep(weight, gram, mask, bits, span):
    """The sweep column by column in fp64, each error passed on at once."""
    work, gram = weight.double().clone(), gram.double()
    damped = gram + 0.01 * gram.diagonal().mean() * torch.eye(len(gram))
    factor = torch.linalg.cholesky(torch.linalg.inv(damped), upper=True)
    lowest = -(1 << (bits - 1))
    for i in range(weight.shape[1]):
        if i % span == 0:
            part = slice(i, i + span)
            kept, sizes = work[:, part] * mask[:, part], factor.diagonal()[part] ** -2
            scale = best_scales(kept.float(), sizes.float(), bits).double()
        new = (work[:, i] / scale).round().clamp(lowest, -lowest - 1) * scale * mask[:, i]
        work[:, i:] -= (work[:, i] - new)[:, None] / factor[i, i] * factor[i, i:]
        work[:, i] = new
    return work.float()


@pytest.mark.parametrize("bits", [8, 4, 2])
def test_the_sweep_equals_a_plain_loop(bits):
    weight, _, gram = problem(rows=5, cols=192, tokens=800)  # three scales a row, and more than one block of columns
    mask = topn(weight.abs(), P24)
    got = obs(LayerProblem(weight, gram, P24, mask, bits=bits))
    torch.testing.assert_close(got.weight, plain_sweep(weight, gram, mask, bits, 64), rtol=1e-3, atol=1e-4)
    assert torch.equal(got.mask, mask) and got.grid is not None and got.grid.scales.shape == (5, 3)


@pytest.mark.parametrize("pattern", ["1:1", "2:4", "3:4", "1:4", "4:8"])
@pytest.mark.parametrize("bits", [8, 4, 3, 2])
def test_every_kept_weight_is_a_number_of_the_grid(pattern, bits):
    pattern = NMPattern.parse(pattern)
    weight, _, gram = problem(cols=96)
    found = obs(LayerProblem(weight, gram, pattern, bits=bits))
    check_mask(found.mask, pattern, "the test")
    assert found.grid.bits == bits and found.grid.scales.dtype == torch.float16
    packed = PackedLinear.from_dense(found.weight, found.mask, pattern, grid=found.grid)
    assert torch.equal(packed.to_dense(), found.weight)
    kept = 96 // pattern.group * pattern.keep
    assert found.grid.scales.shape == (24, -(-kept // values_per_scale(pattern)))


def test_passing_errors_on_is_better_than_rounding_alone():
    weight, x, gram = problem(cols=128)
    mask = torch.ones_like(weight, dtype=torch.bool)
    found = obs(LayerProblem(weight, gram, NMPattern(1, 1), mask, bits=3))
    codes = found.grid.codes(weight, NMPattern(1, 1))
    alone = found.grid.values(codes, NMPattern(1, 1))
    assert error(weight, found.weight, x) < 0.8 * error(weight, alone, x)


def test_fewer_bits_are_worse():
    weight, x, gram = problem(cols=128)
    errors = [error(weight, obs(LayerProblem(weight, gram, P24, bits=b)).weight, x) for b in (None, 8, 4, 3, 2)]
    assert errors[1] < 1.02 * errors[0] and errors[1:] == sorted(errors[1:])


def test_a_finished_reconstruction_is_rounded_in_its_own_order_under_its_own_mask():
    weight, _, gram = problem(cols=128)
    order = torch.randperm(128)
    mask = torch.empty_like(weight, dtype=torch.bool)
    mask[:, order] = topn(weight.abs()[:, order], P24)
    given = LayerProblem(weight, gram, P24, mask, permutation=order)
    found = rounded(given, none(given), 4)
    assert torch.equal(found.mask, mask)
    packed = PackedLinear.from_dense(found.weight, mask, P24, permutation=order, grid=found.grid)
    assert torch.equal(packed.to_dense(), found.weight)


def test_sixteen_bits_are_bf16_and_need_no_gram():
    weight, _, _ = problem()
    given = LayerProblem(weight, None, P24, topn(weight.abs(), P24))
    found = to_bf16(given, none(given))
    assert torch.equal(found.weight, none(given).weight.bfloat16().float()) and found.grid.scales is None


@pytest.mark.parametrize("method", ["magnitude", "sparsegpt", "eggs-ptp-plus"])
def test_every_method_rounds_and_silent_channels_do_not_matter(method):
    weight, x, _ = problem(rows=24, cols=96)
    x[:, 5] = 0
    statistics = InputStatistics.empty(96, x.device, True)
    statistics.update(x)
    pruned = prune_weight(weight, statistics, make_config("tiny-llama", "2:4", method, values="int4"))
    assert pruned.weight.isfinite().all() and pruned.grid.bits == 4
    packed = PackedLinear.from_dense(pruned.weight, pruned.mask, P24, permutation=pruned.permutation, grid=pruned.grid)
    assert torch.equal(packed.to_dense(), pruned.weight)
