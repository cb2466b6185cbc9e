"""Every panel with every kind of run that a store may hold: what is missing is said, and nothing is made up."""

import json
import re
from collections.abc import Iterable

import gradio as gr
import pytest

from components import sidebar_values
from components.address import address, restore
from components.api import analyze_layer
from components.jobs.prune import run_job
from components.places.layers.graph.tab import create_graph_tab
from components.places.layers.mask.tab import create_masks_tab
from components.places.layers.overview import tab as overview_tab
from components.places.layers.overview.tab import create_overview_tab
from components.places.layers.spectrum.tab import create_spectrum_tab
from components.places.plan.painting.tab import InUse, create_plan_tab
from components.places.quality.report.page import report_html, report_json
from components.places.quality.tab import create_accuracy_tab
from components.places.runs.compare.tables import cell_table, group_table
from components.places.runs.compare.view import (
    Choice,
    chosen,
    heat,
    models_of,
    open_source,
    significance,
    size_front,
    speed_front,
)
from components.places.runs.compare.words import facts, overview
from components.places.runs.stored.view import as_json, runs_table
from components.places.runs.stored.words import comparison, runs_reading, title_of
from components.places.speed.latency.tab import create_latency_tab
from components.places.speed.latency.words import gpu_cards
from components.places.speed.race.words import empty_lanes, race_note
from components.state.known_runs import bundled_runs, find_run
from components.state.reports import all_reports, open_run
from components.state.workspace import Workspace
from components.words.recorded import NOT_MEASURED
from eggs_core.config import PruneConfig, make_config
from eggs_core.runs.execute import execute
from eggs_core.runs.export import export_run
from eggs_core.runs.measurement import Measurement
from eggs_core.runs.run import Run
from eggs_core.sweep.results import from_reports

SMALL = {"calibration_windows": 2, "calibration_length": 32, "evaluation_windows": 6, "evaluation_length": 32}
OPTIONAL = ("created", "versions", "device", "seconds", "calibration", "fingerprint", "parameters")
KINDS = ("normal", "streamed", "without top-N", "set aside", *(f"without {name}" for name in OPTIONAL))
TABS = ("overview", "plan", "masks", "graph", "spectrum", "accuracy", "latency")


@pytest.fixture(scope="module")
def streamed(small_folder, tmp_path_factory) -> Run:
    """A run of a model that went block by block from disk."""
    config = make_config(str(small_folder), "2:4", "magnitude", **SMALL)
    return list(execute(config, stream=True, out=tmp_path_factory.mktemp("streamed") / "out"))[-1].run


@pytest.fixture(params=KINDS)
def run(request, make_run, streamed, store) -> Run:
    """A run of each kind."""
    whole, kind = make_run("eggs-ptp"), request.param
    if kind == "streamed":
        return streamed
    if kind == "without top-N":
        return Run(whole.report, whole.packed_masks, {}, whole.permutations)
    if kind == "set aside":
        store.put(whole)
        found = store.get(whole.key)
        (store.folder / whole.key / "masks.safetensors").write_bytes(b"")
        assert store.get(whole.key) is None
        return found
    lacking = kind.removeprefix("without ")
    return Run({k: v for k, v in whole.report.items() if k != lacking}, whole.packed_masks, whole.packed_topn)


@pytest.fixture(scope="module")
def tabs() -> dict:
    """The tabs of the page that draw a run."""
    made = {}
    with gr.Blocks():
        state = gr.State(None)
        for name, create in zip(
            TABS,
            (
                lambda s: create_overview_tab(s).tab,
                lambda s: create_plan_tab(s, [], InUse(gr.Textbox(), gr.HTML(), gr.Button()), sidebar_values.read).tab,
                lambda s: create_masks_tab(s).tab,
                lambda s: create_graph_tab(s).tab,
                lambda s: create_spectrum_tab(s, [], sidebar_values.read).tab,
                create_accuracy_tab,
                create_latency_tab,
            ),
            strict=True,
        ):
            with gr.Tab(name):
                made[name] = create(state)
    return made


def words(values: Iterable) -> str:
    """All that a person could read in values of outputs."""
    texts = [value for value in values if isinstance(value, str)]
    return re.sub(r"<[^>]*>", " ", " ".join(texts))


def test_every_tab_draws_every_kind_of_run(tabs, run):
    workspace = Workspace()
    workspace.show(run)
    seen = {}
    for name, tab in tabs.items():
        shown = tab.render(workspace)
        assert set(shown) == set(tab.outputs), name
        seen[name] = words(shown.values())
        assert not re.search(r"\bNone\b|\bnan\b", seen[name]), (name, seen[name])
    if run.report["latency"] is None:
        assert "not measured: the model is larger than memory" in seen["overview"]
        assert NOT_MEASURED[1:] in seen["latency"] and "No speed was measured with this run" in seen["latency"]
    if not run.has_topn:
        assert all("not recorded with this run" in seen[name] for name in ("masks", "graph"))
    if "created" not in run.report:
        assert "date not recorded" in seen["overview"] and "Measured when the run was made." in seen["latency"]
    assert run.key in seen["overview"] and run.key in address(workspace)
    again = Workspace(run=run)
    restore(again, {"layer": workspace.layer, "row": "4", "tab": "masks"})
    assert (again.layer, again.row, again.tab) == (workspace.layer, 4, "masks")


def test_the_overview_says_where_its_speed_was_measured(tabs, make_run, monkeypatch):
    run, workspace = make_run("eggs-ptp", seed=3), Workspace()
    workspace.show(run)
    assert "where the run was made" in words(tabs["overview"].render(workspace).values())
    taken = {**run.report["latency"], "kernel": "one of this machine"}
    monkeypatch.setattr(overview_tab, "speed_here", lambda run: Measurement([], generation=taken))
    assert "here (one of this machine)" in words(tabs["overview"].render(workspace).values())


def test_every_kind_of_run_is_listed_compared_and_taken_along(run, make_run, tmp_path):
    other = make_run("wanda")
    reports = [one.report | {"label": ""} for one in (run, other)]
    table = runs_table(reports)
    assert list(table["Key"]) == [run.key, other.key] and title_of(reports[0])
    assert json.loads(as_json(reports))[0]["key"] == run.key
    html = comparison(reports)
    assert (NOT_MEASURED in html) == (run.report["latency"] is None) and html.count("tokens/s") >= 1
    assert ("not recorded" in table["Computed"][0]) == ("created" not in run.report)
    assert ("not recorded" in html) == ("seconds" not in run.report)
    assert empty_lanes(run) and race_note(run) and gpu_cards(run)
    page = report_html(run, [run])
    assert ("Decode speed: not measured" in page) == (run.report["latency"] is None)
    assert ("versions that were not recorded" in page) == ("versions" not in run.report)
    assert json.loads(report_json(run, [run]))["report"] == json.loads(json.dumps(run.report))
    if "calibration" in run.report:
        list(export_run(run, "masks", tmp_path / "masks"))
        assert (tmp_path / "masks" / "README.md").is_file()


def test_every_kind_of_run_is_compared_with_all_others(run, make_run):
    sweep = from_reports([run.report, make_run("wanda").report, make_run("ria").report], "runs")
    for model in models_of(sweep):
        choice = Choice(model, baseline="Wanda")
        found = chosen(sweep, choice)
        assert found and all(size_front(sweep, found, choice)) and overview(sweep, found, model)
        assert facts(sweep, model) and heat(sweep, found, choice) and significance(found, found, choice)
        times = set(group_table(found, sweep.dense[model]["perplexity"])["ms per token"])
        if model == run.report["model"] and run.report["latency"] is None:
            figure, said = speed_front(sweep, found, choice)
            assert times == {"not measured"} and figure is None and "larger than memory" in said
    assert len(cell_table(sweep)) == len(sweep.cells)


def test_a_streamed_run_beside_timed_ones_is_counted_and_not_drawn_as_fast(streamed, make_run):
    timed = make_run("wanda").report
    untimed = streamed.report | {"model": "micro", "config": streamed.report["config"] | {"model": "micro"}}
    untimed = untimed | {"pattern": "1:4", "config": untimed["config"] | {"pattern": "1:4"}}
    sweep = from_reports([timed, untimed], "runs")
    choice = Choice("micro")
    found = chosen(sweep, choice)
    speed, said = speed_front(sweep, found, choice)
    assert len(found) == 2 and "Not in it: 1 result without a measured speed" in said
    assert {trace.name for trace in speed.data} & {"Magnitude"} == set()


def test_a_stored_streamed_run_is_compared_with_the_rest(store, streamed, make_run):
    for one in (streamed, make_run("wanda")):
        store.put(one)
    sweep = open_source("runs")
    assert comparison(all_reports()[:2]).count(NOT_MEASURED) == 1
    assert sweep.name == "All finished runs"
    for key in (streamed.key, make_run("wanda").key):
        assert key in {report["key"] for report in all_reports()} and open_run(key).key == key


def test_runs_on_weights_that_have_changed_since_are_not_compared_with_newer_ones(store, make_run):
    old, new = make_run("ria"), make_run("wanda")
    store.put(Run(old.report | {"fingerprint": "0" * 16}, old.packed_masks, old.packed_topn))
    store.put(new)
    sweep = open_source("runs")
    assert "without 1 run not known to be on the same weights" in sweep.name
    workspace = Workspace()
    workspace.show(store.get(old.key))
    workspace.show(new)
    assert [one.key for one in workspace.comparable()] == [new.key]


def test_a_store_that_cannot_be_used_is_named_and_everything_else_works(tabs, follow, micro, store, make_run):
    store.folder.mkdir()
    (store.folder / "thesis.txt").write_text("not a run")
    assert "neither empty nor a run store" in runs_reading(all_reports(), store.problems, str(store.folder))
    assert [report["key"] for report in all_reports()] == [run.key for run in bundled_runs()]
    assert open_source("runs").cells and find_run("0" * 16) is None
    workspace, config = Workspace(), PruneConfig.from_dict(make_run("ria").report["config"])
    said = [html for html, _ in run_job(follow, workspace, config, {})]
    assert workspace.finished and "Done in" in said[-1] and "runs are not kept" in said[-1]
    assert all(tab.render(workspace) for tab in tabs.values())


def test_a_layer_of_a_streamed_run_is_analysed(store, streamed):
    store.put(streamed)
    name = streamed.report["layers"][0]["name"]
    assert list(analyze_layer(streamed.key, name))[-1]["measures"]["name"] == name


def test_the_gpu_panel_promises_no_speed_for_one_token():
    html = gpu_cards(bundled_runs()[0])
    assert "up to twice" not in html
    assert "one token is slower than dense" in html and "Measured on an H100" in html and "not on this machine" in html
