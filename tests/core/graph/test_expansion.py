"""Sets of channels, spreading signal and reach across layers: by hand, and against the certificate."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eggs_core.errors import EggsError
from eggs_core.graph.expansion import (
    SIDES,
    chains,
    expansion,
    expansion_curve,
    lowest_degree_set,
    neighbours_of_prefixes,
    paths_through,
    random_set,
    spread,
    worst_set,
)
from eggs_core.graph.measures import summarize
from eggs_core.graph.spectrum import second_singular_value
from eggs_core.masks.selection import degree, topn
from eggs_core.pattern import NMPattern

pytestmark = pytest.mark.usefixtures("one_thread")
HAND = torch.tensor([[1, 1, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0]]).bool()  # input 3 is an orphan

masks = st.tuples(
    st.integers(1, 40), st.integers(1, 8), st.sampled_from(["1:4", "2:4", "3:4", "2:8"]), st.integers(0, 999)
)


def drawn(out: int, groups: int, text: str, seed: int) -> torch.Tensor:
    pattern = NMPattern.parse(text)
    scores = torch.rand(out, groups * pattern.group, generator=torch.Generator().manual_seed(seed))
    return degree(scores, pattern, 0.5) if seed % 2 else topn(scores, pattern)


def test_sets_by_hand():
    everybody = torch.arange(4)
    assert expansion(HAND, "inputs", torch.tensor([1, 2]), 0.5).neighbours == 3
    assert expansion(HAND, "inputs", torch.tensor([3]), 0.5).ratio == 0
    assert expansion(HAND, "outputs", torch.tensor([0, 1]), 0.5).ratio == 1
    assert expansion(HAND, "inputs", torch.tensor([], dtype=torch.int64), 0.5).ratio == 0
    assert lowest_degree_set(HAND, "inputs", everybody, 2).tolist() == [3, 2]
    assert worst_set(HAND, "inputs", everybody, 3).tolist() == [3, 2, 0]  # 0 and 1 add two each: the first
    assert neighbours_of_prefixes(HAND, "inputs", torch.tensor([3, 2, 1, 0])).tolist() == [0, 1, 3, 3]
    assert worst_set(HAND, "outputs", torch.arange(3), 9).tolist() == [0, 1, 2]


def test_the_greedy_search_finds_the_planted_worst_set():
    """Eight inputs that share one pair of rows, among inputs that are spread over all rows."""
    mask = torch.rand(60, 40, generator=torch.Generator().manual_seed(3)) < 0.5
    mask[:, 5:13] = False
    mask[:2, 5:13] = True
    assert sorted(worst_set(mask, "inputs", torch.arange(40), 8).tolist()) == list(range(5, 13))


def test_a_random_set_has_distinct_members_and_follows_its_seed():
    channels = torch.arange(100, 130)
    first = random_set(channels, 10, 0)
    assert len(set(first.tolist())) == 10 and set(first.tolist()) <= set(channels.tolist())
    assert torch.equal(first, random_set(channels, 10, 0)) and not torch.equal(first, random_set(channels, 10, 1))


@settings(max_examples=60, deadline=None)
@given(masks, st.sampled_from(SIDES))
def test_no_set_found_falls_below_the_certificate(shape, side):
    mask = drawn(*shape)
    sigma2 = second_singular_value(mask).item()
    for point in expansion_curve(mask, side, sigma2, seed=shape[3]):
        assert point.certificate <= point.worst_found * (1 + 1e-4) + 1e-6
        assert point.worst_found <= point.random_min <= point.random_mean + 1e-9
        assert point.worst_found <= point.lowest_degree


@settings(max_examples=40, deadline=None)
@given(masks, st.sampled_from(SIDES), st.integers(1, 10))
def test_prefixes_count_as_sets_do(shape, side, size):
    mask = drawn(*shape)
    matrix = mask if side == "inputs" else mask.T
    order = torch.randperm(matrix.shape[1], generator=torch.Generator().manual_seed(1))[:size]
    for k, count in enumerate(neighbours_of_prefixes(mask, side, order).tolist()):
        assert count == int(matrix[:, order[: k + 1]].any(1).sum())


@settings(max_examples=60, deadline=None)
@given(masks, st.sampled_from(SIDES), st.integers(1, 5))
def test_every_step_of_a_spread_contracts_by_sigma2(shape, side, count):
    mask = drawn(*shape)
    matrix = mask if side == "inputs" else mask.T
    connected = matrix.any(0).nonzero()[:, 0]
    sources = random_set(connected, count, shape[3])
    sigma2 = second_singular_value(mask).item()
    steps = spread(mask, side, sources, 6)
    for before, after in itertools.pairwise(steps):
        assert after.side != before.side
        assert after.amounts.sum().item() == pytest.approx(1)  # nothing gets lost where there are edges
        assert after.distance <= (sigma2 + 1e-3) * before.distance + 1e-9
        assert after.uneven <= before.uneven + 1e-9


def test_a_signal_on_an_orphan_gets_lost():
    steps = spread(HAND, "inputs", torch.tensor([3]), 2)
    assert steps[0].amounts.sum() == 1
    assert steps[1].amounts.sum() == 0 and steps[1].uneven == pytest.approx(0.5)


def test_a_spread_by_hand():
    steps = spread(HAND, "inputs", torch.tensor([1]), 2)
    assert steps[1].amounts.tolist() == [0.5, 0.5, 0]
    assert steps[2].amounts.tolist() == [0.5, 0.5, 0, 0]


def test_a_layer_of_one_row_and_an_empty_one():
    one = torch.tensor([[True, True, False, False]])
    assert [p.worst_found for p in expansion_curve(one, "outputs", 0.0)] == [2]
    assert expansion_curve(one, "inputs", 0.0)[0].worst_found == 0
    nothing = torch.zeros(3, 4, dtype=torch.bool)
    assert all(p.random_mean == 0 and p.certificate == 0 for p in expansion_curve(nothing, "inputs", 0.0))
    assert spread(nothing, "inputs", torch.tensor([0]), 2)[1].amounts.sum() == 0


def test_an_unknown_side_is_refused():
    with pytest.raises(EggsError, match="no side 'left'"):
        expansion(HAND, "left", torch.tensor([0]), 0.5)


def test_paths_through_two_layers():
    first = torch.tensor([[1, 0, 0], [1, 1, 0]]).bool()  # (middle 2, in 3)
    second = torch.tensor([[1, 1], [0, 1]]).bool()
    assert paths_through(first, second).tolist() == [[2, 1, 0], [1, 1, 0]]
    with pytest.raises(EggsError, match=r"\(2, 3\).*\(3, 3\)"):
        paths_through(first, torch.ones(3, 3, dtype=torch.bool))


def test_chains_pair_layers_of_one_block_that_fit():
    def layer(block, projection, shape):
        return {"name": f"{block}.{projection}", "block": block, "projection": projection, "shape": list(shape)}

    layers = [
        layer(0, "mlp.up_proj", (8, 4)),
        layer(0, "mlp.down_proj", (4, 8)),
        layer(1, "mlp.down_proj", (4, 8)),
        layer(1, "self_attn.v_proj", (2, 4)),
        layer(1, "self_attn.o_proj", (4, 4)),
    ]
    assert chains(layers) == [("0.mlp.up_proj", "0.mlp.down_proj")]


def test_the_summary_of_a_model():
    one = {"shape": [4, 8], "orphans": 1, "min_in_degree": 0, "components": 1, "spectral_gap": 0.5, "gap_z": -3.0}
    two = {"shape": [4, 4], "orphans": 0, "min_in_degree": 2, "components": 2, "spectral_gap": 0.0, "gap_z": -9.0}
    whole = summarize([{**one, "name": "a"}, {**two, "name": "b"}])
    assert whole == {
        "layers": 2,
        "inputs": 12,
        "orphans": 1,
        "min_in_degree": 0,
        "disconnected": 1,
        "mean_gap": 0.25,
        "min_gap": 0.0,
        "weakest": "b",
        "below_null": 2,
    }
