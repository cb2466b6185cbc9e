"""Token by token: losses are the model's own, equal models differ nowhere, kinds are what they say."""

import copy

import pytest
import torch

from eggs_core.errors import EggsError
from eggs_core.evaluation.tokens import FIRST_TOKENS, TOKEN_KINDS, compare_tokens, kind_of, mean_changes
from eggs_core.models.loading import load

TEXT = "Mr. Speaker, the people of the United States have 48 reasons to be thankful to Congress this year."


@pytest.fixture(scope="module")
def tiny():
    return load("tiny-llama")


def test_losses_are_those_that_transformers_computes(tiny):
    pruned = copy.deepcopy(tiny.model)
    with torch.no_grad():
        pruned.get_output_embeddings().weight.mul_(0.5)
    first, changes = compare_tokens(tiny.tokenizer, tiny.model, pruned, TEXT)
    ids = tiny.tokenizer(TEXT, return_tensors="pt").input_ids
    assert len(changes) == ids.shape[1] - 1 and first == tiny.tokenizer.decode([ids[0, 0]])
    with torch.no_grad():
        for side, model in (("dense", tiny.model), ("pruned", pruned)):
            wanted = model(input_ids=ids, labels=ids).loss.item()
            assert sum(getattr(c, side).nats for c in changes) / len(changes) == pytest.approx(wanted, rel=1e-5)
        shares = tiny.model(input_ids=ids).logits[0, 3].softmax(-1)
    best = shares.max().item()
    assert changes[3].dense.likeliest[0] == (tiny.tokenizer.decode([shares.argmax()]), pytest.approx(best, rel=1e-5))
    assert sum(count for _, count in mean_changes(changes).values()) == len(changes)


def test_a_model_compared_with_itself_changes_nowhere(tiny):
    _, changes = compare_tokens(tiny.tokenizer, tiny.model, tiny.model, TEXT)
    assert {c.change for c in changes} == {0.0}


@pytest.mark.parametrize(
    ("pieces", "kind"),
    [
        ([" in", " 1947"], "digits"),
        ([" end", "."], "punctuation"),
        ([" of", " Congress"], "names"),
        ([" done", ".", " The"], "words"),
        ([" thank", "ful"], "word endings"),
        ([" the", " people"], "words"),
    ],
)
def test_kinds(pieces, kind):
    before = [" so"] * FIRST_TOKENS
    assert kind_of(before + pieces, FIRST_TOKENS + len(pieces) - 1) == kind and kind in TOKEN_KINDS
    assert kind_of(pieces, 1) == "first tokens"


def test_bad_input_is_one_sentence(tiny):
    with pytest.raises(EggsError, match="fewer than two tokens"):
        compare_tokens(tiny.tokenizer, tiny.model, tiny.model, "")
    broken = copy.deepcopy(tiny.model)
    with torch.no_grad():
        broken.get_output_embeddings().weight.fill_(float("nan"))
    with pytest.raises(EggsError, match="NaN"):
        compare_tokens(tiny.tokenizer, tiny.model, broken, TEXT)
