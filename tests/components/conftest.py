"""Finished runs of a very small random model, made by the real pipeline, so that reports always have today's form."""

import functools
from collections.abc import Callable

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from components.jobs import prune as jobs
from components.jobs.queue import Work
from components.state import known_runs, reports
from eggs_core.config import PruneConfig, make_config
from eggs_core.models.dense_models import ModelCache
from eggs_core.models.loading import LoadedModel
from eggs_core.runs import execute as pipeline
from eggs_core.runs.execute import execute
from eggs_core.runs.run import Run
from eggs_core.runs.store import RunStore

LAYERS = 14  # two blocks of seven
SMALL = {"calibration_windows": 2, "calibration_length": 32, "evaluation_windows": 6, "evaluation_length": 32}


def small_config(method: str = "ria", pattern: str = "2:4", **options) -> PruneConfig:
    """A configuration that the small model runs in a moment."""
    return make_config("micro", pattern, method, **{**SMALL, **options})


@pytest.fixture(scope="session")
def micro_cache(bundled) -> ModelCache:
    """A cache that knows one model, "micro": random Llama weights, two blocks of width 32, and a real tokenizer."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=4096,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        tie_word_embeddings=True,
    )
    cache = ModelCache()
    cache.get = cache.loaded = lambda name: LoadedModel(name, model, tokenizer)
    model, tokenizer = LlamaForCausalLM(config).eval(), bundled("tiny-llama").tokenizer
    return cache


@pytest.fixture(scope="session")
def make_run(micro_cache) -> Callable[..., Run]:
    """A finished run of the small model; equal configurations are run once."""

    @functools.cache
    def run(config: PruneConfig) -> Run:
        return list(execute(config, cache=micro_cache))[-1].run

    return lambda *args, **options: run(small_config(*args, **options))


@pytest.fixture(scope="session")
def follow() -> Callable:
    """Work done at once and in this thread: every value is seen, and closing stops it, as Stop does."""

    def direct(work: Work):
        value = None
        for value in work.steps(*work.args):
            yield value
        if work.keep:
            work.keep(value)

    return direct


@pytest.fixture
def micro_jobs(micro_cache, monkeypatch, tmp_path) -> list[torch.nn.Module]:
    """Let run_job use the small model; the list fills with the copies that are being pruned."""
    pruned = []

    def watched(model, *rest):
        pruned.append(model)
        yield from real(model, *rest)

    real = pipeline.prune
    monkeypatch.setattr(pipeline, "prune", watched)
    monkeypatch.setattr(jobs, "execute", functools.partial(execute, cache=micro_cache))
    monkeypatch.setattr(pipeline, "CACHE", micro_cache)
    store = RunStore(tmp_path / "store")
    for module in (jobs, known_runs, reports):
        monkeypatch.setattr(module, "STORE", store)
    return pruned
