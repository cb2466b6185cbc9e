"""The list of runs: shipped and stored, compared, and as files."""

import json

import pytest

from components.jobs.prune import run_job
from components.places.runs.stored.view import as_json, listed_table, runs_table
from components.places.runs.stored.words import comparison, title_of
from components.state.known_runs import bundled_runs
from components.state.reports import SHIPPED, all_reports, open_run
from components.state.workspace import Workspace
from eggs_core.config import PruneConfig
from eggs_core.errors import EggsError
from eggs_core.evaluation.intervals import paired_ratio


def test_shipped_and_stored_runs_are_listed_once(store, make_run):
    shipped = bundled_runs()
    assert [r["key"] for r in all_reports()] == [run.key for run in shipped]
    store.put(make_run("ria"))
    store.put(shipped[0])
    keys = [r["key"] for r in all_reports()]
    assert len(keys) == len(set(keys)) == len(shipped) + 1 and set(keys[:2]) == {make_run("ria").key, shipped[0].key}
    table = runs_table(all_reports())
    assert list(table["Key"]) == keys and (table["Name"] == SHIPPED).sum() == len(shipped) - 1
    assert open_run(make_run("ria").key).report["key"] == make_run("ria").key
    with pytest.raises(EggsError, match="no longer here"):
        open_run("0" * 16)


def test_runs_are_compared_on_the_same_text_only(store, make_run):
    runs = [make_run("ria"), make_run("wanda")]
    reports = [run.report | {"label": "<b>mine</b> ${x}"} for run in runs]
    html = comparison(reports)
    ratio = paired_ratio(*(r["evaluation"]["pruned"]["window_nats"] for r in reports))
    assert f"{ratio.value:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]" in html
    assert "<b>mine" not in html and "${x}" not in html and "mine" in title_of(reports[0])
    other = reports[1] | {"evaluation": reports[1]["evaluation"] | {"sha256": "0"}}
    assert "another text" in comparison([reports[0], other]) and comparison([]) == ""
    first = reports[1] | {"evaluation": reports[1]["evaluation"] | {"bos": "first window"}}
    assert "BOS elsewhere" in comparison([reports[0], first])
    assert json.loads(as_json(reports))[1]["method"] == "wanda"


def test_a_path_is_shown_by_its_end_and_exported_whole(make_run):
    path = "/home/somebody/a/long/way/SmolLM2-135M-Instruct.gguf"
    report = make_run("ria").report | {"model": path, "label": ""}
    table = listed_table([report])
    assert table["Model"][0] == "SmolLM2-135M-Instruct.gguf" and "row-open" in table["Open"][0]
    assert list(table)[-1] == "Key" and title_of(report).startswith("SmolLM2-135M-Instruct.gguf 2:4 RIA")
    assert runs_table([report])["Model"][0] == path


def pruned(follow, workspace: Workspace, config: PruneConfig, anew: bool = False) -> bool:
    """Run a job to its end; was anything pruned, or was a known run shown?"""
    said = [html for html, _ in run_job(follow, workspace, config, {}, anew)]
    known = "kept since then" in said[-1]
    assert known != any("Calibrating on" in html for html in said)
    return not known


def test_a_known_run_is_shown_without_pruning_unless_it_is_wanted_anew(follow, micro, store, make_run):
    config = PruneConfig.from_dict(make_run("ria").report["config"])
    first, again, anew = Workspace(), Workspace(), Workspace()
    assert pruned(follow, first, config)
    assert not pruned(follow, again, config)
    assert again.run.report == first.run.report
    assert pruned(follow, anew, config, anew=True)
    for layer in first.run.report["layers"]:
        assert anew.run.mask(layer["name"]).equal(first.run.mask(layer["name"]))


def test_a_run_of_other_weights_is_not_taken_for_this_model(follow, micro, store, make_run):
    config = PruneConfig.from_dict(make_run("ria").report["config"])
    assert pruned(follow, Workspace(), config)
    run = store.get(config.key())
    run.report["fingerprint"] = "0" * 16
    store.put(run)
    assert pruned(follow, Workspace(), config)
