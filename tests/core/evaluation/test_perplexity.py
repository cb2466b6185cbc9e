"""Perplexity and accuracy against plain loops and transformers' own loss; the paired bootstrap by simulation."""

import math

import numpy as np
import pytest
import torch

from eggs_core.errors import EggsError
from eggs_core.evaluation import perplexity as module
from eggs_core.evaluation.intervals import paired_ratio
from eggs_core.evaluation.perplexity import WindowScores, evaluate, join, protocol, score_windows
from eggs_core.models.loading import load
from eggs_core.text.sources import Text, bundled_text
from eggs_core.text.windows import evaluation_windows

pytestmark = pytest.mark.usefixtures("one_thread")


def tokens(count: int = 5, length: int = 24) -> torch.Tensor:
    return torch.randint(0, 64, (count, length), generator=torch.Generator().manual_seed(7))


@pytest.fixture
def model(tiny_model):
    """A random model whose output is far from uniform."""
    model = tiny_model("llama", tie_word_embeddings=False)
    with torch.no_grad():
        model.lm_head.weight.mul_(40)
    return model


@torch.no_grad()
def by_hand(model, windows: torch.Tensor) -> tuple[list[float], float, float]:
    """Loss per window and accuracies, token by token."""
    losses, first, five, count = [], 0, 0, 0
    for window in windows:
        logits = model(window[None]).logits[0].double()
        nats = []
        for position in range(len(window) - 1):
            target = int(window[position + 1])
            probabilities = torch.softmax(logits[position], 0)
            nats.append(-math.log(probabilities[target]))
            best = probabilities.argsort(descending=True).tolist()
            first, five, count = first + (best[0] == target), five + (target in best[:5]), count + 1
        losses.append(sum(nats) / len(nats))
    return losses, first / count, five / count


def test_equal_to_a_plain_loop(model):
    losses, first, five = by_hand(model, tokens())
    scores = evaluate(model, tokens())
    assert scores.nats.tolist() == pytest.approx(losses, abs=1e-5)
    assert scores.perplexity == pytest.approx(math.exp(np.mean(losses)), rel=1e-5)
    assert scores.top1.mean().item() == pytest.approx(first)
    assert scores.top5.mean().item() == pytest.approx(five)


@pytest.mark.parametrize("name", ["tiny-llama", "tiny-opt"])
def test_equal_to_transformers_own_loss(bundled, name):
    loaded = bundled(name)
    windows = evaluation_windows(loaded.tokenizer, bundled_text("heldout"), 3, 128)
    with torch.no_grad():
        losses = [loaded.model(w[None], labels=w[None]).loss.item() for w in windows]
    scores = evaluate(loaded.model, windows)
    assert scores.nats.tolist() == pytest.approx(losses, abs=1e-5)
    assert 1 < scores.perplexity < 500  # trained, so far better than the 4,096 of a uniform guess
    assert 0.1 < scores.top1.mean() < scores.top5.mean() < 1


@pytest.mark.parametrize(("batch", "chunk"), [(1, 1), (64 * 24 * 2, 64 * 7), (2**27, 2**24)])
def test_batching_changes_nothing(model, monkeypatch, batch, chunk):
    reference = evaluate(model, tokens())
    monkeypatch.setattr(module, "LOGITS_PER_BATCH", batch)
    monkeypatch.setattr(module, "LOGITS_PER_CHUNK", chunk)
    parts = list(score_windows(model, tokens()))
    assert sum(len(p.nats) for p in parts) == 5
    assert join(parts).nats.tolist() == pytest.approx(reference.nats.tolist(), abs=1e-6)
    assert torch.equal(join(parts).top5, reference.top5)


def test_a_uniform_guess_has_the_perplexity_of_the_vocabulary(tiny_model):
    model = tiny_model("llama", tie_word_embeddings=False)
    with torch.no_grad():
        model.lm_head.weight.zero_()
    uniform = evaluate(model, tokens())
    assert uniform.perplexity == pytest.approx(64, rel=1e-5)
    assert uniform.to_dict().keys() == {"perplexity", "top1", "top5", "window_nats"}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_output_that_is_not_finite_is_an_error(model, value):
    with torch.no_grad():
        model.lm_head.weight[3] = value
    with pytest.raises(EggsError, match="NaN or infinite"):
        evaluate(model, tokens())


def test_evaluating_leaves_no_gradient_and_no_change(model):
    before = [p.detach().clone() for p in model.parameters()]
    evaluate(model, tokens())
    assert all(torch.equal(a, b) and b.grad is None for a, b in zip(before, model.parameters(), strict=True))


def test_a_hopeless_loss_stays_a_number():
    scores = WindowScores(torch.tensor([1e6], dtype=torch.float64), torch.zeros(1), torch.zeros(1))
    assert math.isfinite(scores.perplexity)


def test_protocol_holds_all_that_a_figure_needs():
    text = Text("speeches", "abc")
    said = {"text": "speeches", "sha256": text.sha256, "window": 24, "windows": 5, "bos": "none"}
    assert protocol(text, tokens(), "none") == said


def test_paired_ratio_of_a_constant_shift_is_exact():
    a = [3.0, 4.0, 5.0]
    interval = paired_ratio(a, [x + math.log(1.5) for x in a])
    assert (interval.value, interval.low, interval.high) == pytest.approx((1.5, 1.5, 1.5))
    assert interval == paired_ratio(a, [x + math.log(1.5) for x in a])


@pytest.mark.parametrize(("a", "b"), [([1.0], [1.0, 2.0]), ([], [])])
def test_only_the_same_windows_compare(a, b):
    with pytest.raises(EggsError, match="same windows"):
        paired_ratio(a, b)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    """200 experiments of 40 windows that vary far more than the difference: pairing must take that out."""
    draw = np.random.default_rng(5)
    hits, widths = 0, []
    for trial in range(200):
        a = draw.normal(3.5, 0.5, 40)
        b = a + draw.normal(0.1, 0.05, 40)
        interval = paired_ratio(a.tolist(), b.tolist(), samples=1000, seed=trial)
        hits += interval.low <= math.exp(0.1) <= interval.high
        widths.append(interval.high - interval.low)
        assert interval.low <= interval.value <= interval.high
    assert 0.89 <= hits / 200 <= 0.985  # 95 % nominal; the percentile bootstrap of 40 windows reaches about 94 %
    assert np.mean(widths) < 0.05


def test_a_model_spread_by_accelerate_scores_the_same(bundled):
    """Half of the blocks offloaded to the checkpoint on disk, as accelerate does when devices are full."""
    whole = bundled("tiny-llama")
    blocks = {f"model.layers.{i}": "cpu" if i < 3 else "disk" for i in range(6)}
    places = {"model.embed_tokens": "cpu", "model.norm": "cpu", "model.rotary_emb": "cpu", "lm_head": "cpu", **blocks}
    spread = load("tiny-llama", torch.device("cpu"), device_map=places).model
    assert any(p.is_meta for p in spread.model.layers[4].parameters())
    windows = torch.randint(0, 4096, (3, 40))
    assert torch.allclose(evaluate(spread, windows).nats, evaluate(whole.model, windows).nats, atol=1e-6)
