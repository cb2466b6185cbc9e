"""Whole runs of the bundled models, as the app and the command line make them."""

import copy
import json

import pytest
import torch

from eggs_core import device
from eggs_core.config import make_config
from eggs_core.errors import EggsError, OutOfMemory
from eggs_core.limits import HOSTED
from eggs_core.masks.selection import check_mask
from eggs_core.models.dense_models import ModelCache
from eggs_core.pattern import NMPattern
from eggs_core.progress import Progress
from eggs_core.runs import execute as pipeline
from eggs_core.runs.events import Finished, LayerDone
from eggs_core.runs.execute import execute
from eggs_core.runs.export import export_run
from eggs_core.runs.patterns import pattern_words
from eggs_core.runs.run import load_run, save_run
from eggs_core.text.sources import Text

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL = {"calibration_windows": 4, "calibration_length": 64, "evaluation_windows": 4, "evaluation_length": 64}


@pytest.fixture(scope="module")
def cache():
    """One cache for this file, so that each bundled model is loaded once."""
    return ModelCache()


def state(model) -> list[torch.Tensor]:
    return [p.detach().clone() for p in model.parameters()]


@pytest.mark.parametrize(("pattern", "bits"), [("1:1", 4.5), ("2:4", 3.25)])
def test_a_run_with_rounded_values_counts_their_bits_and_is_read_back(cache, tmp_path, pattern, bits):
    config = make_config("tiny-llama", pattern, "magnitude", values="int4", **SMALL)
    finished = list(execute(config, cache=cache))[-1]
    run = finished.run
    assert run.bits_per_weight == pytest.approx(bits, abs=0.01)
    assert run.report["latency"]["texts_equal"] and f"{bits:g} bits per weight" in run.report["size"]["formula"]
    save_run(run, tmp_path / "run")
    assert load_run(tmp_path / "run").config == config
    assert len(finished.grids) == len(run.report["layers"])
    if pattern == "1:1":  # quantisation alone: every weight is there, and nearly as good
        assert all(layer["sparsity"] == 0 and layer["gap_z"] == 0 for layer in run.report["layers"])
        assert 1 < run.ratio < 1.1


@pytest.mark.parametrize(
    ("model", "method"), [("tiny-llama", "eggs-ptp"), ("tiny-opt", "eggs-ptp-plus"), ("tiny-llama", "sparsegpt")]
)
def test_a_full_run(cache, tmp_path, model, method):
    config = make_config(model, "2:4", method, **SMALL)
    dense = cache.get(model)
    before = state(dense.model)
    events = list(execute(config, cache=cache))
    done, finished = [e for e in events if isinstance(e, LayerDone)], events[-1]
    assert isinstance(finished, Finished)
    assert finished.dense is dense
    assert all(torch.equal(a, b) for a, b in zip(before, state(dense.model), strict=True))
    shares = [e.share for e in events if isinstance(e, Progress)]
    assert shares == sorted(shares)
    assert 0 <= shares[0] <= shares[-1] <= 1

    report = finished.run.report
    assert len(report["layers"]) == len(done) == done[0].total == (42 if model == "tiny-llama" else 36)
    wanted = "model pattern method seed calibration layers evaluation size latency versions key config created"
    assert set(wanted.split()) <= report.keys()
    assert (report["model"], report["pattern"], report["method"], report["seed"]) == (model, "2:4", method, 0)
    assert report["config"] == config.to_dict()
    assert {"text", "sha256", "window", "windows", "dense", "pruned"} <= report["evaluation"].keys()
    assert (report["evaluation"]["window"], report["evaluation"]["windows"]) == (64, 4)
    assert 1 < report["evaluation"]["dense"]["perplexity"] < report["evaluation"]["pruned"]["perplexity"] < 4096
    assert report["size"]["packed_bytes"] < report["size"]["dense_bytes"]

    save_run(finished.run, tmp_path / "run")
    back = load_run(tmp_path / "run")
    assert back.report == json.loads(json.dumps(report))
    for layer, entry in zip(done, back.report["layers"], strict=True):
        assert entry["name"] == layer.report.name
        mask = back.mask(entry["name"])
        order = back.permutations.get(entry["name"], torch.arange(mask.shape[1]))
        check_mask(mask[:, order], NMPattern(2, 4), entry["name"])
        assert torch.equal(mask, layer.report.mask)
        weight = finished.model.get_submodule(entry["name"]).weight
        assert not weight[~mask].any()


def test_stopping_leaves_the_dense_model_unharmed(cache):
    dense = cache.get("tiny-llama")
    before = state(dense.model)
    running = execute(make_config("tiny-llama", "2:4", "ria", **SMALL), cache=cache)
    for event in running:
        if isinstance(event, LayerDone):
            break
    running.close()
    assert all(torch.equal(a, b) for a, b in zip(before, state(dense.model), strict=True))
    assert not any(m._forward_pre_hooks for m in dense.model.modules())


def test_two_runs_side_by_side_do_not_mix(cache):
    """Two generators advanced in turn, as two people's runs are, give what each gives alone."""
    configs = [make_config("tiny-llama", p, "magnitude", **SMALL) for p in ("1:4", "2:4")]
    running = [execute(c, cache=cache) for c in configs]
    layers = {0: [], 1: []}
    while any(len(found) < 8 for found in layers.values()):
        for i, generator in enumerate(running):
            event = next(generator)
            if isinstance(event, LayerDone):
                layers[i].append(event.report)
    for generator in running:
        generator.close()
    assert {round(r.sparsity, 6) for r in layers[0]} == {0.75}
    assert {round(r.sparsity, 6) for r in layers[1]} == {0.5}


def test_texts_of_ones_own(cache):
    text = Text("mine", "We the people of the United States. " * 60)
    name = f"text:{text.sha256}"
    config = make_config("tiny-llama", "2:4", "ria", calibration=name, evaluation=name, **SMALL)
    report = list(execute(config, {name: text}, cache=cache))[-1].run.report
    assert report["calibration"]["text"] == report["evaluation"]["text"] == "mine"
    assert report["calibration"]["sha256"] == text.sha256


def refused(cache, texts=None, model="tiny-llama", pattern="2:4", stream=None, **options) -> str:
    with pytest.raises(EggsError) as caught:
        list(execute(make_config(model, pattern, "ria", **{**SMALL, **options}), texts, cache=cache, stream=stream))
    return str(caught.value)


def test_what_cannot_run_is_refused_in_a_sentence(cache):
    assert "layer model.layers.0.self_attn.q_proj has shape (192, 192)" in refused(cache, pattern="5:20")
    assert "at most 256 tokens" in refused(cache, calibration_length=300)
    assert "at most 256 tokens" in refused(cache, evaluation_length=300)
    assert "cannot be reached" in refused(cache, model="nobody/nothing")
    assert "is empty" in refused(cache, {"text:e": Text("mine", " \n")}, calibration="text:e")
    assert "fewer than one window" in refused(cache, {"text:s": Text("mine", "a few words")}, calibration="text:s")
    assert "fewer than one window" in refused(cache, {"text:s": Text("mine", "a few words")}, evaluation="text:s")
    assert "'text:lost'" in refused(cache, calibration="text:lost")


def test_running_out_of_memory_is_a_sentence():
    for error in (MemoryError(), torch.OutOfMemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")):
        with pytest.raises(OutOfMemory, match="Pruning ran out of memory"), pipeline.memory_errors("Pruning"):
            raise error
    with pytest.raises(RuntimeError, match="something else"), pipeline.memory_errors("Pruning"):
        raise RuntimeError("something else")


def test_a_run_that_does_not_fit_is_refused_before_anything_is_copied(cache, monkeypatch):
    cache.get("tiny-llama")
    monkeypatch.setattr(device, "free_memory", lambda _: 1_000_000)
    monkeypatch.setattr(copy, "deepcopy", lambda _: pytest.fail("copied"))
    assert "MB of memory, and 1.0 MB are free" in refused(cache, stream=False)


def test_a_public_server_checks_the_configuration_first(cache, monkeypatch):
    monkeypatch.setenv(HOSTED, "1")
    assert "at most 256 windows" in refused(cache, calibration_windows=300)


def test_an_unstructured_run_is_a_reference_without_a_packed_form(cache, tmp_path):
    config = make_config("tiny-llama", "50%", "wanda", **SMALL)
    run = list(execute(config, cache=cache))[-1].run
    for layer in run.report["layers"]:
        mask = run.mask(layer["name"])
        assert (mask.sum(1) == layer["shape"][1] // 2).all() and layer["sparsity"] == 0.5
    assert run.report["pattern"] == "50%" and pattern_words(run.report) == "50%"
    size = run.report["size"]
    assert run.report["latency"] is None and not run.packs
    assert size["packed_bytes"] == size["dense_bytes"] and "no packed form" in size["formula"]
    save_run(run, tmp_path / "run")
    again = load_run(tmp_path / "run")
    assert again.config == config and torch.equal(again.mask(layer["name"]), mask)
    with pytest.raises(EggsError, match="no packed form"):
        next(export_run(again, "packed", tmp_path / "packed"))
    by_groups = list(execute(config.changed(pattern="2:4"), cache=cache))[-1].run
    kept = [sum(layer["retained_score"] for layer in one.report["layers"]) for one in (run, by_groups)]
    assert kept[0] > kept[1]  # whole rows leave the score more choice
