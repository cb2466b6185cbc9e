"""Every architecture of the table, as a tiny random model, goes through the pruning loop unharmed."""

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from eggs_core.config import make_config
from eggs_core.errors import EggsError
from eggs_core.masks.selection import check_mask
from eggs_core.models.architectures import BLOCK_PATHS, LinearLayer, find_blocks, linear_layers
from eggs_core.pattern import NMPattern
from eggs_core.pruning.loop import prune

pytestmark = pytest.mark.usefixtures("one_thread")


def windows(count: int = 4, length: int = 16) -> torch.Tensor:
    return torch.randint(0, 64, (count, length), generator=torch.Generator().manual_seed(1))


def hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in model.modules())


@pytest.mark.parametrize("kind", sorted(BLOCK_PATHS))
def test_architecture_is_pruned_exactly(tiny_model, kind):
    model = tiny_model(kind)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    own_hooks = hooks(model)
    layers = {layer.name: layer for layer in linear_layers(model)}
    reports = list(prune(model, windows(), make_config("m", "1:4", "eggs-ptp")))
    assert [r.name for r in reports] == list(layers)
    assert {r.block for r in reports} == {0, 1}
    for report in reports:
        check_mask(report.mask, NMPattern(1, 4), report.name)
        weight = layers[report.name].weight()
        assert report.shape == tuple(weight.shape)
        assert not weight[~report.mask].any()
        assert (weight[report.mask] != 0).float().mean() > 0.99
        assert report.sparsity == 0.75
    pruned = {f"{name}.weight" for name in layers}
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]) == (name not in pruned), name
    assert hooks(model) == own_hooks


@pytest.mark.parametrize("kind", sorted(BLOCK_PATHS))
def test_keeping_all_changes_nothing(tiny_model, kind):
    model = tiny_model(kind)
    tokens = windows()
    with torch.no_grad():
        before = model(tokens).logits
    for report in prune(model, tokens, make_config("m", "4:4", "wanda")):
        assert report.mask.all()
        assert report.output_error == 0
        assert report.retained_score == pytest.approx(1)
    with torch.no_grad():
        assert torch.equal(model(tokens).logits, before)


@pytest.mark.parametrize("kind", sorted(BLOCK_PATHS))
def test_later_blocks_see_pruned_activations(tiny_model, kind):
    """The statistics of the last block's first layer come from a forward pass of the model pruned so far."""
    model, tokens = tiny_model(kind), windows()
    seen = []
    first = next(layer for layer in linear_layers(model) if layer.block == 1)
    running = prune(model, tokens, make_config("m", "2:4", "wanda"))
    for report in running:
        if report.block == 1:
            break
    running.close()
    # Every layer of block 0 is pruned now, and of block 1 only its first layer, behind the input that is looked at.
    handle = first.module.register_forward_pre_hook(lambda _m, args: seen.append(args[0].reshape(-1, first.shape[1])))
    with torch.no_grad():
        model(tokens)
    handle.remove()
    dense = tiny_model(kind)
    dense_layer = next(layer for layer in linear_layers(dense) if layer.name == first.name)
    norms = torch.cat(seen).float().square().sum(0).sqrt()
    scores = dense_layer.weight().abs() * norms
    kept = scores[report.mask].sum() / scores.sum()
    assert report.retained_score == pytest.approx(kept.item(), abs=1e-5)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gpt_neox", "bloom"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_preserved(tiny_model, kind, dtype):
    model = tiny_model(kind).to(dtype)
    reports = list(prune(model, windows(), make_config("m", "2:4", "ria")))
    assert {p.dtype for p in model.parameters()} == {dtype}
    layers = {layer.name: layer for layer in linear_layers(model)}
    assert all(not layers[r.name].weight()[~r.mask].any() for r in reports)


@pytest.mark.gpu
def test_device_is_preserved(tiny_model):
    model = tiny_model("llama").cuda()
    reports = list(prune(model, windows(), make_config("m", "2:4", "eggs-ptp-plus")))
    assert {p.device.type for p in model.parameters()} == {"cuda"}
    assert all(r.mask.device.type == "cpu" for r in reports)


@pytest.mark.parametrize("kind", ["llama", "opt", "gpt2", "gemma"])
def test_tied_weights_stay_tied(tiny_model, kind):
    model = tiny_model(kind, tie_word_embeddings=True)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    embedding = model.get_input_embeddings().weight.detach().clone()
    for _ in prune(model, windows(), make_config("m", "2:4", "ria")):
        pass
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert torch.equal(model.get_input_embeddings().weight, embedding)


@pytest.mark.parametrize("stop_after", [1, 5])
def test_closing_midway_leaves_no_hook_and_whole_layers(tiny_model, stop_after):
    model, untouched = tiny_model("llama"), tiny_model("llama")
    own_hooks = hooks(model)
    running = prune(model, windows(), make_config("m", "2:4", "ria"))
    done = {next(running).name for _ in range(stop_after)}
    running.close()
    assert hooks(model) == own_hooks
    for layer, dense in zip(linear_layers(model), linear_layers(untouched), strict=True):
        assert torch.equal(layer.weight(), dense.weight()) == (layer.name not in done)


def test_an_error_leaves_no_hook_and_names_the_layer(tiny_model):
    model = tiny_model("opt")
    name = "model.decoder.layers.1.fc2"
    with torch.no_grad():
        model.get_submodule(name).weight[0, 0] = float("nan")
    own_hooks = hooks(model)
    with pytest.raises(EggsError, match=name):
        list(prune(model, windows(), make_config("m", "2:4", "ria")))
    assert hooks(model) == own_hooks


def test_an_error_inside_a_block_leaves_no_hook(tiny_model, monkeypatch):
    model = tiny_model("llama")
    own_hooks = hooks(model)

    def explode(*_args, **_kwargs):
        raise RuntimeError("boom")

    monkeypatch.setattr(model.model.layers[1].mlp.down_proj, "forward", explode)
    with pytest.raises(RuntimeError, match="boom"):
        list(prune(model, windows(), make_config("m", "2:4", "ria")))
    assert hooks(model) == own_hooks


def test_conv1d_is_transposed():
    module = Conv1D(3, 5)  # 3 outputs, 5 inputs, stored (5, 3)
    layer = LinearLayer("c", 0, "c", module)
    assert layer.shape == (3, 5)
    target = torch.arange(15.0).view(3, 5)
    layer.set_weight(target)
    assert torch.equal(layer.weight(), target)
    x = torch.randn(2, 5)
    assert torch.allclose(module(x), x @ target.T + module.bias)


def test_weight_is_a_copy(tiny_model):
    for kind in ("llama", "gpt2"):
        layer = next(linear_layers(tiny_model(kind)))
        before = layer.weight()
        layer.weight().zero_()
        assert torch.equal(layer.weight(), before)


def test_head_and_embeddings_are_no_layers(tiny_model):
    model = tiny_model("llama")
    assert [layer.projection for layer in linear_layers(model)][:7] == [
        "self_attn.q_proj",
        "self_attn.k_proj",
        "self_attn.v_proj",
        "self_attn.o_proj",
        "mlp.gate_proj",
        "mlp.up_proj",
        "mlp.down_proj",
    ]
    assert not any("head" in layer.name or "embed" in layer.name for layer in linear_layers(model))


def test_an_architecture_built_alike_is_found(tiny_model):
    """OLMo is not in the table, but has one list of equal blocks."""
    model = tiny_model("olmo")
    assert "olmo" not in BLOCK_PATHS
    assert find_blocks(model)[0] == "model.layers"
    assert len(list(prune(model, windows(), make_config("m", "2:4", "ria")))) == 14


def test_an_unknown_architecture_is_refused_by_name(tiny_model):
    model = tiny_model("llama")
    model.config.model_type = "strange"
    model.model.layers = nn.Sequential(*model.model.layers)
    with pytest.raises(EggsError, match="'strange' is not supported") as caught:
        find_blocks(model)
    assert "llama" in str(caught.value)


def test_widths_that_do_not_divide_are_refused_before_any_work(tiny_model):
    model = tiny_model("llama", intermediate_size=44)
    before = [layer.weight() for layer in linear_layers(model)]
    with pytest.raises(EggsError, match=r"divisible by 5, but layer model\.layers\.0\.self_attn\.q_proj has shape"):
        next(prune(model, windows(), make_config("m", "2:5")))
    assert all(torch.equal(a, layer.weight()) for a, layer in zip(before, linear_layers(model), strict=True))
