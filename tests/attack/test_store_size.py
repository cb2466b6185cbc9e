"""The run store's limit: all that it has on disk counts, nobody's work is lost, what is damaged is set aside."""

import json
import shutil
import time

import pytest
from filelock import FileLock
from harness import ROOT
from stored import KEY, LONG_AGO, OTHER, THIRD, age, evict, foreign, size_of, some_run, unmarked, version_of

from eggs_core.errors import EggsError
from eggs_core.runs.run import load_run
from eggs_core.runs.store import RunStore


def test_a_store_of_today_goes_on(tmp_path):
    shipped = next((ROOT / "assets" / "runs").glob("tiny-llama-2of4-wanda"))
    key = load_run(shipped).key
    shutil.copytree(shipped, tmp_path / key)
    unmarked(some_run(OTHER), tmp_path / OTHER)
    (tmp_path / OTHER / "label.txt").write_text("for class")
    (unmarked(some_run(), tmp_path / f"damaged-{KEY}-0") / "report.json").write_text("{")
    unmarked(some_run(OTHER), tmp_path / ".checkpoints" / OTHER)
    (tmp_path / f".{KEY}-abcd_123").mkdir()
    (tmp_path / f".{KEY}-abcd_123" / "masks.safetensors").write_text("half")
    age(tmp_path)
    store = RunStore(tmp_path)
    assert {report["key"]: report["label"] for report in store.reports()} == {key: "", OTHER: "for class"}
    assert version_of(store.get(OTHER)) == 0
    assert store.get(key).report == load_run(shipped).report and store.problems == []
    evict(tmp_path, (THIRD,))
    assert [path.name for path in tmp_path.iterdir() if path.name != ".checkpoints"] == [THIRD]
    assert not list((tmp_path / ".checkpoints").iterdir())


def test_the_limit_is_that_of_all_that_is_on_disk(tmp_path):
    for key, when in ((KEY, 1), (OTHER, 2)):
        RunStore(tmp_path).put(some_run(key, rows=16384))
        age(tmp_path / key, LONG_AGO + when)
    run = size_of(tmp_path / KEY)
    (tmp_path / OTHER / "report.json").write_text("{")
    assert RunStore(tmp_path).get(OTHER) is None, "damaged"
    checkpoint = unmarked(some_run(KEY, rows=16384), tmp_path / ".checkpoints" / KEY)
    (checkpoint / "model.safetensors").write_bytes(bytes(20 * run))
    half = tmp_path / f".{OTHER}.abcdefgh.part"
    half.mkdir()
    (half / "masks.safetensors").write_bytes(bytes(20 * run))
    age(half)
    store = RunStore(tmp_path, most_bytes=25 * run)
    store.put(some_run(THIRD, rows=16384))
    assert not half.exists(), "abandoned"
    assert checkpoint.exists() and store.get(KEY), "there was room for it"
    assert size_of(tmp_path) <= 25 * run
    store = RunStore(tmp_path, most_bytes=49 * run // 2)
    store.put(some_run("aa11", rows=16384))
    assert not list(tmp_path.glob("damaged-*")) and checkpoint.exists() and size_of(tmp_path) <= 49 * run // 2
    store = RunStore(tmp_path, most_bytes=5 * run)
    store.put(some_run("bb22", rows=16384))
    assert {report["key"] for report in store.reports()} == {THIRD, "aa11", "bb22"}
    assert not checkpoint.exists() and size_of(tmp_path) <= 5 * run


def test_checkpoints_are_swept_but_not_under_anybodys_hands(tmp_path):
    RunStore(tmp_path).put(some_run())
    places = {name: tmp_path / ".checkpoints" / (name * 16) for name in "abcde"}
    for place in places.values():
        unmarked(some_run(place.name), place)
        (place / ".unfinished").mkdir()
        (place / ".unfinished" / "lock").touch()
    for name in "abc":
        (places[name] / ".unfinished" / "state.json").write_text(json.dumps({"input": {"config": name * 16}}))
    hours = {"a": 24 * 30, "b": 24 * 30, "c": 24, "d": 24, "e": 0}
    for name, place in places.items():
        age(place, time.time() - 3600 * hours[name])
    with FileLock(places["a"] / ".unfinished" / "lock"):
        evict(tmp_path)
        assert {name for name, place in places.items() if place.exists()} == {"a", "c", "e"}
    assert places["c"].exists(), "somebody may go on with it"
    age(places["a"])
    evict(tmp_path)
    assert {name for name, place in places.items() if place.exists()} == {"c", "e"}


def test_a_pruned_model_that_the_store_cannot_hold_is_refused_before_the_work(tmp_path, monkeypatch):
    store = RunStore(tmp_path)
    with pytest.raises(EggsError, match=r"takes 13\.5 GB and the run store holds 2\.0 GB at most; set EGGS_STORE_GB"):
        store.claim(KEY, 13_500_000_000)
    assert not list(tmp_path.iterdir())
    monkeypatch.setenv("EGGS_STORE_GB", "14")
    store.claim(KEY, 13_500_000_000)
    assert store.checkpoint(KEY).is_dir()
    foreign(tmp_path / ".checkpoints" / OTHER)
    with pytest.raises(EggsError, match="was not made by the run store"):
        store.claim(OTHER, 1)
    for size in ("lots", "nan", "0", "-1", "inf"):
        monkeypatch.setenv("EGGS_STORE_GB", size)
        with pytest.raises(EggsError, match="takes a number of gigabytes"):
            store.check()
        assert store.reports() == [] and len(store.problems) == 1


def test_many_damaged_runs_of_one_key_are_all_set_aside(tmp_path):
    store = RunStore(tmp_path)
    for number in range(3):
        store.put(some_run())
        (tmp_path / KEY / "report.json").write_text("{")
        assert store.get(KEY) is None and len(store.problems) == number + 1
    shutil.rmtree(tmp_path / f"damaged-{KEY}-0")
    store.put(some_run())
    (tmp_path / KEY / "report.json").write_text("{")
    assert store.reports() == [] and not (tmp_path / KEY).exists()
    assert len(list(tmp_path.glob("damaged-*"))) == 3
