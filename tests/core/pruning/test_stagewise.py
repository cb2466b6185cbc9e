"""Activations, stage by stage: the order of calls, writes to the residual stream, and what is gathered of a block."""

import copy

import pytest
import torch

from eggs_core.config import make_config
from eggs_core.models.architectures import BLOCK_PATHS, block_layers, find_blocks
from eggs_core.pruning.activations import Activations, InputStatistics
from eggs_core.pruning.loop import prune
from eggs_core.pruning.stagewise import stages
from eggs_core.registry import CUSTOM

pytestmark = pytest.mark.usefixtures("one_thread")

# The layer that writes a block's last addition to the residual stream; none where a norm follows it.
LAST = {
    "bloom": "mlp.dense_4h_to_h",
    "falcon": "mlp.dense_4h_to_h",
    "gemma": "mlp.down_proj",
    "gemma2": None,
    "gemma3_text": None,
    "gpt2": "mlp.c_proj",
    "gpt_neox": "mlp.dense_4h_to_h",
    "llama": "mlp.down_proj",
    "mistral": "mlp.down_proj",
    "opt": "fc2",
    "phi3": "mlp.down_proj",
    "qwen2": "mlp.down_proj",
    "qwen3": "mlp.down_proj",
}


def windows(count: int = 6, length: int = 20) -> torch.Tensor:
    return torch.randint(0, 64, (count, length), generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("kind", sorted(BLOCK_PATHS))
def test_stages_are_the_calls_in_order_and_the_last_write_makes_up_for_the_stream(tiny_model, kind):
    model = tiny_model(kind)
    path, blocks = find_blocks(model)
    found = list(stages(Activations(model, blocks, windows()), block_layers(path, 0, blocks[0]), 0, blocks[0]))
    found_stages = [[layer.projection for layer in layers] for layers, _ in found]
    own = [layer.projection for layer in block_layers(path, 0, blocks[0])]
    assert sorted(n for names in found_stages for n in names) == sorted(own)
    if kind == "llama":
        qkv = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]
        assert found_stages == [qkv, ["self_attn.o_proj"], ["mlp.gate_proj", "mlp.up_proj"], ["mlp.down_proj"]]
    making_up = [x.projection for layers, gathered in found for x in layers if gathered[x.name].wanted is not None]
    assert making_up == [LAST[kind]] * (LAST[kind] is not None)


def test_the_block_is_gathered_beside_what_it_was(tiny_model):
    """The second block's down_proj, with sums made by hand from two whole forward passes."""
    before = tiny_model("llama")
    pruned = copy.deepcopy(before)
    with torch.no_grad():
        pruned.model.layers[1].self_attn.o_proj.weight.mul_(0.5)
    caught = {}
    for name, model in (("before", before), ("pruned", pruned)):
        block = model.model.layers[1]
        block.mlp.down_proj.register_forward_pre_hook(lambda _m, a, n=name: caught.update({(n, "x"): a[0]}))
        block.post_attention_layernorm.register_forward_pre_hook(lambda _m, a, n=name: caught.update({(n, "r"): a[0]}))
        with torch.no_grad():
            model(windows())
    x, y = (caught[n, "x"].reshape(-1, 64) for n in ("pruned", "before"))
    residual_gap = (caught["before", "r"] - caught["pruned", "r"]).reshape(-1, 32)
    model = tiny_model("llama")
    path, blocks = find_blocks(model)
    activations = Activations(model, blocks, windows())
    activations.advance(0, blocks[0])
    for layers, statistics in stages(activations, block_layers(path, 1, blocks[1]), 1, blocks[1]):
        if layers[0].projection == "self_attn.o_proj":
            layers[0].set_weight(layers[0].weight() * 0.5)
        if layers[0].projection != "mlp.down_proj":
            continue
        found, weight = statistics[layers[0].name], layers[0].weight()
        assert found.tokens == 120
        assert torch.allclose(found.gram, x.T @ x, atol=1e-3)
        assert torch.allclose(found.target(weight), (y @ weight.T + residual_gap).T @ x / 120, atol=1e-4)
        assert torch.allclose(found.target_output(weight), y @ weight.T + residual_gap, atol=1e-4)


@pytest.mark.slow
def test_early_blocks_end_up_closer_to_what_they_were():
    from eggs_core.models.loading import load
    from eggs_core.text.sources import bundled_text
    from eggs_core.text.windows import calibration_windows

    dense = load("tiny-llama")
    tokens = calibration_windows(dense.tokenizer, bundled_text("calibration"), 24, 128, 0)
    other = calibration_windows(dense.tokenizer, bundled_text("heldout"), 4, 128, 0)
    wanted = dense.model(other, output_hidden_states=True).hidden_states[3]
    errors = {}
    for name in ("admm", "admm-block"):
        model = copy.deepcopy(dense.model)
        config = make_config("tiny-llama", "2:4", CUSTOM, score="ria", reconstruction=name)
        list(prune(model, tokens, config))
        with torch.no_grad():
            got = model(other, output_hidden_states=True).hidden_states[3]
        errors[name] = ((got - wanted).norm() / wanted.norm()).item()
    assert errors["admm-block"] < 0.95 * errors["admm"]


@pytest.mark.parametrize("stop_after", [1, 5])
def test_closing_midway_leaves_no_hook(tiny_model, stop_after):
    model = tiny_model("llama")
    running = prune(model, windows(), make_config("m", "2:4", "eggs-ptp-plus"))
    for _ in range(stop_after):
        next(running)
    running.close()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_the_last_block_is_pruned_at_once(tiny_model):
    """There the fit to the block is the fit to each layer's own output; in the block before it is another one."""
    fitted = {}
    for name in ("admm", "admm-block"):
        for blocks in (1, 2):
            model = tiny_model("llama", num_hidden_layers=blocks)
            list(prune(model, windows(), make_config("m", "2:4", CUSTOM, score="ria", reconstruction=name)))
            fitted[name, blocks] = model.model.layers[0].mlp.down_proj.weight.detach()
    assert torch.equal(fitted["admm", 1], fitted["admm-block", 1])
    assert not torch.equal(fitted["admm", 2], fitted["admm-block", 2])


def test_the_own_output_is_the_target_without_a_dense_model():
    layer, inputs = torch.nn.Linear(8, 4, bias=False), torch.randn(20, 8)
    statistics = InputStatistics.empty(8, torch.device("cpu"), True)
    statistics.update(inputs)
    assert statistics.target(layer.weight) is None
    kept = (inputs[:, None] == statistics.sample).all(-1).any(1)  # of the inputs, those in the sample
    assert kept.any() and torch.allclose(statistics.target_output(layer.weight), layer(inputs[kept]), atol=1e-6)
