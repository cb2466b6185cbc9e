"""What the explorer's tabs show of ordinary and of broken layers, without a browser."""

import dataclasses
import uuid

import gradio as gr
import pytest
import torch

from components.places.layers.graph.frame import bundle_weights, frame_of
from components.places.layers.graph.tab import create_graph_tab
from components.places.layers.graph.view import Graph, graph_value, graphs, pick_set
from components.places.layers.mask.tab import create_masks_tab
from components.places.layers.mask.view import cell_values, compare_choices, comparison, legend, mask_values
from components.places.layers.mask.words import degree_reading
from components.places.layers.spectrum import view as spectrum_view
from components.places.layers.spectrum.words import reach_reading, weighted_reading
from components.state.known_runs import read_shipped
from components.state.workspace import Workspace
from eggs_core.graph.measures import measure
from eggs_core.masks.bits import pack_bits
from eggs_core.pattern import NMPattern
from eggs_core.runs.run import Run


def workspace_of(mask: torch.Tensor, pattern: str = "2:4") -> Workspace:
    """A visitor who looks at one layer of a made-up run."""
    layer = {"name": "one", "block": 0, "projection": "one", "shape": list(mask.shape), "retained_score": 0.9}
    layer |= {"output_error": 0.1, "notes": [], **dataclasses.asdict(measure(mask, NMPattern.parse(pattern)))}
    report = {"key": "made-up", "model": "nowhere", "pattern": pattern, "method": "wanda", "layers": [layer]}
    report |= {"config": {"score": "wanda"}, "evaluation": {}, "fingerprint": uuid.uuid4().hex}
    return Workspace(run=Run(report, {"one": pack_bits(mask)}), layer="one")


BROKEN = {
    "one row": torch.tensor([[1, 1, 0, 0]]).bool(),
    "every input an orphan": torch.zeros(6, 8, dtype=torch.bool),
    "two parts": torch.tensor([[1, 1, 0, 0]] * 3 + [[0, 0, 1, 1]] * 3).bool(),
}


def by_name(values: dict) -> dict:
    """What is shown, by elem_id."""
    return {component.elem_id: value for component, value in values.items()}


@pytest.fixture
def tabs():
    with gr.Blocks():
        state = gr.State(None)
        yield create_graph_tab(state).tab, create_masks_tab(state).tab


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("size", [16, 0])
def test_broken_layers_are_drawn_and_described(tabs, name, size):
    workspace = workspace_of(BROKEN[name])
    workspace.graph.size, workspace.graph.members = size, (0,)
    graph, masks = tabs
    shown = graph.render(workspace, play=True)
    assert set(shown) == set(graph.outputs)
    assert ("gap is 0" in by_name(shown)["graph-reading"]) == (name == "two parts")
    assert set(masks.render(workspace)) == set(masks.outputs)
    figure, text = spectrum_view.density(workspace)
    assert figure.data and "σ₂" in text
    assert ("falls apart" in text) == (name == "two parts")


def test_a_missing_mask_is_one_sentence_in_every_tab(tabs):
    workspace = workspace_of(BROKEN["two parts"])
    workspace.run.packed_masks.clear()
    for tab in tabs:
        shown = tab.render(workspace)
        assert set(shown) <= set(tab.outputs)
        assert any(isinstance(v, str) and "The mask of layer one is missing" in v for v in shown.values())


def test_beta_without_a_model_is_one_sentence(tabs):
    workspace = workspace_of(BROKEN["two parts"])
    workspace.graph.beta = 0.5
    assert "nowhere" in by_name(tabs[0].render(workspace))["graph-reading"]
    assert workspace.graph.beta is None  # the next drawing shows the mask as pruned


def test_a_window_outside_the_matrix_moves_inside(tabs):
    workspace = workspace_of(torch.ones(40, 60).bool(), "4:4")
    workspace.place(10**9, 10**9)
    shown = by_name(tabs[0].render(workspace))
    assert (shown["graph-row"], shown["graph-column"]) == (32, 52)


def test_the_graph_opens_where_both_masks_differ_most(tabs):
    topn = torch.tensor([[1, 1, 0, 0]]).bool().repeat(40, 15)
    mask = topn.clone()
    mask[32:36, 20:24] = torch.tensor([0, 0, 1, 1]).bool()
    workspace = workspace_of(mask)
    workspace.run.packed_topn["one"] = pack_bits(topn)
    shown = by_name(tabs[0].render(workspace))
    assert (shown["graph-row"], shown["graph-column"], workspace.row, workspace.column) == (32, 16, 32, 16)
    assert shown["graph-beta"].value == 0  # the share of the mean that the worst-connected input keeps
    assert "identical" not in shown["graph-reading"] and not shown["graph-apart"].visible
    assert "keeps 0 with top-N, 0 with Wanda." in shown["graph-reading"]
    workspace.place(0, 0)
    shown = by_name(tabs[0].render(workspace))
    assert "Both masks are identical here" in shown["graph-reading"]
    assert shown["graph-apart"].visible and "Block 1 · one" in shown["graph-apart"].value
    workspace.open_layer("one")
    assert by_name(tabs[0].render(workspace))["graph-row"] == 32


def test_where_no_layer_differs_nothing_is_offered(tabs):
    workspace = workspace_of(BROKEN["two parts"])
    workspace.run.packed_topn["one"] = workspace.run.packed_masks["one"]
    shown = by_name(tabs[0].render(workspace))
    assert "Both masks are identical here" in shown["graph-reading"] and not shown["graph-apart"].visible


def test_a_run_opens_at_the_layer_that_differs_most(make_run):
    workspace, run = Workspace(), make_run("eggs-ptp")
    workspace.show(run)
    layers = [layer["name"] for layer in run.report["layers"]]
    apart = {name: (run.mask(name) ^ run.topn_mask(name)).double().mean().item() for name in layers}
    assert apart[workspace.layer] == max(apart.values()) > 0
    same = Workspace()
    same.show(make_run("ria"))  # which keeps what top-N keeps
    assert same.layer == max(same.run.report["layers"][:7], key=lambda layer: layer["shape"][1])["name"]


def test_bundles_hold_every_edge():
    mask = torch.rand(100, 130) < 0.3
    workspace = workspace_of(mask, "1:2")
    workspace.graph.size = 0
    frame = frame_of(workspace, mask)
    assert (frame.each, frame.count) == ({"outputs": 3, "inputs": 3}, {"outputs": 34, "inputs": 44})
    counts, weights = bundle_weights(mask, frame)
    assert counts.sum() == mask.sum()
    assert counts[0, 0] == mask[:3, :3].sum() and counts[33, 43] == mask[99:, 129:].sum()
    assert (weights.max(), bool((weights[counts > 0] > 0).all())) == (255, True)
    assert frame.channels("inputs", [0, 43, 99]).tolist() == [0, 1, 2, 129]
    assert frame.nodes("inputs", (1, 2, 129)) == [0, 43]
    assert frame.bundled(mask.sum(0), "inputs").sum() == mask.sum()


def test_sets_are_picked_among_what_is_drawn():
    mask = torch.rand(60, 64) < 0.5
    workspace = workspace_of(mask)
    workspace.row, workspace.column, workspace.graph.size = 10, 20, 16
    frame, graph = frame_of(workspace, mask), Graph("one", mask, 0.5, "key")
    for how in ("lowest", "random", "worst"):
        for side, first in (("inputs", 20), ("outputs", 10)):
            found = pick_set(workspace, graph, frame, how, side, 5)
            assert len(set(found)) == 5 and all(first <= channel < first + 16 for channel in found)
    workspace.graph.members = (20, 35, 63)  # the last lies outside the window
    topn, own = graphs(workspace)
    assert topn is None and graph_value(workspace, own, topn, frame)["chosen"] == [0, 15]


def test_a_run_is_compared_with_topn_and_its_difference_is_counted():
    workspace = workspace_of(BROKEN["two parts"])
    topn = torch.tensor([[1, 1, 0, 0]] * 6).bool()
    workspace.run.packed_topn["one"] = pack_bits(topn)
    assert ("top-N", "top-N") in compare_choices(workspace)
    assert mask_values(workspace)[1] is None and comparison(workspace) == ""
    workspace.compare = "top-N"
    assert mask_values(workspace)[1]["label"] == "top-N"
    assert "agree on 50.0% of the kept weights and differ in 6 choices. 2 inputs" in comparison(workspace)
    workspace.difference = True
    first, second = mask_values(workspace)
    assert first["difference"] and second is None
    assert "only top-N" in legend(workspace)


def test_a_run_without_topn_says_so_and_shows_its_masks(tabs):
    workspace = workspace_of(BROKEN["two parts"])
    assert not workspace.run.has_topn and ("top-N", "top-N") not in compare_choices(workspace)
    workspace.compare = "top-N"
    first, second = mask_values(workspace)
    assert second is None and first["other"] is None and first["bits"]
    assert "not recorded" in legend(workspace) and comparison(workspace) == ""
    graph, masks = tabs
    shown = by_name(graph.render(workspace))
    assert shown["topn-graph"] is None and shown["mask-graph"]["bits"] == shown["mask-graph"]["other"]
    for name in ("topn-title", "beta-cards", "graph-legend"):
        assert "not recorded" in shown[name]
    assert "top-N" not in shown["graph-reading"] + shown["mixing-reading"]
    assert "was not recorded with this run; wanda" in by_name(masks.render(workspace))["degree-reading"].lower()


def test_weights_to_hover_over_come_in_whole_groups(make_run, micro):
    run = make_run("magnitude")
    workspace = Workspace()
    workspace.show(run)
    value = cell_values(workspace, 3, 6, 5, 9)
    assert (value["row"], value["column"], value["rows"], value["columns"]) == (3, 4, 5, 16)
    assert cell_values(workspace, 10**6, 10**6, 5, 5)["rows"] == 1


def test_sentences_of_degrees_and_reach():
    lost = degree_reading("Wanda", torch.tensor([4, 4, 4, 4]), torch.tensor([0, 8, 0, 8]))
    assert "2 of 4 inputs lost every connection under top-N; Wanda leaves none below 4, of 4 on average." in lost
    assert "cuts 1 off" in degree_reading("X", torch.tensor([0, 4]), torch.tensor([2, 2]))
    assert weighted_reading({}, None) == reach_reading(None) == ""
    assert "all but 3 of the 10 pairs" in reach_reading(("a", "b", 3, 10))


def test_a_damaged_shipped_run_is_said(tmp_path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "report.json").write_text("{")
    runs, (said,) = read_shipped(tmp_path)
    assert runs == ()
    assert said.startswith("The run in broken is damaged: report.json cannot be read: ") and "run it again" in said
