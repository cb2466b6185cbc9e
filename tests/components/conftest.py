"""Finished runs of a very small random model, made by the real pipeline, so that reports always have today's form."""

import functools
from collections.abc import Callable

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from components.jobs.queue import Work
from eggs_core.config import PruneConfig, make_config
from eggs_core.models.dense_models import CACHE, ModelCache
from eggs_core.models.loading import LoadedModel
from eggs_core.runs.execute import execute
from eggs_core.runs.run import Run
from eggs_core.runs.store import STORE, RunStore

LAYERS = 14  # two blocks of seven
SMALL = {"calibration_windows": 2, "calibration_length": 32, "evaluation_windows": 6, "evaluation_length": 32}


def small_config(method: str = "ria", pattern: str = "2:4", **options) -> PruneConfig:
    """A configuration that the small model runs in a moment."""
    return make_config("micro", pattern, method, **{**SMALL, **options})


@pytest.fixture(scope="session")
def micro_model(bundled) -> LoadedModel:
    """A model called "micro": random Llama weights, two blocks of width 32, and a real tokenizer."""
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
    return LoadedModel("micro", LlamaForCausalLM(config).eval(), bundled("tiny-llama").tokenizer)


@pytest.fixture
def micro(micro_model) -> LoadedModel:
    """The small model, which the app has in memory."""
    CACHE.keep("micro", micro_model)
    return micro_model


@pytest.fixture(scope="session")
def make_run(micro_model) -> Callable[..., Run]:
    """A finished run of the small model; equal configurations are run once."""
    models = ModelCache()
    models.keep("micro", micro_model)

    @functools.cache
    def run(config: PruneConfig) -> Run:
        return list(execute(config, cache=models))[-1].run

    return lambda *args, **options: run(small_config(*args, **options))


@pytest.fixture(scope="session")
def follow() -> Callable:
    """Work done at once and in this thread: every value is seen, and closing stops it, as Stop does."""

    def direct(work: Work):
        value = None
        for step in work.steps(*work.args):
            value = work.after(value, step)
            yield value
        if work.keep:
            work.keep(value)

    return direct


@pytest.fixture
def store(tmp_path, monkeypatch) -> RunStore:
    """The app's store, in an empty folder."""
    monkeypatch.setenv("EGGS_STORE", str(tmp_path / "store"))
    return STORE
