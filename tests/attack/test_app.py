"""The app attacked: weights that change behind a name."""

import json
import shutil
import time

import gradio as gr
import pytest
import torch
from safetensors.torch import load_file, save_file

from components.jobs.prune import known_run, run_job
from components.jobs.queue import JobQueue
from components.places.layers.spectrum.tab import create_spectrum_tab
from components.places.layers.spectrum.view import curve_of, curve_work, density
from components.places.quality.breakdown.view import breakdown, measure_breakdown
from components.places.quality.report.page import report_html, report_json
from components.places.quality.tab import create_accuracy_tab
from components.places.quality.tasks.view import measure_tasks, task_pairs
from components.places.quality.texts.view import measure_text, text_rows
from components.places.speed.latency.tab import create_latency_tab
from components.places.speed.latency.view import measure_work
from components.sidebar_values import read
from components.state.known_runs import find_run
from components.state.results import RESULTS, SPEED, Results, model_id, run_id, speed_here
from components.state.workspace import Workspace
from eggs_core.config import make_config
from eggs_core.models.fingerprints import SETTLED_SECONDS
from eggs_core.pruning.one_layer import layer_scores
from eggs_core.runs.measured_speed import measure_speed
from eggs_core.runs.measurement import measure_key
from eggs_core.runs.run import Run
from eggs_core.text.sources import Text, bundled_text

SMALL = {"calibration_windows": 2, "calibration_length": 32, "evaluation_windows": 3, "evaluation_length": 32}
FILLED = (
    "tasks-chart",
    "tasks-table",
    "drift-chart",
    "block-cost",
    "projection-cost",
    "texts-table",
    "sweep-perplexity",
    "sweep-gap",
    "sweep-score",
    "roofline",
    "token-time",
)
LAYER = "model.layers.1.mlp.up_proj"


@pytest.fixture(scope="module")
def follow():
    """The page's way to have heavy work done."""
    return JobQueue().follow


@pytest.fixture(scope="module")
def tabs() -> list:
    """The tabs that show what was measured beside a run."""
    with gr.Blocks():
        state = gr.State(None)
        with gr.Tab("spectrum"):
            made = [create_spectrum_tab(state, [], read).tab]
        for create in (create_accuracy_tab, create_latency_tab):
            with gr.Tab(create.__name__):
                made.append(create(state))
    return made


def shown(tabs: list, workspace: Workspace) -> dict:
    """What the tabs show, by elem_id."""
    return {c.elem_id: v for tab in tabs for c, v in tab.render(workspace).items()}


def change_weights(folder) -> None:
    """Write other weights of the same shapes into a model's folder."""
    torch.manual_seed(1)
    file = folder / "model.safetensors"
    weights = {name: w + 0.3 * w.std() * torch.randn_like(w) for name, w in load_file(file).items()}
    save_file(weights, file, metadata={"format": "pt"})


def prune(follow, workspace: Workspace, config, anew: bool = False) -> Run:
    """Run a configuration as the page does, and give the run in view."""
    list(run_job(follow, workspace, config, {}, anew))
    return workspace.run


def measure_everything(follow, run: Run, config) -> None:
    """All that a visitor can have measured of a run."""
    list(measure_tasks(follow, run, ["cloze"], 8))
    list(measure_breakdown(follow, run, 2))
    list(measure_text(follow, run, Text("mine", bundled_text("calibration").content[:2000])))
    list(follow(curve_work(config, {})))
    *_, (_, found) = measure_speed(run, cell_seconds=0.002)
    RESULTS.keep(model_id(run), SPEED, measure_key(run), found)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.slow
def test_computing_again_on_changed_weights_leaves_no_old_figure_in_view(follow, tabs, small_folder, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(small_folder, folder)
    config, workspace = make_config(str(folder), "2:4", "ria", **SMALL), Workspace()
    old = prune(follow, workspace, config)
    measure_everything(follow, old, config)
    workspace.open_layer(LAYER)
    before, old_spectrum = shown(tabs, workspace), density(workspace)[0].to_json()
    old_weight = layer_scores(str(folder), LAYER, "magnitude").weight
    assert all(before[name] for name in FILLED), [name for name in FILLED if not before[name]]
    assert curve_of(workspace) and json.loads(report_json(old, [old]))["tasks"]

    change_weights(folder)
    time.sleep(SETTLED_SECONDS + 0.1)  # until then another change might not show, so that nothing is taken for known
    new = prune(follow, workspace, config, anew=True)
    assert new.key == old.key and run_id(new) != run_id(old) and workspace.run is new
    after = shown(tabs, workspace)
    assert not any(after[name] for name in FILLED), [name for name in FILLED if after[name]]
    assert task_pairs(new) == [] and breakdown(new) is None and text_rows(new) == [] and speed_here(new) is None
    assert curve_of(workspace) is None and density(workspace)[0].to_json() != old_spectrum
    assert not torch.equal(layer_scores(str(folder), LAYER, "magnitude").weight, old_weight)
    values = json.loads(report_json(new, [new]))
    assert values["tasks"] == values["texts"] == [] and values["breakdown"] is None
    assert "Zero-shot tasks" not in report_html(new, [new])
    assert [run is new for run in workspace.comparable()] == [True]

    assert task_pairs(old) and breakdown(old) and text_rows(old) and speed_here(old)  # who still looks at the old run
    assert find_run(old.key).report["fingerprint"] == known_run(config).report["fingerprint"] == run_id(new)[1]
    assert measure_work(new).key != measure_work(old).key
    measure_everything(follow, new, config)
    assert all(shown(tabs, workspace)[name] for name in FILLED)
    assert task_pairs(new)[0][0] is not task_pairs(old)[0][0] and breakdown(new) != breakdown(old)
    assert text_rows(new)[0]["dense"] != text_rows(old)[0]["dense"]


@pytest.mark.usefixtures("one_thread")
@pytest.mark.slow
def test_runs_of_other_methods_on_old_weights_are_not_compared_with_the_new_run(follow, small_folder, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(small_folder, folder)
    workspace = Workspace()
    configs = [make_config(str(folder), "2:4", method, **SMALL) for method in ("wanda", "ria")]
    for config in configs:
        prune(follow, workspace, config)
    assert len(workspace.comparable()) == 2
    change_weights(folder)
    new = prune(follow, workspace, configs[1], anew=True)
    assert workspace.comparable() == [new]
    prune(follow, workspace, configs[0], anew=True)
    assert len(workspace.comparable()) == 2


def test_results_are_bounded_and_the_latest_stay():
    results = Results(most_subjects=3, most_values=2)
    for number in range(5):
        results.keep("a", "text", number, number)
    assert results.of("a", "text") == {3: 3, 4: 4}
    results.keep("a", "text", 3, "anew")
    assert list(results.of("a", "text")) == [4, 3]
    for subject in "bcd":
        results.keep(subject, "text", 0, subject)
    assert results.of("a", "text") == {} and results.of("b", "text") == {0: "b"}
    results.of("b", "text").clear()
    assert results.of("b", "text") == {0: "b"}
