"""Weights that change between a run and its use: one byte is enough, and every way to use a run says so."""

import json
import os
import shutil
import time
from pathlib import Path

import pytest
import torch
from gguf_files import write_gguf
from harness import ROOT
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from eggs_core.cli.command_line import app
from eggs_core.config import make_config
from eggs_core.errors import EggsError
from eggs_core.models.checkpoint import Checkpoint
from eggs_core.models.dense_models import ModelCache
from eggs_core.models.fingerprints import KEPT, PREFIX, Known, WeightFiles, check_same_weights, of_files, same_weights
from eggs_core.models.loading import LoadedModel, load
from eggs_core.models.source import WITHOUT_WEIGHTS
from eggs_core.runs.execute import execute
from eggs_core.runs.measured_speed import measure_speed
from eggs_core.runs.pruned_models import WeightCache, keep, recover
from eggs_core.runs.run import load_run, save_run

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")
SINGLE = "model.safetensors"
SMALL = {"calibration_windows": 2, "calibration_length": 32, "evaluation_windows": 2, "evaluation_length": 32}
CHANGED = "have changed since this run"


@pytest.fixture
def folder(small_folder, tmp_path) -> Path:
    """A model that may be changed."""
    return shutil.copytree(small_folder, tmp_path / "model")


def one_byte(folder: Path) -> None:
    """Change one byte in the middle of the weights, and nothing else that shows."""
    path = folder / SINGLE
    times = path.stat()
    with path.open("r+b") as file:
        file.seek(times.st_size * 2 // 3)
        old = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([old[0] ^ 1]))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def most_of_a_layer(folder: Path) -> None:
    """Zero all values of a layer but those that a sampled fingerprint reads, and the first rows."""
    tensors = load_file(folder / SINGLE)
    weight = tensors["model.embed_tokens.weight"]
    flat = torch.zeros_like(weight).flatten()
    step = weight.numel() // 4096
    flat[::step] = weight.flatten()[::step]
    flat[: 256 * weight.shape[1]] = weight.flatten()[: 256 * weight.shape[1]]
    assert flat.count_nonzero() < 0.1 * flat.numel()
    save_file({**tensors, "model.embed_tokens.weight": flat.view_as(weight)}, folder / SINGLE, {"format": "pt"})


CHANGES = [one_byte, most_of_a_layer]


def fingerprints(folder: Path) -> set[str]:
    """Of the model in memory, and block by block."""
    return {load(str(folder), CPU).fingerprint, Checkpoint(str(folder), CPU).fingerprint}


@pytest.mark.parametrize("change", CHANGES)
def test_both_ways_tell_weights_apart_and_agree(folder, change):
    before = fingerprints(folder)
    change(folder)
    after = fingerprints(folder)
    assert len(before) == len(after) == 1 and before != after
    assert all(f.startswith(PREFIX) and len(f) == len(PREFIX) + 32 for f in before | after)


def test_how_tensors_are_spread_over_files_does_not_matter(folder, tmp_path):
    before = fingerprints(folder)
    load(str(folder), CPU, torch.float16).model.save_pretrained(folder, max_shard_size="100KB")
    assert len(list(folder.glob("*.safetensors"))) > 2
    assert fingerprints(folder) == before


def test_a_gguf_file_has_one(tmp_path, bundled):
    path = tmp_path / "tiny.gguf"
    write_gguf(path, bundled())
    before = load(str(path), CPU).fingerprint
    data = bytearray(path.read_bytes())
    data[-1000] ^= 1
    path.write_bytes(data)
    assert load(str(path), CPU).fingerprint != before


@pytest.fixture
def finished(folder):
    """A run of the folder's model, in memory."""
    return list(execute(make_config(str(folder), "2:4", "wanda", **SMALL), cache=ModelCache(), stream=False))[-1]


@pytest.fixture
def refitted(folder):
    """A run whose weights have to be pruned again."""
    return list(execute(make_config(str(folder), "2:4", "sparsegpt", **SMALL), cache=ModelCache(), stream=False))[-1]


def drained(steps) -> None:
    for _ in steps:
        pass


@pytest.mark.parametrize("change", CHANGES)
def test_the_command_line_refuses_a_changed_model(folder, finished, tmp_path, change):
    save_run(finished.run, tmp_path / "run")
    evaluate = ["evaluate", "--run", str(tmp_path / "run"), "--evaluation-length", "32", "--evaluation-windows", "1"]
    assert CliRunner().invoke(app, evaluate).exit_code == 0
    change(folder)
    for command in (
        evaluate,
        ["export", "--run", str(tmp_path / "run"), "--format", "hf", "--out", str(tmp_path / "hf")],
        ["export", "--run", str(tmp_path / "run"), "--format", "packed", "--out", str(tmp_path / "packed")],
    ):
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 2, command
        assert CHANGED in result.stderr and str(folder) in result.stderr
    assert not (tmp_path / "hf").exists() and not (tmp_path / "packed").exists()


def test_recovering_and_measuring_refuse_a_changed_model(folder, finished, refitted):
    one_byte(folder)
    for run in (finished.run, refitted.run):
        with pytest.raises(EggsError, match=CHANGED):
            drained(recover(run, WeightCache(), ModelCache()))
        with pytest.raises(EggsError, match=CHANGED):
            drained(measure_speed(run, ModelCache()))


def test_kept_weights_serve_their_own_run_and_no_later_one(folder, finished):
    cache, models = WeightCache(), ModelCache()
    keep(finished, cache)
    one_byte(folder)
    drained(recover(finished.run, cache, models))  # they are what the run was made with
    again = list(execute(make_config(str(folder), "2:4", "wanda", **SMALL), cache=models, stream=False))[-1]
    assert again.run.key == finished.run.key and again.run.report["fingerprint"] != finished.run.report["fingerprint"]
    drained(recover(again.run, cache, models))
    with pytest.raises(EggsError, match=CHANGED):
        drained(recover(finished.run, cache, models))


def test_a_model_in_memory_is_read_again_when_its_files_have_changed(folder):
    cache = ModelCache()
    first = cache.get(str(folder))
    assert cache.get(str(folder)) is first
    before = first.fingerprint
    one_byte(folder)
    assert cache.loaded(str(folder)) is None
    assert cache.get(str(folder)).fingerprint != before


def test_files_that_change_after_loading_have_no_fingerprint(folder):
    loaded = load(str(folder), CPU)
    one_byte(folder)
    with pytest.raises(EggsError, match="have changed since they were opened"):
        _ = loaded.fingerprint


def test_a_model_that_is_gone(folder, finished, tmp_path):
    save_run(finished.run, tmp_path / "run")
    shutil.rmtree(folder)
    for command in (["export", "--out", str(tmp_path / "out")], ["evaluate"]):
        result = CliRunner().invoke(app, [*command, "--run", str(tmp_path / "run")])
        assert result.exit_code == 2
        assert "There is no folder" in result.stderr and str(folder) in result.stderr


def test_another_model_is_named(folder, finished, tmp_path):
    other = shutil.copytree(folder, tmp_path / "other")
    check_same_weights(finished.run.report, load(str(other), CPU))  # a copy is the same model
    one_byte(other)
    with pytest.raises(EggsError, match=f"was made on {folder}, and {other} has other weights"):
        check_same_weights(finished.run.report, load(str(other), CPU))


def test_a_streamed_run_goes_on_only_with_the_same_weights(folder, tmp_path):
    config = make_config(str(folder), "2:4", "wanda", **SMALL)
    out = tmp_path / "out"
    first = list(execute(config, stream=True, out=out))[-1].run
    assert first.report["fingerprint"] == load(str(folder), CPU).fingerprint
    assert len(list(execute(config, stream=True, out=out))) < 4  # read back
    one_byte(folder)
    with pytest.raises(EggsError, match="holds a model already"):
        drained(execute(config, stream=True, out=out))


def test_an_unfinished_streamed_run_does_not_go_on_with_other_weights(folder, tmp_path):
    config = make_config(str(folder), "2:4", "wanda", **SMALL)
    running = execute(config, stream=True, out=tmp_path / "out")
    for event in running:
        if getattr(event, "report", None) and event.report.block == 1:
            break
    running.close()
    one_byte(folder)
    with pytest.raises(EggsError, match="unfinished run of another model"):
        drained(execute(config, stream=True, out=tmp_path / "out"))


def test_an_unfinished_streamed_run_of_an_earlier_version_goes_on(folder, tmp_path):
    config = make_config(str(folder), "2:4", "wanda", **SMALL)
    running = execute(config, stream=True, out=tmp_path / "out")
    for event in running:
        if getattr(event, "report", None) and event.report.block == 1:
            break
    running.close()
    state = tmp_path / "out" / ".unfinished" / "state.json"
    written = json.loads(state.read_text())
    written["input"]["weights"] = Checkpoint(str(folder), CPU).earlier_fingerprints[0]
    state.write_text(json.dumps(written))
    drained(execute(config, stream=True, out=tmp_path / "out"))
    assert load_run(tmp_path / "out").report["fingerprint"].startswith(PREFIX)


def test_shipped_runs_are_still_of_the_shipped_models(bundled):
    """They were made before, so that their fingerprint is of the old kind, or with this version."""
    for folder in sorted((ROOT / "assets" / "runs").iterdir()):
        report = json.loads((folder / "report.json").read_text())
        if report["model"] in WITHOUT_WEIGHTS:
            continue
        check_same_weights(report, bundled(report["model"]))
        other = {"tiny-llama": "tiny-opt", "tiny-opt": "tiny-llama"}[report["model"]]
        assert not same_weights(report["fingerprint"], bundled(other))


def test_runs_of_earlier_versions_are_recognised_whichever_way_they_were_made(folder):
    in_memory, streamed = load(str(folder), CPU).earlier_fingerprints
    assert len(in_memory) == len(streamed) == 16 and in_memory != streamed
    assert Checkpoint(str(folder), CPU).earlier_fingerprints == [streamed]
    for recorded in (in_memory, streamed):
        assert same_weights(recorded, load(str(folder), CPU))
    tensors = load_file(folder / SINGLE)
    tensors["model.norm.weight"][3] += 1
    save_file(tensors, folder / SINGLE, {"format": "pt"})
    for recorded in (in_memory, streamed, "0" * 16, None, 5, [], PREFIX):
        assert not same_weights(recorded, load(str(folder), CPU))


def test_a_model_made_in_memory_is_told_apart_by_its_tensors(tiny_model):
    first, same, other = (LoadedModel("m", tiny_model("llama"), None) for _ in range(3))
    with torch.no_grad():
        other.model.model.norm.weight[3] += 1e-3
    assert first.fingerprint == same.fingerprint != other.fingerprint


def settled(folder: Path) -> WeightFiles:
    """The weight file, once its last change lies far enough back to be remembered."""
    files = WeightFiles.look([folder / SINGLE])
    while not files.settled:
        time.sleep(0.1)
    return files


def test_a_fingerprint_is_computed_once_for_files_that_stay(folder, tmp_path):
    place = tmp_path / "cache" / "fingerprints.json"
    files = settled(folder)
    found = of_files(files, Known(place))
    assert list(json.loads(place.read_text()).values()) == [found]
    place.write_text(json.dumps({files.key: PREFIX + "0" * 32}))
    assert of_files(files, Known(place)) == PREFIX + "0" * 32  # taken from there by another process
    one_byte(folder)
    assert of_files(WeightFiles.look([folder / SINGLE]), Known(place)) not in (found, PREFIX + "0" * 32)


@pytest.mark.parametrize(
    "content", [b"", b"[1]", b"\xff", b'{"a": 5}', b'{"a": "other"}', b"[" * 100_000], ids=range(6)
)
def test_a_damaged_cache_is_no_cache(folder, tmp_path, content):
    place = tmp_path / "fingerprints.json"
    place.write_bytes(content)
    files = settled(folder)
    found = of_files(files, Known(place))
    assert list(json.loads(place.read_text()).values()) == [found]


def test_a_cache_that_cannot_be_written_costs_only_time(folder, tmp_path):
    (tmp_path / "file").write_text("")
    assert of_files(settled(folder), Known(tmp_path / "file" / "fingerprints.json")).startswith(PREFIX)


def test_the_cache_is_bounded(folder, tmp_path):
    place = tmp_path / "fingerprints.json"
    place.write_text(json.dumps({str(i): PREFIX for i in range(2 * KEPT)}))
    files = settled(folder)
    found = of_files(files, Known(place))
    kept = json.loads(place.read_text())
    assert len(kept) == KEPT and kept[files.key] == found
