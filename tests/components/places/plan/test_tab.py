"""What the Plan tab and the sidebar are given as choices change, without a browser."""

from typing import Any

import gradio as gr
import pytest

from components.places.plan.painting.tab import FIRST, InUse, PlanPanel, create_plan_tab
from components.sidebar_values import controls_of, read
from components.state.workspace import Workspace
from eggs_core.config import PruneConfig, make_config
from eggs_core.errors import EggsError

SKIPPED = gr.skip()


@pytest.fixture(scope="module")
def panel() -> PlanPanel:
    """The tab on a page of its own."""
    with gr.Blocks(), gr.Tab("Plan"):
        return create_plan_tab(gr.State(None), [], InUse(gr.Textbox(), gr.HTML(), gr.Button()), read)


def followed(panel: PlanPanel, workspace: Workspace, config: PruneConfig) -> dict[Any, Any]:
    return dict(zip(panel.outputs, panel.follow(workspace, FIRST, *controls_of(config)), strict=True))


def test_rules_that_fit_nothing_are_let_go_and_that_is_said_until_others_come(panel):
    workspace, config = Workspace(), make_config("tiny-opt", "2:4", layers=["mlp.up_proj=1:4", "fc1=1:4"])
    seen = followed(panel, workspace, config)
    assert seen[panel.in_use.rules] == "fc1=1:4" and seen[panel.canvas] == SKIPPED
    assert "6 layers differ from 2:4" in seen[panel.in_use.note] and "“mlp.up_proj=1:4”" in seen[panel.in_use.note]
    seen = followed(panel, workspace, config.changed(layers=("fc1=1:4",)))  # as the sidebar's rules changed by that
    assert "no layer for “mlp.up_proj=1:4”" in seen[panel.in_use.note] and seen[panel.in_use.rules] == SKIPPED
    seen = followed(panel, workspace, config.changed(layers=("fc2=1:4",)))
    assert "no layer for" not in seen[panel.in_use.note]
    seen = followed(panel, workspace, config.changed(layers=()))
    assert seen[panel.in_use.note] == "" and seen[panel.in_use.drop]["visible"] is False


def test_the_canvas_is_sent_again_only_when_it_is_another(panel):
    workspace, config = Workspace(tab="plan"), make_config("tiny-llama", "2:4")
    first = followed(panel, workspace, config)
    assert first[panel.canvas] != SKIPPED
    painted = followed(panel, workspace, config.changed(layers=("mlp.up_proj=1:4",)))
    assert painted[panel.canvas] == SKIPPED and painted[panel.choices] != first[panel.choices]
    other = followed(panel, workspace, make_config("tiny-llama", "2:4", "ria"))
    assert other[panel.canvas] != SKIPPED and "was not measured for tiny-llama, RIA" in other[panel.sources]


def test_a_model_that_is_none_is_one_sentence_on_the_tab(panel):
    workspace = Workspace(tab="plan")
    seen = followed(panel, workspace, make_config("/no/such/folder", "2:4", layers=["blocks 1=dense"]))
    assert seen[panel.canvas] is None and "bad" in seen[panel.sources] and seen[panel.in_use.rules] == SKIPPED
    workspace.tab = "overview"
    assert set(
        map(str, panel.follow(workspace, FIRST, *controls_of(make_config("/no", "2:4", layers=["a=dense"]))))
    ) == {str(SKIPPED)}


def test_filling_measures_first_where_it_must(panel, follow, small_folder):
    config = make_config(str(small_folder), "2:4", "wanda", calibration_windows=4, calibration_length=32)
    workspace, values = Workspace(), controls_of(config)
    assert list(panel.refill(follow, workspace, 60, *values)) == []
    *before, last = panel.fill(follow, workspace, 60, *values)
    assert before and all(set(step) == {panel.progress} for step in before)
    assert "within 60%" in last[panel.progress] and last[panel.in_use.rules] and last[panel.again] == "1"
    (again,) = panel.refill(follow, workspace, 60, *values)
    assert again[panel.in_use.rules] == last[panel.in_use.rules]
    with pytest.raises(EggsError, match="below the least possible"):
        list(panel.refill(follow, workspace, 25, *values))
