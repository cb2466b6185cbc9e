"""Recovering a run's weights: kept, masked anew or pruned again, and what a cache holds."""

import pytest
import torch

from eggs_core.config import make_config
from eggs_core.errors import EggsError
from eggs_core.models.dense_models import ModelCache
from eggs_core.packed.linear import PackedLinear
from eggs_core.progress import Progress
from eggs_core.runs.events import Finished
from eggs_core.runs.execute import execute
from eggs_core.runs.measured_speed import measure_speed
from eggs_core.runs.measurement import cases_of, measure_key
from eggs_core.runs.pruned_models import PrunedModel, WeightCache, keep, recover

SMALL = {"calibration_windows": 2, "calibration_length": 32, "evaluation_windows": 2, "evaluation_length": 32}
MODELS = ModelCache()


def finished(method: str, **options) -> Finished:
    config = make_config("tiny-opt", "2:4", method, **{**SMALL, **options})
    return list(execute(config, cache=MODELS))[-1]


def recovered(run, cache) -> PrunedModel:
    steps = recover(run, cache, MODELS)
    while True:
        try:
            assert isinstance(next(steps), Progress)
        except StopIteration as end:
            return end.value


def same_weights(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


def test_what_was_kept_comes_back_with_its_packed_twin():
    done, cache = finished("ria"), WeightCache()
    keep(done, cache)
    models = recovered(done.run, cache)
    assert models.origin == "kept" and models.zeros is done.model and cache.get(done.run.key) is models
    layer = models.packed.get_submodule(done.run.report["layers"][0]["name"])
    assert isinstance(layer, PackedLinear)
    assert torch.equal(layer.to_dense(), done.model.get_submodule(done.run.report["layers"][0]["name"]).weight)
    assert recovered(done.run, cache) is models


def test_without_reconstruction_the_masks_are_enough_and_the_dense_model_stays():
    done, cache = finished("wanda"), WeightCache()
    before = {n: p.clone() for n, p in done.dense.model.named_parameters()}
    models = recovered(done.run, cache)
    assert models.origin == "masked" and same_weights(models.zeros, done.model)
    assert all(torch.equal(before[n], p) for n, p in models.dense.model.named_parameters())


@pytest.mark.usefixtures("one_thread")  # texts are equal only where sums are
@pytest.mark.parametrize("method", ["wanda", "sparsegpt"])
def test_rounded_values_are_packed_as_they_were_evaluated(method):
    done, cache = finished(method, values="int4"), WeightCache()
    size, name = done.run.report["size"], done.run.report["layers"][0]["name"]
    again = recovered(done.run, cache)
    keep(done, cache)
    for models in (again, recovered(done.run, cache)):
        layer = models.packed.get_submodule(name)
        assert layer.bits == 4 and torch.equal(layer.to_dense(), done.model.get_submodule(name).weight)
        pruned = [models.packed.get_submodule(row["name"]) for row in done.run.report["layers"]]  # without the head
        held = sum(one.nbytes - one.bias.nbytes for one in pruned)
        assert held == size["packed_pruned"] == size["values"] + size["positions"] + size["scales"]
    assert again.origin == "pruned again" and same_weights(again.zeros, done.model)
    assert done.run.report["latency"]["texts_equal"]


def test_refitted_weights_are_pruned_again_to_the_same_values():
    done, cache = finished("sparsegpt"), WeightCache()
    models = recovered(done.run, cache)
    assert models.origin == "pruned again" and cache.get(done.run.key) is models
    for a, b in zip(models.zeros.parameters(), done.model.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_a_text_that_is_gone_is_told():
    done = finished("sparsegpt")
    done.run.report["config"]["calibration"] = "my own text"
    with pytest.raises(EggsError, match="press Prune again"):
        recovered(done.run, WeightCache())


def test_the_cache_is_bounded_in_number_and_bytes():
    done = finished("wanda")
    models = PrunedModel(done.dense, done.model, {}, {}, "kept", {})
    cache = WeightCache(most_runs=2)
    for key in "abc":
        cache.put(key, models)
    assert cache.get("a") is None and cache.get("b") is cache.get("c") is models
    small = WeightCache(most_bytes=sum(models.tensors().values()) - 1)
    small.put("a", models)
    assert small.get("a") is None


def test_a_measurement_grows_and_serves_runs_of_equal_form():
    run = finished("magnitude").run
    steps = list(measure_speed(run, MODELS, cell_seconds=0.005))
    shares = [p.share for p, _ in steps]
    assert shares == sorted(shares) and shares[-1] == 1.0
    found = steps[-1][1]
    assert found.complete and found.cases == cases_of(run)
    assert len(found.layers) == 5 * len(found.cases)
    counted = run.report["size"]["packed_bytes"]
    assert counted < found.file_bytes < counted + 100_000  # plus the header
    assert found.generation["packed"]["decode_tokens_per_s"]["median"] > 0
    assert found.packed_bytes["total"] < found.dense_bytes["total"]
    assert measure_key(finished("wanda").run) == measure_key(run)  # equal weights, pattern and shapes, no permutation
