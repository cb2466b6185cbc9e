"""Architectures of transformers, built small: pruned, exported and opened again they stay the same model."""

import pytest
from transformers import CONFIG_MAPPING

from benchmarks.architectures import QUICK, try_architecture
from tools.tiny_architectures import ARCHITECTURES

REFUSED = {"dory": "more than once", "hrm_text": "more than once"}

pytestmark = pytest.mark.usefixtures("one_thread")


SOME = QUICK[::3]  # the others are CI's


@pytest.mark.parametrize("kind", [pytest.param(k, marks=[] if k in SOME else [pytest.mark.slow]) for k in QUICK])
def test_it_is_the_same_model_block_by_block_and_in_every_form(kind):
    found = try_architecture(kind)
    assert found.state == ("refused" if kind in REFUSED else "works"), found.why
    assert REFUSED.get(kind, "") in found.why
    assert found.error <= 1e-4
    assert found.share >= 0.9 or found.dense or kind in REFUSED


def test_all_that_are_tried_exist():
    assert set(QUICK) <= set(ARCHITECTURES) <= set(CONFIG_MAPPING)


LONG = [("gpt_oss", "eggs-ptp-plus"), ("gemma3n_text", "eggs-ptp-plus"), ("gpt_oss", "sparsegpt")]
EVERY = [(k, m) for k in ("mixtral", "gpt_oss", "gemma3n_text") for m in ("wanda", "sparsegpt", "eggs-ptp-plus")]


@pytest.mark.parametrize(
    ("kind", "method"), [pytest.param(*p, marks=[pytest.mark.slow] if p in LONG else []) for p in EVERY]
)
def test_experts_and_shared_keys_go_through_every_kind_of_method(kind, method):
    found = try_architecture(kind, method)
    assert (found.state, found.error <= 1e-4) == ("works", True), found.why
