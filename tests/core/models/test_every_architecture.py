"""Architectures of transformers, built small: pruned, exported and opened again they stay the same model."""

import pytest
from transformers import CONFIG_MAPPING

from benchmarks.architectures import QUICK, try_architecture
from tools.tiny_architectures import ARCHITECTURES

REFUSED = {"dory": "more than once", "hrm_text": "more than once"}

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("kind", QUICK)
def test_it_is_the_same_model_block_by_block_and_in_every_form(kind):
    found = try_architecture(kind)
    assert found.state == ("refused" if kind in REFUSED else "works"), found.why
    assert REFUSED.get(kind, "") in found.why
    assert found.error <= 1e-4
    assert found.share >= 0.9 or found.dense or kind in REFUSED


def test_all_that_are_tried_exist():
    assert set(QUICK) <= set(ARCHITECTURES) <= set(CONFIG_MAPPING)


@pytest.mark.parametrize("method", ["wanda", "sparsegpt", "eggs-ptp-plus"])
@pytest.mark.parametrize("kind", ["mixtral", "gpt_oss", "gemma3n_text"])
def test_experts_and_shared_keys_go_through_every_kind_of_method(kind, method):
    found = try_architecture(kind, method)
    assert (found.state, found.error <= 1e-4) == ("works", True), found.why
