"""Whole runs block by block, as the app and the command line make them for models beyond the memory."""

import json
import shutil

import pytest
import torch
from typer.testing import CliRunner

from eggs_core import device
from eggs_core.cli.command_line import app
from eggs_core.config import make_config
from eggs_core.errors import EggsError
from eggs_core.evaluation.perplexity import evaluate
from eggs_core.models.dense_models import ModelCache
from eggs_core.models.loading import load
from eggs_core.progress import Progress
from eggs_core.pruning.activation_store import WORK
from eggs_core.runs import streamed as streamed_run
from eggs_core.runs.events import Finished, LayerDone
from eggs_core.runs.execute import execute
from eggs_core.runs.pruned_models import WeightCache, keep, recover
from eggs_core.runs.run import load_run
from eggs_core.runs.streamed import checkpoint_of, streamed_folder, streams
from eggs_core.text.sources import bundled_text
from eggs_core.text.windows import evaluation_windows

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL = {"calibration_windows": 4, "calibration_length": 64, "evaluation_windows": 4, "evaluation_length": 64}
LAYERS = 21  # three blocks of seven


@pytest.fixture(scope="module")
def config(small_folder):
    """What is run here."""
    return make_config(str(small_folder), "2:4", "wanda", **SMALL)


@pytest.fixture
def little_memory(monkeypatch):
    """A machine that has 100 kB left: no model fits."""
    monkeypatch.setattr(streamed_run, "free_memory", lambda _device: 100_000)


@pytest.fixture(scope="module")
def whole(config):
    """The same configuration in memory."""
    return list(execute(config, cache=ModelCache(), stream=False))[-1].run


def test_a_model_beyond_the_memory_goes_block_by_block_and_the_run_is_the_same(little_memory, whole, config):
    events = list(execute(config))
    finished = events[-1]
    assert isinstance(finished, Finished) and finished.dense is None and finished.model is None
    assert sum(isinstance(e, LayerDone) for e in events) == LAYERS
    said = [e for e in events if isinstance(e, Progress)]
    assert any("block by block from disk" in e.text for e in said)
    assert any(e.text == "Streaming block 3 of 3, mlp.down_proj" for e in said)
    assert [e.share for e in said] == sorted(e.share for e in said)

    run, out = finished.run, streamed_folder(config.key())
    assert run.report["checkpoint"] == str(out.resolve()) and run.report["latency"] is None
    assert not (out / WORK).exists()
    assert load_run(out).report == json.loads(json.dumps(run.report))
    same = {"schema", "key", "model", "pattern", "config", "calibration", "parameters"}
    assert {k: run.report[k] for k in same} == {k: whole.report[k] for k in same}
    for name, mask in whole.packed_masks.items():
        assert torch.equal(run.packed_masks[name], mask)
        assert torch.equal(run.packed_topn[name], whole.packed_topn[name])
    for row in ("dense", "pruned"):
        mine, theirs = (r.report["evaluation"][row]["perplexity"] for r in (run, whole))
        assert mine == pytest.approx(theirs, rel=1e-4)
    assert run.report["size"]["dense_bytes"] == whole.report["size"]["dense_bytes"] / 2  # as stored: fp16

    loaded = load(str(out), torch.device("cpu"))  # the folder is a model like any other
    windows = evaluation_windows(loaded.tokenizer, bundled_text("heldout"), 4, 64)
    reached = evaluate(loaded.model, windows).perplexity
    assert reached == pytest.approx(run.report["evaluation"]["pruned"]["perplexity"], rel=1e-3)

    again = list(execute(config))
    assert not any(isinstance(e, LayerDone) for e in again) and again[-1].run.report == load_run(out).report

    cache = WeightCache()
    keep(finished, cache)
    with pytest.raises(EggsError, match=r"larger than memory and was pruned block by block.*lies in"):
        list(recover(run, cache))
    shutil.rmtree(out)


def test_an_ended_run_says_where_it_goes_on(little_memory, config):
    running = execute(config)
    layers = 0
    for event in running:
        layers += isinstance(event, LayerDone)
        if layers == 17:  # in the third block
            running.close()
            break
    events = list(execute(config))
    assert any("going on after 2 finished blocks" in e.text for e in events if isinstance(e, Progress))
    assert sum(isinstance(e, LayerDone) for e in events) == 7
    assert len(events[-1].run.report["layers"]) == LAYERS
    shutil.rmtree(streamed_folder(config.key()))


def test_what_fits_does_not_stream():
    assert not streams("tiny-llama")  # 6.9 MB in fp16, twice that in fp32
    assert not streams("nobody/nothing")  # offline: loading says what is wrong with it
    assert streams("tiny-llama", lambda _device: int(2.6 * 2 * 6_892_344) - 10**6)


def test_a_hub_model_is_measured_before_it_is_downloaded():
    from types import SimpleNamespace

    sizes = [SimpleNamespace(rfilename="model.safetensors", size=10**12), SimpleNamespace(rfilename="a", size=None)]
    asked = []

    def info(name, **_options):
        return asked.append(name) or SimpleNamespace(siblings=sizes)

    assert streams("owner/huge", info=info) and asked == ["owner/huge"]


def test_a_hub_model_that_streams_is_downloaded_without_other_files(small_folder):
    def download(name: str, allow_patterns: list[str] | None = None, local_files_only: bool = False) -> str:
        assert name == "owner/huge" and "*.safetensors" in allow_patterns and not local_files_only
        return str(small_folder)

    checkpoint = streamed_run.checkpoint_of("owner/huge", download)
    assert checkpoint.name == "owner/huge" and len(checkpoint) == 3
    with pytest.raises(EggsError, match="owner/huge could not be opened: division by zero"):
        streamed_run.checkpoint_of("owner/huge", lambda *_a, **_k: 1 / 0)


def test_the_command_line_streams_into_out(tmp_path, small_folder):
    small = [f"--{k.replace('_', '-')}={v}" for k, v in SMALL.items()]
    out = tmp_path / "out"
    command = ["prune", "--stream", "--model", str(small_folder), "--method", "wanda", "--out", str(out), *small]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "Streaming block 1 of 3" in result.stderr and f"saved in {out}" in result.stdout
    assert {"config.json", "report.json", "masks.safetensors", "model.safetensors.index.json"} <= {
        f.name for f in out.iterdir()
    }
    assert load_run(out).report["checkpoint"] == str(out)
    assert (
        CliRunner().invoke(app, ["analyze", "--run", str(out), "--layer", "model.layers.0.mlp.up_proj"]).exit_code == 0
    )


def test_the_fingerprint_of_a_model_on_disk_tells_weights_apart(little_memory, tmp_path, bundled):
    first = checkpoint_of("tiny-llama").fingerprint
    model = bundled("tiny-llama")
    folder = tmp_path / "other"
    changed = {k: v.clone() for k, v in model.model.state_dict().items()}
    changed["model.norm.weight"][5] += 1
    model.model.save_pretrained(folder, state_dict=changed)
    model.tokenizer.save_pretrained(folder)
    assert checkpoint_of(str(folder)).fingerprint != first == model.fingerprint


def test_free_memory_is_a_figure():
    assert 0 < device.free_memory(torch.device("cpu")) < 1 << 50
    assert device.every_device(torch.device("cpu")) == [torch.device("cpu")]
