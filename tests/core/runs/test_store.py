"""The run store: what goes in comes out, damage is set aside, the oldest make room, nothing leaves the folder."""

import copy
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from made_up import made_up_run
from safetensors.torch import load_file, save_file

from eggs_core.errors import EggsError
from eggs_core.runs.run import Run, load_run
from eggs_core.runs.store import RunStore
from eggs_core.runs.store_contents import CHECKPOINTS

ROOT = Path(__file__).resolve().parents[3]


def some_run(key: str, rows: int = 8) -> Run:
    return made_up_run(key, shapes={"a.b": (rows, 16)})


def test_a_run_comes_back_as_it_was(tmp_path):
    store, run = RunStore(tmp_path / "deep" / "store"), some_run("aa11")
    assert store.get("aa11") is None and store.reports() == []
    store.put(run)
    found = RunStore(tmp_path / "deep" / "store").get("aa11")  # another process
    assert found.report == run.report and torch.equal(found.mask("a.b"), run.mask("a.b"))
    assert torch.equal(found.permutations["a.b"], run.permutations["a.b"])


@pytest.mark.parametrize(
    "harm", ["cut report", "no masks", "other report", "bad order", "other schema", "report is a list"]
)
def test_a_damaged_run_is_set_aside_and_reported(tmp_path, harm):
    store = RunStore(tmp_path)
    store.put(some_run("aa11"))
    store.put(some_run("bb22"))
    report = tmp_path / "aa11" / "report.json"
    if harm == "cut report":
        report.write_text(report.read_text()[:40])
    elif harm == "no masks":
        (tmp_path / "aa11" / "masks.safetensors").write_bytes(b"\0" * 9)
    elif harm == "bad order":
        details = load_file(tmp_path / "aa11" / "details.safetensors")
        details["a.b.permutation"][:] = 3
        save_file(details, tmp_path / "aa11" / "details.safetensors")
    elif harm == "other schema":
        report.write_text(json.dumps(json.loads(report.read_text()) | {"schema": 99}))
    elif harm == "report is a list":
        report.write_text("[]")
    else:
        report.write_text(json.dumps(json.loads(report.read_text()) | {"key": "cc33"}))
    if harm in ("cut report", "other report", "report is a list"):
        assert [r["key"] for r in store.reports()] == ["bb22"]
    assert store.get("aa11") is None
    assert len(store.problems) == 1 and "set aside" in store.problems[0]
    assert not (tmp_path / "aa11").exists() and list(tmp_path.glob("damaged-aa11-*"))
    store.put(some_run("aa11"))
    assert store.get("aa11") and {r["key"] for r in store.reports()} == {"aa11", "bb22"}


def test_a_streamed_runs_checkpoint_goes_with_it(tmp_path):
    store = RunStore(tmp_path)
    store.put(some_run("aa11"))
    for key in ("aa11", "bb22"):
        (tmp_path / CHECKPOINTS / key).mkdir(parents=True)
    store.remove("aa11")
    assert [folder.name for folder in (tmp_path / CHECKPOINTS).iterdir()] == ["bb22"]


def test_the_oldest_make_room_and_the_newest_stays(tmp_path):
    store = RunStore(tmp_path)
    for number, key in enumerate(("aa", "bb", "cc")):
        store.put(some_run(key, 512))
        for file in (tmp_path / key).iterdir():
            os.utime(file, (1000 + number, 1000 + number))
    size = sum(f.stat().st_size for f in (tmp_path / "aa").iterdir())
    small = RunStore(tmp_path, most_bytes=int(2.5 * size))
    small.put(some_run("dd", 512))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cc", "dd"]
    RunStore(tmp_path, most_bytes=1).put(some_run("ee", 512))
    assert [p.name for p in tmp_path.iterdir()] == ["ee"]


def test_reports_of_runs_that_are_gone_leave_memory(tmp_path):
    store, other = RunStore(tmp_path), RunStore(tmp_path)
    for key in ("aa11", "bb22"):
        store.put(some_run(key))
    assert len(store.reports()) == len(store._reports) == 2
    other.remove("aa11")  # by another process
    assert [report["key"] for report in store.reports()] == ["bb22"] and len(store._reports) == 1


def test_names_are_kept_bounded_and_plain(tmp_path):
    store = RunStore(tmp_path)
    store.put(some_run("aa11"))
    store.set_label("aa11", "  for\nclass " + "x" * 500)
    assert store.reports()[0]["label"] == ("for class " + "x" * 500)[:120]
    assert load_run(tmp_path / "aa11").report == some_run("aa11").report
    with pytest.raises(EggsError, match="Only runs in the store"):
        store.set_label("bb22", "x")
    store.remove("aa11")
    assert store.reports() == [] and store.get("aa11") is None


@pytest.mark.parametrize("key", ["../x", "a/b", "", "a" * 65, "damaged-1", "a.b"])
def test_keys_cannot_leave_the_folder(tmp_path, key):
    store = RunStore(tmp_path)
    for act in (store.get, store.remove, lambda k: store.set_label(k, "x"), lambda k: store.put(some_run(k))):
        with pytest.raises(EggsError, match="no key of a run"):
            act(key)


def test_a_full_disk_leaves_the_store_as_it_was(tmp_path, monkeypatch):
    store = RunStore(tmp_path)
    store.put(some_run("aa11"))

    def full(*_args, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(EggsError, match="free some space"):
        store.put(some_run("bb22"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["aa11"] and store.get("aa11")


WRITER = """
import sys; sys.path[:0] = [{root!r}, {root!r} + "/tests/support"]
from made_up import made_up_run
from pathlib import Path
from eggs_core.runs.store import RunStore
store = RunStore(Path({folder!r}))
print("ready", flush=True)
while True:
    for key in ("aa11", "bb22", "cc33"):
        store.put(made_up_run(key, shapes={{"a.b": (4096, 16)}}))
"""


def test_killing_a_writer_leaves_every_run_whole(tmp_path):
    code = WRITER.format(root=str(ROOT), folder=str(tmp_path))
    for pause in (0.05, 0.2, 0.35):
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "ready\n"
        time.sleep(pause)
        process.send_signal(signal.SIGKILL)
        process.wait()
        store = RunStore(tmp_path)
        for key in ("aa11", "bb22", "cc33"):
            run = store.get(key)  # whole, or not there: never damaged
            assert run is None or run.mask("a.b").shape == (4096, 16)
        assert store.problems == []


def test_other_weights_have_another_fingerprint(bundled):
    model = bundled("tiny-llama")
    model = type(model)(model.name, model.model, model.tokenizer)  # of no file, so that the tensors in memory count
    changed = type(model)(model.name, copy.deepcopy(model.model), model.tokenizer)
    assert changed.fingerprint == model.fingerprint
    changed = type(model)(model.name, copy.deepcopy(model.model), model.tokenizer)
    with torch.no_grad():
        next(changed.model.parameters()).add_(1e-3)
    assert changed.fingerprint != model.fingerprint
