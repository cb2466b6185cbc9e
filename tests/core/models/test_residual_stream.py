"""Rotations that fold into weights: models compute the same, and what they do not fold into is told."""

import pytest
import torch
from torch import nn

from eggs_core.models.residual_stream import FAMILIES, CannotRotate, Stream

pytestmark = pytest.mark.usefixtures("one_thread")


def scrambled(model: nn.Module) -> nn.Module:
    """Every parameter drawn anew, so that gains are not 1 and biases not 0."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * (0.2 if parameter.dim() > 1 else 0.5))
            if "norm" in name or ".ln_" in name:
                parameter.add_(1.0)
    return model


def orthogonal(count: int, width: int, centred: bool = False) -> torch.Tensor:
    """(count, width, width) orthogonal matrices; if they are centred they keep the vector of ones."""
    skew = torch.randn(count, width, width, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    if centred:
        projection = torch.eye(width, dtype=torch.float64) - 1 / width
        skew = projection @ skew @ projection
    return torch.matrix_exp(skew - skew.mT)


@torch.no_grad()
def logits(model: nn.Module) -> torch.Tensor:
    return model(torch.randint(0, 64, (4, 16), generator=torch.Generator().manual_seed(1))).logits


@pytest.mark.parametrize("kind", sorted(FAMILIES))
@pytest.mark.parametrize("tied", [True, False])
def test_a_rotated_model_computes_the_same(tiny_model, kind, tied):
    model = scrambled(tiny_model(kind, tie_word_embeddings=tied))
    before = logits(model)
    stream = Stream.of(model)
    stream.fold_norms()
    torch.testing.assert_close(logits(model), before, rtol=1e-4, atol=1e-4 * before.std().item())
    values = stream.blocks[0].values
    assert (values is None) == (kind in ("gpt2", "phi3"))
    turned = None if values is None else orthogonal(2 * values.heads, 8).view(2, values.heads, 8, 8)
    weights = [layer.weight() for block in stream.blocks for layer in block.writes]
    stream.rotate(orthogonal(1, 32, stream.centred)[0], turned)
    assert stream.centred == (kind in ("opt", "gpt2"))
    torch.testing.assert_close(logits(model), before, rtol=1e-4, atol=1e-4 * before.std().item())
    after = [layer.weight() for block in stream.blocks for layer in block.writes]
    assert all((a - b).norm() > 0.5 * b.norm() for a, b in zip(after, weights, strict=True))
    assert model.config.tie_word_embeddings is False
    assert model.get_output_embeddings().weight is not model.get_input_embeddings().weight


def test_a_mean_that_moves_changes_a_model_with_layer_norms(tiny_model):
    model = scrambled(tiny_model("opt"))
    before = logits(model)
    stream = Stream.of(model)
    stream.fold_norms()
    stream.rotate(orthogonal(1, 32)[0])
    assert (logits(model) - before).norm() > 0.1 * before.norm()


@pytest.mark.parametrize("kind, why", [("gemma2", "architecture 'gemma2'"), ("bloom", "architecture 'bloom'")])
def test_other_architectures_are_refused(tiny_model, kind, why):
    with pytest.raises(CannotRotate, match=why):
        Stream.of(tiny_model(kind))


def test_a_model_that_is_built_otherwise_is_refused(tiny_model):
    model = tiny_model("llama")
    model.model.layers[1].extra = nn.Linear(32, 32)
    with pytest.raises(CannotRotate, match="extra of its blocks may touch"):
        Stream.of(model)
    model = tiny_model("llama")
    del model.model.norm
    with pytest.raises(CannotRotate, match="not built as others"):
        Stream.of(model)


def test_norms_without_gains_are_refused(tiny_model):
    with pytest.raises(CannotRotate, match="no gain as wide"):
        Stream.of(tiny_model("opt", layer_norm_elementwise_affine=False))
    with pytest.raises(CannotRotate, match="no gain as wide"):
        Stream.of(tiny_model("opt", word_embed_proj_dim=16))


def test_a_gain_of_zero_leaves_no_place_for_the_bias(tiny_model):
    model = scrambled(tiny_model("opt"))
    with torch.no_grad():
        model.model.decoder.final_layer_norm.weight[3] = 0
    with pytest.raises(CannotRotate, match="gain of zero"):
        Stream.of(model).fold_norms()
