"""What texts begin with is read once, and answers are those of lm-eval, which reads every text whole."""

import random

import pytest
import torch
from random_masks import random_mask

from eggs_core.evaluation import shared_context
from eggs_core.evaluation.shared_context import SharedContext
from eggs_core.evaluation.zeroshot import _Stopped, _Watch, _watched
from eggs_core.models.architectures import linear_layers
from eggs_core.packed.model import packed_copy
from eggs_core.pattern import NMPattern
from tools.tiny_architectures import build

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.timeout(300)]

WINDOW, MOST = 16, 64
TOO_LONG = (("long", ""), [*range(2, 60)], [*range(2, 12)])


def some_requests(seed: int = 0) -> list:
    """Contexts of mixed lengths, each with some continuations, alike in parts, and a text that is too long."""
    draw = random.Random(seed)

    def tokens(count):
        return [draw.randrange(2, 64) for _ in range(count)]

    found = []
    for length in (6, 6, 9, 9, 9, 20, 31):
        context = tokens(length)
        found += [(("a", "choice"), context, tokens(draw.randint(1, 7))) for _ in range(draw.randint(1, 4))]
    context = tokens(11)
    found += [(("of one", "token"), context, tokens(1)) for _ in range(3)]
    start, end = tokens(12), tokens(5)
    found += [(("two", "contexts"), start + tokens(2), end) for _ in range(2)]
    found += [(("by", "itself"), tokens(3), tokens(12)) for _ in range(2)]
    start, end = tokens(5), tokens(9)
    found += [(("begins", "alike"), start, end + tokens(2)) for _ in range(2)]
    found += [found[0], TOO_LONG]
    draw.shuffle(found)
    return found


@pytest.fixture
def lm_eval(bundled):
    """lm-eval's own answers."""
    from lm_eval.models.huggingface import HFLM

    def answer(model, requests, **options):
        lm = HFLM(pretrained=model, tokenizer=bundled().tokenizer, max_length=MOST, batch_size=16, **options)
        return lm._loglikelihood_tokens(requests, disable_tqdm=True)

    return answer


def answered(model, requests, dtype=None) -> dict:
    found = {}
    for part in SharedContext(model, dtype).answers(requests, MOST):
        assert not found.keys() & part.keys()
        found |= part
    return found


def same(found: dict, expected: list, most: float = 1e-4) -> None:
    assert {n: greedy for n, (_, greedy) in found.items()} == {n: expected[n][1] for n in found}
    assert {n: total for n, (total, _) in found.items()} == pytest.approx({n: expected[n][0] for n in found}, abs=most)


def read(model) -> list[int]:
    """A list that grows by how many tokens each call of the model reads."""
    counts: list[int] = []
    model.register_forward_pre_hook(lambda _module, args: counts.append(args[0].numel()))
    return counts


@pytest.mark.parametrize("name", ["tiny-llama", "tiny-opt"])
def test_a_bundled_models_answers_are_lm_evals(bundled, lm_eval, name):
    model, requests = bundled(name).model, some_requests(1)
    found = answered(model, requests)
    assert len(found) == len(requests) - 1
    same(found, lm_eval(model, requests))


@pytest.mark.parametrize("kind", ["llama", "opt", "gpt2", "bloom", "gpt_neox", "falcon", "mixtral"])
def test_answers_are_lm_evals(tiny_model, lm_eval, kind):
    model, requests = tiny_model(kind), some_requests()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = answered(model, requests)
    assert found.keys() == {n for n, request in enumerate(requests) if request is not TOO_LONG}
    same(found, lm_eval(model, requests))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("kind", ["mistral", "gemma3_text", "gpt_oss"])
def test_where_a_window_slides_only_shorter_texts_are_shared(lm_eval, kind):
    model, requests = build(kind), some_requests()
    assert model.config.sliding_window == WINDOW
    found = answered(model, requests)
    assert found.keys() == {n for n, (_, start, end) in enumerate(requests) if len(start + end) - 1 <= WINDOW}
    same(found, lm_eval(model, requests))


@pytest.mark.parametrize("kind", ["mamba", "qwen3_next", "gemma3n_text", "bert"])
def test_other_caches_and_none_are_left_to_lm_eval(kind):
    assert answered(build(kind), some_requests()) == {}


def test_keys_that_turn_otherwise_in_long_texts_are_not_gone_on_from(tiny_model, lm_eval):
    factors = {"short_factor": [1.0] * 4, "long_factor": [3.0] * 4}
    rope = {"rope_type": "longrope", "rope_theta": 1e4, **factors}
    model = tiny_model("phi3", rope_parameters=rope, original_max_position_embeddings=20)
    requests = some_requests()
    found = answered(model, requests)
    assert found.keys() == {n for n, (_, start, end) in enumerate(requests) if len(start + end) - 1 <= 20}
    expected = [lm_eval(model, [request])[0] for request in requests]  # padding, too, makes a text longer
    same(found, expected)


def test_small_calls_give_the_same_answers(tiny_model, lm_eval, monkeypatch):
    model, requests = tiny_model("llama"), some_requests()
    monkeypatch.setattr(shared_context, "MOST_TOKENS", 64)
    monkeypatch.setattr(shared_context, "MOST_LOGITS", 30 * 64)
    monkeypatch.setattr(shared_context, "A_CALL", 0)
    sizes = []
    hook = model.register_forward_hook(lambda _m, args, out: sizes.append((args[0].numel(), out.logits.numel())))
    found = answered(model, requests)
    hook.remove()
    assert len(found) == len(requests) - 1
    assert all(tokens <= 64 and logits <= 30 * 64 for tokens, logits in sizes)
    same(found, lm_eval(model, requests))


def test_a_context_is_read_once(tiny_model):
    model = tiny_model("llama")
    counts = read(model)
    contexts = [[start, *range(20, 31)] for start in range(2, 7)]
    requests = [(("", ""), context, [first, 40, 41]) for context in contexts for first in (50, 51, 52, 53)]
    assert len(answered(model, requests)) == 20
    assert counts == [2, 5 * 12, 20 * 2]  # what its cache is like; contexts; what goes on from them
    counts.clear()
    assert len(answered(model, [(key, start, end[:1]) for key, start, end in requests])) == 20
    assert counts == [2, 5 * 12]


def test_what_two_contexts_begin_with_is_read_once(tiny_model):
    model = tiny_model("llama")
    counts = read(model)
    start, end = [*range(2, 14)], [60, 61, 62, 63]
    assert len(answered(model, [(("", ""), [*start, option], end) for option in (40, 41)])) == 2
    assert counts == [2, 12, 2 * 4]


def test_packed_layers_answer_the_same(tiny_model, lm_eval):
    model, pattern = tiny_model("llama"), NMPattern(2, 4)
    masks = {layer.name: random_mask(layer.shape[0], layer.shape[1] // 4, pattern) for layer in linear_layers(model)}
    with torch.no_grad():
        for layer in linear_layers(model):
            layer.module.weight *= masks[layer.name]
    requests = some_requests()
    found = answered(packed_copy(model, masks, pattern), requests)
    assert len(found) == len(requests) - 1
    same(found, lm_eval(model, requests))


def test_log_probabilities_have_the_dtype_that_is_asked_for(tiny_model, lm_eval):
    model, requests = tiny_model("llama"), some_requests()
    found = answered(model, requests, torch.bfloat16)
    expected = lm_eval(model, requests, softmax_dtype="bfloat16")
    same(found, expected, 0.3)  # a step of bf16 at 40 nats
    assert all(torch.tensor(total).bfloat16().item() == total for total, _ in found.values())


def test_all_requests_are_answered_in_their_order_and_told(bundled, lm_eval):
    model, requests = bundled().model, some_requests(2)
    watch, told = _Watch(), []
    lm = _watched(model, bundled().tokenizer, watch)
    lm._max_length = MOST
    lm.cache_hook.add_partial = lambda *args: told.append(args)
    found = lm._loglikelihood_tokens(requests)
    same(dict(enumerate(found)), lm_eval(model, requests))
    assert watch.done == watch.total == len(requests)
    assert sorted(told) == sorted(("loglikelihood", r[0], answer) for r, answer in zip(requests, found, strict=True))


def test_a_stop_ends_it_between_calls(tiny_model, bundled):
    model, watch = tiny_model("llama"), _Watch()
    lm = _watched(model, bundled().tokenizer, watch)
    counts = read(model)
    model.register_forward_hook(lambda *_: watch.stop.set() if len(counts) == 3 else None)
    with pytest.raises(_Stopped):
        lm._loglikelihood_tokens(some_requests())
    assert len(counts) == 3 and watch.done < watch.total
