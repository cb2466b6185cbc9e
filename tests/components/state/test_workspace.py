"""One visitor's state: what is in view, what it is compared with, and which part of a mask is shown."""

import pytest
import torch

from components.state.known_runs import DEFAULT_RUN, first_run, read_shipped
from components.state.workspace import Workspace
from components.words.labels import run_label
from eggs_core.runs.run import Run, save_run


def test_a_new_workspace_is_empty():
    workspace = Workspace()
    assert workspace.comparable([]) == []
    assert workspace.layer_report() is None


def test_showing_a_run_opens_the_widest_layer_of_the_first_block(make_run):
    workspace, run = Workspace(), make_run("ria")
    workspace.show(run)
    assert workspace.layer == "model.layers.0.mlp.down_proj"
    assert workspace.layer_report() is run.layer(workspace.layer)
    assert workspace.finished
    assert workspace.own == {run.key: run}


def test_the_chosen_layer_stays_when_the_next_run_has_it(make_run):
    workspace = Workspace()
    workspace.show(make_run("ria"))
    workspace.open_layer("model.layers.1.self_attn.q_proj")
    workspace.row = 7
    workspace.show(make_run("magnitude"))
    assert (workspace.layer, workspace.row) == ("model.layers.1.self_attn.q_proj", 7)
    other = make_run("ria")
    renamed = Run({**other.report, "layers": [{**x, "name": f"m.{x['name']}"} for x in other.report["layers"]]}, {})
    workspace.show(renamed)
    assert workspace.layer == "m.model.layers.0.mlp.down_proj"
    assert workspace.row == 0


def test_an_unfinished_run_is_shown_but_not_kept(make_run):
    workspace, run = Workspace(), make_run("ria")
    begun = Run({**run.report, "layers": [], "evaluation": {}}, {})
    workspace.show(begun, finished=False)
    assert workspace.layer == ""
    assert workspace.layer_report() is None
    assert workspace.own == {}
    assert not workspace.finished


def test_opening_a_layer_goes_to_its_corner():
    workspace = Workspace(row=9, column=8)
    workspace.open_layer("x")
    assert (workspace.layer, workspace.row, workspace.column) == ("x", 0, 0)


@pytest.mark.parametrize(
    ("shape", "start", "size", "first", "wanted"),
    [
        ((20, 30), (0, 0), 8, (0, 0), (8, 8)),
        ((20, 30), (5, 7), 8, (5, 7), (8, 8)),
        ((20, 30), (19, 29), 8, (12, 22), (8, 8)),  # pushed back inside
        ((20, 30), (10**9, -5), 8, (12, 0), (8, 8)),
        ((4, 30), (3, 3), 8, (0, 3), (4, 8)),  # smaller than the window
    ],
)
def test_a_window_lies_inside_the_mask(shape, start, size, first, wanted):
    mask = torch.arange(shape[0] * shape[1]).view(shape)
    window, row, column = Workspace(row=start[0], column=start[1]).window(mask, size)
    assert (row, column) == first
    assert window.shape == wanted
    assert window[0, 0] == mask[row, column]


def test_runs_of_the_same_model_pattern_and_text_are_compared_in_the_order_of_methods(make_run):
    workspace = Workspace()
    for method in ("eggs-ptp", "magnitude", "ria"):
        workspace.show(make_run(method))
    assert [run_label(run) for run in workspace.comparable([])] == ["Magnitude", "RIA", "EGGS-PTP"]


def test_what_differs_in_pattern_or_evaluation_is_not_compared(make_run):
    workspace = Workspace()
    workspace.show(make_run("magnitude", "1:4"))
    workspace.show(make_run("wanda", evaluation_length=16))
    run = make_run("ria")
    workspace.show(Run({**run.report, "model": "other", "key": "other"}, {}))
    workspace.show(run)
    assert workspace.comparable([]) == [run]


def test_the_newest_of_two_runs_of_a_method_is_compared(make_run):
    workspace = Workspace()
    old, new = make_run("ria"), make_run("ria", seed=1)
    workspace.show(old)
    workspace.show(new)
    assert workspace.comparable([]) == [new]
    workspace.show(old)
    assert workspace.comparable([]) == [old]


def test_bundled_runs_are_compared_too(make_run):
    workspace = Workspace()
    workspace.show(make_run("ria"))
    assert [run_label(run) for run in workspace.comparable([make_run("magnitude")])] == ["Magnitude", "RIA"]


def test_plans_of_one_method_are_compared_like_methods(make_run):
    workspace, single = Workspace(), ["mlp.down_proj=3:4"]
    runs = [make_run("ria"), make_run("ria", layers=single), make_run("ria", layers=["blocks 1=1:4", "mlp.*=3:4"])]
    for run in [*runs, make_run("sparsegpt")]:
        workspace.show(run)
    found = workspace.comparable([])
    labels = [run_label(run) for run in found]
    assert labels[:2] == ["RIA", "RIA · mlp.down_proj=3:4"] and labels[2].startswith("RIA · plan ")
    assert labels[3:] == ["SparseGPT"] and {run.key for run in found} >= {run.key for run in runs}


def test_two_visitors_share_nothing(make_run):
    one, two = Workspace(), Workspace()
    one.show(make_run("ria"))
    assert two.run is None
    assert two.own == {}


def test_a_custom_combination_is_spelled_out(make_run):
    assert run_label(make_run("ria")) == "RIA"
    assert run_label(make_run("ria", permutation="zigzag")) == "ria · topn · zigzag"


def test_a_damaged_bundled_run_is_left_out(make_run, tmp_path):
    save_run(make_run("ria"), tmp_path / "good")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "report.json").write_text("{")
    assert [run.key for run in read_shipped(tmp_path)[0]] == [make_run("ria").key]


def test_a_first_visitor_sees_the_default_run_if_there_is_one(make_run):
    some = make_run("ria")
    model, pattern, method = DEFAULT_RUN
    wanted = Run({**some.report, "model": model, "pattern": pattern, "method": method}, {})
    assert first_run([]) is None
    assert first_run([some]) is some
    assert first_run([some, wanted]) is wanted
