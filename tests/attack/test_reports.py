"""Broken report.json: refused with one sentence, or read by everything that reads reports."""

import json
import re
from pathlib import Path

import pytest
from harness import damaged_bytes, damaged_value, fuzz, only_sentences
from hypothesis import given
from hypothesis import strategies as st
from made_up import made_up_run

from eggs_core.config import PruneConfig
from eggs_core.errors import EggsError
from eggs_core.graph.measures import measure, summarize
from eggs_core.pattern import NMPattern
from eggs_core.report_types import LayerEntry, Report
from eggs_core.runs.folder import REPORT
from eggs_core.runs.measurement import cases_of
from eggs_core.runs.model_card import OPENING, model_card
from eggs_core.runs.report import checked_report
from eggs_core.runs.run import Run, load_run, save_run
from eggs_core.runs.store import RunStore
from eggs_core.sweep.results import dense_of, figures_of, from_reports

ASSETS = Path(__file__).resolve().parents[2] / "assets" / "runs"


def small_report() -> dict:
    """A whole report with few windows and tokens, so that damage meets every kind of field."""
    report = made_up_run("aa11", permuted=False).report
    report["evaluation"]["windows"] = 2
    for side in ("dense", "pruned"):
        report["evaluation"][side]["window_nats"] = [3.25, 3.5]
    report["latency"]["texts"] = {"dense": [5, 7]}
    return report | {"checkpoint": "/nowhere/else"}


WHOLE = small_report()
TEXT = json.dumps(WHOLE, indent=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A stored run, whose report each case writes anew."""
    place = tmp_path_factory.mktemp("reports") / "run"
    save_run(made_up_run("aa11", permuted=False), place)
    return place


def read_all(run: Run) -> None:
    """Everything in the core that reads a report."""
    report = run.report
    for layout in OPENING:
        assert model_card(run, layout)
    sweep = from_reports([report, WHOLE], "all")
    json.dumps([sweep.to_dict(), figures_of(report), dense_of(report), report], allow_nan=False)
    json.dumps(summarize(report["layers"]), allow_nan=False)
    assert PruneConfig.from_dict(report["config"]).command_line() and run.key and cases_of(run)
    for name in run.packed_masks:
        assert run.layer(name)["name"] == name
        assert measure(run.mask(name), NMPattern.parse(report["pattern"]), 2).components >= 1


@fuzz
@given(st.data())
def test_a_report_with_damaged_values(folder, data):
    value = data.draw(damaged_value(WHOLE))
    (folder / REPORT).write_text(json.dumps(value), encoding="utf-8")
    with only_sentences():
        read_all(load_run(folder))


@fuzz
@given(damaged_bytes(TEXT.encode()))
def test_a_report_with_damaged_bytes(folder, data):
    (folder / REPORT).write_bytes(data)
    with only_sentences():
        read_all(load_run(folder))


def changed(path: str, value: object) -> dict:
    """The whole report with one value changed, or left out if it is Ellipsis."""
    report = json.loads(TEXT)
    *outer, last = [int(key) if key.isdigit() else key for key in path.split(".")]
    owner = report
    for key in outer:
        owner = owner[key]
    if value is ...:
        del owner[last]
    else:
        owner[last] = value
    return report


BROKEN = {
    "evaluation": [{}, None, ...],
    "created": [..., None, 5, "", "yesterday"],
    "layers": [None, [], {}, ["a"], ...],
    "evaluation.pruned.perplexity": [0, -1.5, "9", None, True, 10**400, ...],
    "config": [None, [], {}, "x", ...],
    "pattern": [None, 5, "2:5", "4:2", " 2:4", ["2:4"], ...],
    "latency": [{}, "fast", ...],
    "key": ["", "../x", 5, ...],
    "evaluation.dense.window_nats": [[], [1.0], [1.0, "x"], [1.0, None], 5],
    "config.method": ["gmp", [], None],
    "config.calibration": [5, None],
    "config.beta": ["x", 2],
    "config.model": ["another", "", None, 5],
    "config.score": [..., "x", []],
    "layers.0.shape": [[6], [6, 0], [6, -4], [6, 4.0], [6, 14], "6x8", [10**400, 8]],
    "layers.0.name": ["", 5, "a.up"],
    "layers.1.block": [-1, 10**9, 0.5],
    "layers.2.spectral_gap": ["x", None, 1e308],
    "layers.0.notes": [None, [5]],
    "layers.0.choice": [None, {"beta": "x"}],
    "size.dense_bytes": [0, -1, 1.5, None],
    "latency.dense.decode_tokens_per_s.median": [0, -1, None],
    "latency.packed": [None, ...],
    "seconds": [None, {}, 5],
    "latency.dense_bf16": [None, {}, 5],
    "versions": [None, {"torch": 5}],
    "seed": [None, 7, 0.0],
    "method": ["wanda"],
    "evaluation.sha256": ["", "<b>", None],
    "checkpoint": [5, "\0", None],
    "fingerprint": [5, None],
}


@pytest.mark.parametrize(("path", "value"), [(path, value) for path, values in BROKEN.items() for value in values])
def test_what_is_wrong_is_named(path, value):
    with pytest.raises(EggsError) as caught:
        checked_report(changed(path, value))
    said, last = str(caught.value), path.split(".")[-1]
    heading = {"model", "pattern", "method", "seed", "config", "shape", "name"}
    assert last in said or heading & set(path.split(".")), said
    assert len(said) < 400 and said.endswith(".") and "\n" not in said


@pytest.mark.parametrize("path", ["latency", "fingerprint", "checkpoint", "parameters", "schema", "latency.texts"])
def test_what_may_be_missing(path):
    report = changed(path, None if path == "latency" else ...)
    assert checked_report(report) is report
    read_all(Run(report, {}))


@pytest.mark.parametrize("change", [{"method": "of-tomorrow"}, {"method": "ria", "permutation": "zigzag"}])
def test_a_method_that_has_changed_since_is_spelled_out(change):
    report = changed("method", change["method"])
    report["config"] |= change
    found = checked_report(report)
    assert found["method"] == found["config"]["method"] == "custom" and found["key"] == report["key"]
    assert report["method"] == change["method"] and found["layers"] == report["layers"]
    read_all(Run(found, {}))


def test_fields_of_tomorrow_pass():
    assert checked_report(changed("layers.0.rotation", "learned") | {"plan": {"default": "2:4"}})


@pytest.mark.parametrize("place", sorted(ASSETS.iterdir()), ids=lambda place: place.name)
def test_every_shipped_run_opens_and_is_read(place):
    run = load_run(place)
    assert run.report == json.loads((place / REPORT).read_text(encoding="utf-8"))
    model_card(run, "hf")
    from_reports([run.report], "one")


def test_the_types_name_all_that_runs_hold():
    report = json.loads((next(ASSETS.iterdir()) / REPORT).read_text(encoding="utf-8"))
    assert report.keys() <= Report.__annotations__.keys()
    assert report["layers"][0].keys() | {"pattern"} == LayerEntry.__annotations__.keys()  # shipped before there was one


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("evaluation", {}),
        ("created", ...),
        ("layers", None),
        ("evaluation.pruned.perplexity", 0),
        ("config", None),
        ("pattern", None),
    ],
)
def test_one_broken_report_is_set_aside_with_its_reason_and_the_others_are_shown(tmp_path, path, value):
    store = RunStore(tmp_path)
    for key in ("aa11", "bb22"):
        store.put(made_up_run(key))
    report = json.dumps(changed(path, value))
    (tmp_path / "aa11" / REPORT).write_text(report, encoding="utf-8")
    assert [r["key"] for r in store.reports()] == ["bb22"]
    (said,) = store.problems
    assert re.search(rf"The run aa11 is damaged: the report.*{path.split('.')[-1]}", said) and "set aside in" in said
    assert (next(tmp_path.glob("damaged-aa11-*")) / REPORT).read_text(encoding="utf-8") == report


def test_a_deeply_nested_report_is_one_sentence(folder):
    (folder / REPORT).write_text(TEXT[:-2] + ', "x": ' + "[" * 100_000 + "]" * 100_000 + "}", encoding="utf-8")
    with pytest.raises(EggsError, match="nested more than 64 deep"):
        load_run(folder)


def test_a_run_of_another_version_is_not_listed_and_stays(tmp_path):
    store = RunStore(tmp_path)
    store.put(made_up_run("aa11"))
    report = json.loads((tmp_path / "aa11" / REPORT).read_text(encoding="utf-8"))
    (tmp_path / "aa11" / REPORT).write_text(json.dumps(report | {"schema": 2}), encoding="utf-8")
    assert store.reports() == [] and store.problems == [] and (tmp_path / "aa11").is_dir()


def test_another_runs_report_under_a_key_is_set_aside(tmp_path):
    store = RunStore(tmp_path)
    store.put(made_up_run("aa11"))
    report = tmp_path / "aa11" / REPORT
    report.write_text(report.read_text().replace('"aa11"', '"bb22"'))
    assert store.get("aa11") is None and "another run's" in store.problems[0]
