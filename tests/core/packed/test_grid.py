"""Grids: rounding worked out by hand, scales, storage in few bits, and products with rounded values on every path."""

import pytest
import torch
from random_masks import paths, random_mask

from eggs_core.errors import EggsError
from eggs_core.packed.byte_counts import layer_bytes
from eggs_core.packed.grid import (
    Grid,
    best_scales,
    bits_per_weight,
    columns_per_scale,
    rounded_inputs,
    scales_per_row,
    values_per_scale,
)
from eggs_core.packed.kernel import library as kernels
from eggs_core.packed.linear import PackedLinear
from eggs_core.pattern import NMPattern

PATTERNS = ("2:4", "1:4", "3:4", "4:8", "2:8", "1:2", "8:16", "16:32", "5:7", "1:1", "4:4")


def packed(pattern: NMPattern, groups: int, out: int, bits: int, permuted: bool = False, dtype=torch.float32):
    """A packed layer of random rounded weights with a bias, and its weight with zeros."""
    columns = groups * pattern.group
    permutation = torch.randperm(columns) if permuted else None
    mask = random_mask(out, groups, pattern, permutation)
    count = scales_per_row(groups * pattern.keep, pattern)
    scales = None if bits == 16 else torch.randn(out, count).half()
    weight = torch.randn(out, columns).to(dtype)
    layer = PackedLinear.from_dense(
        weight, mask, pattern, torch.randn(out).to(dtype), permutation, grid=Grid(bits, scales)
    )
    return layer, weight, mask


def as_read(x, layer):
    """Inputs that the kernel reads as they are: rounding what is rounded already changes nothing."""
    if layer.scales is None:
        return x
    order = torch.arange(layer.in_features) if layer.permutation is None else layer.permutation.long()
    rounded = torch.empty_like(x)
    rounded[:, order] = rounded_inputs(x[:, order], columns_per_scale(layer.pattern))
    return rounded


def test_values_go_to_the_nearest_number_of_their_scale():
    grid = Grid(4, torch.tensor([[0.5], [-1.0]]).half())
    values = torch.tensor([[0.3, -4.6, 9.0, 0.0], [8.4, -6.6, -9.0, 0.5]])
    codes = grid.codes(values, NMPattern(1, 1))
    assert codes.tolist() == [[1, -8, 7, 0], [-8, 7, 7, 0]]  # a negative scale gives the largest value −8
    assert grid.values(codes, NMPattern(1, 1)).tolist() == [[0.5, -4.0, 3.5, 0.0], [8.0, -7.0, -7.0, 0.0]]


@pytest.mark.parametrize("bits", [8, 4, 3, 2])
def test_the_best_scale_is_no_worse_than_that_of_the_largest_value(bits):
    torch.manual_seed(0)
    values, weights = torch.randn(50, 32), torch.rand(32) + 0.1
    lowest = -(1 << (bits - 1))

    def error(scale):
        codes = (values / scale[:, None]).round().clamp(lowest, -lowest - 1)
        return (codes * scale[:, None] - values).square() @ weights

    best = best_scales(values, weights, bits)
    plain = values.abs().amax(1) / max(-lowest - 1, 1)
    assert torch.equal(best, best.half().float()) and (best != 0).all()
    assert (error(best) <= error(plain.half().float()) + 1e-4).all()
    assert best_scales(torch.zeros(1, 4), torch.ones(4), bits).tolist() == [1.0]


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("bits", [16, 8, 4, 3, 2])
def test_every_path_multiplies_rounded_values(pattern, bits):
    torch.manual_seed(0)
    pattern = NMPattern.parse(pattern)
    for groups, out, tokens, permuted in ((1, 1, 1, False), (40, 7, 3, True), (67, 18, 40, False)):
        layer, weight, mask = packed(pattern, groups, out, bits, permuted)
        x = as_read(torch.randn(tokens, groups * pattern.group), layer)
        with kernels.force_path("torch"):
            dense = layer.to_dense()
        assert not dense[~mask].any()
        assert bits < 16 or torch.equal(dense, (weight * mask).bfloat16().float())
        expected = x.double() @ dense.double().T + layer.bias.double()
        scale = x.double().abs() @ dense.double().abs().T + 1
        for path in paths():
            with kernels.force_path(path):
                assert torch.equal(layer.to_dense(), dense), path
                assert ((layer(x).double() - expected).abs() / scale).max() < 1e-5, (path, groups, tokens)
                assert ((layer(x[:1]).double() - expected[:1]).abs() / scale[:1]).max() < 1e-5, (path, groups)


def test_inputs_are_rounded_to_the_nearest_of_255_numbers():
    x = torch.tensor([[0.0, 1.0, -2.54, 0.011, 0.0, 0.0, 127.0, 63.4]])
    expected = torch.tensor([[0.0, 1.0, -2.54, 0.02, 0.0, 0.0, 127.0, 63.0]])
    assert torch.allclose(rounded_inputs(x, 4), expected, atol=1e-6)


@pytest.mark.parametrize("pattern", ["2:4", "3:4", "1:4", "5:7", "1:1"])
def test_every_path_rounds_inputs_alike(pattern):
    """Inputs of few tokens are rounded as the reference does it, those of many are not."""
    torch.manual_seed(0)
    pattern = NMPattern.parse(pattern)
    layer, _, _ = packed(pattern, 67, 18, 8, permuted=True)
    x = torch.randn(3, layer.in_features)
    expected = as_read(x, layer).double() @ layer.to_dense().double().T + layer.bias.double()
    for path in (path for path in paths() if path != "torch"):
        with kernels.force_path(path):
            assert torch.allclose(layer(x).double(), expected, rtol=1e-4, atol=1e-3), path
    many = torch.randn(40, layer.in_features)
    assert torch.allclose(layer(many), many @ layer.to_dense().T + layer.bias, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("bits", [8, 4])
def test_rounded_values_are_computed_with_in_bf16_too(bits):
    torch.manual_seed(0)
    layer, _, _ = packed(NMPattern(2, 4), 32, 9, bits, dtype=torch.bfloat16)
    x = as_read(torch.randn(2, 128).bfloat16(), layer)
    expected = x.float() @ layer.to_dense().float().T + layer.bias.float()
    assert layer(x).dtype == torch.bfloat16
    assert (layer(x).float() - expected).abs().max() < 0.02 * expected.abs().max()


def test_a_layer_keeps_its_scales_when_its_dtype_changes():
    layer, _, _ = packed(NMPattern(2, 4), 32, 8, 4)
    before, scales = layer.to_dense(), layer.scales.clone()
    layer.bfloat16()
    assert layer.dtype == torch.bfloat16 and layer.bias.dtype == torch.bfloat16
    assert layer.scales.dtype == torch.float16 and torch.equal(layer.scales, scales)
    layer.float()
    assert torch.equal(layer.to_dense(), before)


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("bits", [16, 8, 4, 3, 2])
def test_counted_bytes_are_those_of_the_tensors(pattern, bits):
    pattern = NMPattern.parse(pattern)
    layer, _, _ = packed(pattern, 96, 6, bits, permuted=True)
    values, positions, order, scales = layer_bytes((6, layer.in_features), pattern, 4, True, bits)
    assert (values, positions, order) == (layer.values.nbytes, layer.positions.nbytes, layer.permutation.nbytes)
    assert scales == (0 if layer.scales is None else layer.scales.nbytes)
    whole = 8 * (values + positions + scales) / (6 * layer.in_features)
    assert bits_per_weight(bits, pattern) <= whole + 1e-9 and whole < bits_per_weight(bits, pattern) + 3
    assert values_per_scale(pattern) % pattern.keep == 0 and values_per_scale(pattern) % 16 == 0


def test_scales_that_do_not_fit_are_refused():
    with pytest.raises(EggsError, match="scales of layer mine"):
        mask = torch.ones(2, 32, dtype=torch.bool)
        grid = Grid(4, torch.ones(2, 5).half())
        PackedLinear.from_dense(torch.ones(2, 32), mask, NMPattern(1, 1), name="mine", grid=grid)
