"""Learning a rotation: what is dropped shrinks, the model computes the same, and what cannot turn stays as it was."""

import pytest
import torch

from eggs_core.config import make_config
from eggs_core.models.residual_stream import Stream
from eggs_core.pattern import NMPattern
from eggs_core.pruning import rotation
from eggs_core.pruning.plan import plan_for
from eggs_core.pruning.rotated_layers import Inputs, RotatedLayer, Turn, gather, rotated_layers
from eggs_core.pruning.rotation import cayley, learned

pytestmark = pytest.mark.usefixtures("one_thread")


def windows(count: int = 4, length: int = 16) -> torch.Tensor:
    return torch.randint(0, 64, (count, length), generator=torch.Generator().manual_seed(1))


def patterns(model, pattern: str = "2:4"):
    return plan_for(model, NMPattern.parse(pattern)).patterns


@torch.no_grad()
def logits(model) -> torch.Tensor:
    return model(windows()).logits


@pytest.mark.parametrize("kind", ["llama", "qwen3", "gemma", "opt", "gpt2"])
def test_less_is_dropped_and_the_model_computes_the_same(tiny_model, result, kind):
    model = tiny_model(kind)
    before = logits(model)
    found = result(learned(model, windows(), patterns(model), 0, 40))
    assert not found.why and found.steps == 40
    assert found.before.keys() == found.after.keys() == patterns(model).keys()
    assert sum(found.after.values()) < 0.95 * sum(found.before.values())
    torch.testing.assert_close(logits(found.model), before, rtol=1e-4, atol=1e-4)
    assert torch.equal(logits(model), before)  # only a copy turns
    again = tiny_model(kind)
    found.rotation.fold_into(again)
    assert torch.equal(logits(again), logits(found.model))


def test_equal_arguments_give_an_equal_rotation_and_another_seed_another(tiny_model, result):
    model = tiny_model("llama")
    first, same, other = (result(learned(model, windows(), patterns(model), seed, 5)).rotation for seed in (0, 0, 1))
    assert torch.equal(first.residual, same.residual) and torch.equal(first.values, same.values)
    assert not torch.equal(first.residual, other.residual)


def test_progress_rises_and_closing_it_stops(tiny_model):
    model = tiny_model("opt")
    steps = learned(model, windows(), patterns(model), 0, 6)
    seen = [next(steps) for _ in range(4)]
    assert [one.share for one in seen] == sorted({one.share for one in seen})
    assert "step 3 of 6" in seen[-1].text
    steps.close()
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("pattern", ["1:4", "50%"])
def test_every_pattern_has_its_own_loss(tiny_model, result, pattern):
    model = tiny_model("llama")
    found = result(learned(model, windows(), patterns(model, pattern), 0, 20))
    assert sum(found.after.values()) < sum(found.before.values())


def test_layers_that_stay_dense_do_not_count(tiny_model, result):
    model = tiny_model("llama")
    chosen = {name: p for name, p in patterns(model).items() if "mlp" in name}
    found = result(learned(model, windows(), chosen, 0, 2))
    assert found.before.keys() == chosen.keys() and found.rotation.values is None


def test_what_it_does_not_fold_into_stays_as_it_was(tiny_model, result, monkeypatch):
    model = tiny_model("gemma2")
    found = result(learned(model, windows(), patterns(model), 0))
    assert found.rotation is None and "gemma2" in found.why
    assert torch.equal(logits(found.model), logits(model)) and found.model is not model
    model = tiny_model("llama")
    monkeypatch.setattr(rotation, "free_memory", lambda device: 1000)
    found = result(learned(model, windows(), patterns(model), 0))
    assert found.rotation is None and "of memory" in found.why
    monkeypatch.undo()
    fold = Stream.fold_norms

    def wrong(stream):
        fold(stream)
        stream.embeddings[0].weight.data.mul_(2)
        stream.blocks[0].writes[0].module.weight.data.mul_(1.5)

    monkeypatch.setattr(Stream, "fold_norms", wrong)
    found = result(learned(model, windows(), patterns(model), 0))
    assert found.rotation is None and "something else" in found.why
    assert torch.equal(logits(found.model), logits(model))


def test_cayley_gives_orthogonal_matrices_that_keep_the_ones():
    square = torch.randn(3, 8, 8, dtype=torch.float64)
    for centred in (False, True):
        turned = cayley(square, centred)
        assert torch.allclose(turned.mT @ turned, torch.eye(8, dtype=torch.float64).expand(3, 8, 8))
        kept = torch.allclose(turned.sum(-1), torch.ones(3, 8, dtype=torch.float64))
        assert kept == centred


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_statistics_are_those_of_the_turned_model(tiny_model, result, kind):
    """Weights and squares of inputs that the objective computes are those of a model into which the rotation went."""
    model = tiny_model(kind)
    stream = Stream.of(model)
    stream.fold_norms()
    layers = rotated_layers(stream, patterns(model))
    result(gather(stream, layers, windows()))
    values = stream.blocks[0].values
    turn = Turn(cayley(torch.randn(32, 32)), cayley(torch.randn(2, values.heads, 8, 8)))
    expected = [(one.turned(turn, 1, torch.Generator().manual_seed(0)), one.inputs.squares(turn)) for one in layers]
    stream.rotate(turn.residual, turn.values)
    turned = rotated_layers(stream, patterns(model))
    result(gather(stream, turned, windows()))
    still = Turn(torch.eye(32), torch.eye(8).expand(2, values.heads, 8, 8))
    for (weight, squares), other, before in zip(expected, turned, layers, strict=True):
        torch.testing.assert_close(other.inputs.squares(still), squares, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(weight.square().sum(0), other.weight.square().sum(0), rtol=1e-3, atol=1e-4)
        assert other.sensitivity == pytest.approx(before.sensitivity, rel=0.01) or before.to_stream or before.values


def test_importance_by_hand():
    """Two rows of four weights, inputs of squares 1, 1, 4, 4; 2:4 drops what weighs least."""
    layer = RotatedLayer(
        None, NMPattern(2, 4), Inputs(gram=torch.tensor([1.0, 1, 4, 4])), torch.tensor([[3.0, 1, 1, 2]] * 2)
    )
    dropped, whole = layer.importance(Turn(torch.eye(4)), 1, torch.Generator())
    assert (dropped.item(), whole.item()) == (2 * (1 + 4), 2 * (9 + 1 + 4 + 16))
    half, _ = layer.importance(Turn(torch.eye(4)), 2, torch.Generator())
    assert half.item() == dropped.item()  # one of the two equal rows stands for both


def test_the_bundled_models_lose_less_by_wanda(bundled, result):
    from eggs_core.pruning.loop import prune

    dense = bundled("tiny-opt").model
    tokens = torch.randint(0, 4096, (8, 64), generator=torch.Generator().manual_seed(1))
    chosen = patterns(dense)
    found = result(learned(dense, tokens, chosen, 0, 40))
    plain, turned = (
        sum(r.output_error for r in prune(model, tokens, make_config("x", "2:4", "wanda")))
        for model in (_copy(dense), found.model)
    )
    assert turned < plain


def _copy(model):
    import copy

    return copy.deepcopy(model)
