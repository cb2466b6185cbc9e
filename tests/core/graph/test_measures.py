"""Degrees, components and certified expansion of masks, by hand and against sampled sets."""

import networkx as nx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eggs_core.graph.drawing import LAYOUTS, layout, window_graph
from eggs_core.graph.measures import certified_expansion, count_components, measure
from eggs_core.graph.spectrum import second_singular_value
from eggs_core.masks.selection import degree, topn
from eggs_core.pattern import NMPattern

pytestmark = pytest.mark.usefixtures("one_thread")


def neighbours(mask: torch.Tensor, members: torch.Tensor) -> int:
    return int(mask[:, members].any(1).sum())


@settings(max_examples=60, deadline=None)
@given(st.integers(4, 60), st.integers(2, 12), st.sampled_from(["1:4", "2:4", "3:4", "2:8"]), st.integers(0, 1000))
def test_no_sampled_set_beats_the_certificate(out, groups, text, seed):
    """For random sets T of inputs and of outputs: |Γ(T)| ≥ certificate at T's own share of the edges · |T|."""
    pattern, draw = NMPattern.parse(text), torch.Generator().manual_seed(seed)
    scores = torch.rand(out, groups * pattern.group, generator=draw)
    mask = degree(scores, pattern, 0.5) if seed % 2 else topn(scores, pattern)
    sigma2 = second_singular_value(mask).item()
    for side, matrix in (("inputs", mask), ("outputs", mask.T)):
        for size in {1, 2, matrix.shape[1] // 4, matrix.shape[1] // 2, matrix.shape[1]} - {0}:
            members = torch.randperm(matrix.shape[1], generator=draw)[:size]
            share = (matrix[:, members].sum() / matrix.sum()).item()
            if share == 0:
                continue
            bound = certified_expansion(mask, sigma2, share)[side]
            assert neighbours(matrix, members) >= bound * size * (1 - 1e-4) - 1e-6


def test_the_certificate_is_tight_where_nothing_expands():
    """Disjoint complete parts: the neighbours of one part are exactly as many as σ₂ = 1 certifies."""
    mask = torch.block_diag(*[torch.ones(4, 4) for _ in range(3)]).bool()
    assert certified_expansion(mask, 1.0, 1 / 3) == {"inputs": 1.0, "outputs": 1.0}
    assert neighbours(mask, torch.arange(4)) == 4


def test_the_certificate_of_the_complete_graph_is_everybody():
    bound = certified_expansion(torch.ones(6, 8, dtype=torch.bool), 0.0, 1 / 8)  # one input holds 1/8 of all edges
    assert bound["inputs"] == pytest.approx(6)


def test_orphans_and_emptiness_certify_nothing():
    mask = torch.tensor([[True, False], [True, False]])
    assert certified_expansion(mask, 0.0)["inputs"] == 0
    assert certified_expansion(torch.zeros(2, 2, dtype=torch.bool), 0.0) == {"inputs": 0.0, "outputs": 0.0}


def test_measures_by_hand():
    mask = torch.tensor([[1, 1, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0]]).bool()
    m = measure(mask, NMPattern(2, 4))
    assert (m.min_in_degree, m.mean_in_degree, m.max_in_degree) == (0, 1.5, 3)
    assert (m.orphans, m.components) == (1, 1)
    assert m.spectral_gap == pytest.approx(1 - m.sigma2)
    assert m.certified_expansion["inputs"] == 0
    assert m.gap_z == pytest.approx((m.spectral_gap - m.null_gap_mean) / m.null_gap_std)


def test_two_parts_are_counted_and_have_no_gap():
    mask = torch.tensor([[1, 1, 0, 0]] * 3 + [[0, 0, 1, 1]] * 3).bool()
    m = measure(mask, NMPattern(2, 4))
    assert (m.components, m.orphans) == (2, 0)
    assert m.spectral_gap == pytest.approx(0, abs=1e-5)


def test_no_edges_have_no_components():
    assert measure(torch.zeros(4, 8, dtype=torch.bool), NMPattern(2, 4)).components == 0


def test_keeping_all_has_no_deviation_to_divide_by():
    m = measure(torch.ones(4, 8, dtype=torch.bool), NMPattern(4, 4))
    assert m.gap_z == 0
    assert m.spectral_gap == pytest.approx(1, abs=1e-3)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.floats(0, 0.5), st.integers(0, 99))
def test_components_as_networkx_counts_them(out, width, density, seed):
    mask = torch.rand(out, width, generator=torch.Generator().manual_seed(seed)) < density
    parts = [c for c in nx.connected_components(window_graph(mask)) if len(c) > 1]
    assert count_components(mask) == len(parts)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 30), st.integers(1, 4), st.sampled_from(["1:4", "1:8", "2:4"]), st.integers(0, 99))
def test_connected_means_a_positive_gap(out, groups, text, seed):
    pattern = NMPattern.parse(text)
    scores = torch.rand(out, groups * pattern.group, generator=torch.Generator().manual_seed(seed))
    m = measure(topn(scores, pattern), pattern)
    assert (m.components == 1) == (m.spectral_gap > 1e-4)


def test_a_window_keeps_whole_matrix_numbers_and_orphans():
    graph = window_graph(torch.tensor([[True, False, True], [False, False, True]]), 10, 100)
    assert set(graph) == {("in", 100), ("in", 101), ("in", 102), ("out", 10), ("out", 11)}
    assert set(graph.edges) == {(("in", 100), ("out", 10)), (("in", 102), ("out", 10)), (("in", 102), ("out", 11))}
    assert graph.degree(("in", 101)) == 0


@pytest.mark.parametrize("kind", LAYOUTS)
@pytest.mark.parametrize("mask", [torch.rand(6, 8) < 0.4, torch.zeros(3, 4, dtype=torch.bool), torch.ones(1, 1) > 0])
def test_layouts_give_every_node_a_place_in_the_unit_square(kind, mask):
    positions = layout(window_graph(mask), kind)
    assert len(positions) == sum(mask.shape)
    assert all(0 <= x <= 1 and 0 <= y <= 1 for x, y in positions.values())
    assert len(set(positions.values())) > len(positions) // 2 or kind == "spectral"


def test_the_bipartite_layout_has_two_rows():
    positions = layout(window_graph(torch.rand(5, 8) < 0.5), "bipartite")
    assert {y for (side, _), (_, y) in positions.items() if side == "in"} == {0.0}
    assert {y for (side, _), (_, y) in positions.items() if side == "out"} == {1.0}
    for side in ("in", "out"):
        across = [positions[node][0] for node in sorted(positions) if node[0] == side]
        assert across == sorted(across)
