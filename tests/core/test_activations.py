"""Activations towards the dense model: stages, joins with the residual stream, and what is gathered of both models."""

import copy

import pytest
import torch

from eggs_core.activations import Activations, InputStatistics, _batches, _capture, _joins, _run_block, _stages
from eggs_core.adapters import BLOCK_PATHS, block_layers, find_blocks
from eggs_core.config import CUSTOM, make_config
from eggs_core.prune import prune

pytestmark = pytest.mark.usefixtures("one_thread")

# How a block's layers meet the residual stream, by architecture; where a norm follows a layer they do not meet it.
JOINS = {
    "bloom": {"self_attention.dense": "input", "mlp.dense_4h_to_h": "rest"},
    "falcon": {"self_attention.dense": "input", "mlp.dense_4h_to_h": "rest"},
    "gemma": {"self_attn.o_proj": "input", "mlp.down_proj": "rest"},
    "gemma2": {},
    "gemma3_text": {},
    "gpt2": {"attn.c_proj": "input", "mlp.c_proj": "rest"},
    "gpt_neox": {"attention.dense": "input", "mlp.dense_4h_to_h": "rest"},
    "llama": {"self_attn.o_proj": "input", "mlp.down_proj": "rest"},
    "mistral": {"self_attn.o_proj": "input", "mlp.down_proj": "rest"},
    "opt": {"self_attn.out_proj": "input", "fc2": "rest"},
    "phi3": {"self_attn.o_proj": "input", "mlp.down_proj": "rest"},
    "qwen2": {"self_attn.o_proj": "input", "mlp.down_proj": "rest"},
    "qwen3": {"self_attn.o_proj": "input", "mlp.down_proj": "rest"},
}


def windows(count: int = 6, length: int = 20) -> torch.Tensor:
    return torch.randint(0, 64, (count, length), generator=torch.Generator().manual_seed(3))


def opened(model):
    """A model's blocks, the first batch of hidden states before block 0, and its arguments."""
    path, blocks = find_blocks(model)
    hidden, arguments = _capture(model, blocks, _batches(windows()))
    return path, blocks, hidden[0], arguments[0]


@pytest.mark.parametrize("kind", sorted(BLOCK_PATHS))
def test_stages_are_the_calls_in_order_and_joins_are_found(tiny_model, kind):
    path, blocks, hidden, arguments = opened(tiny_model(kind))
    layers = block_layers(path, 0, blocks[0])
    prefix = f"{path}.0."
    stages = [[n.removeprefix(prefix) for n in names] for names in _stages(blocks[0], layers, hidden, arguments)]
    assert sorted(n for names in stages for n in names) == sorted(layer.projection for layer in layers)
    if kind == "llama":
        qkv = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]
        assert stages == [qkv, ["self_attn.o_proj"], ["mlp.gate_proj", "mlp.up_proj"], ["mlp.down_proj"]]
    found = {n.removeprefix(prefix): how for n, how in _joins(blocks[0], layers, hidden, arguments).items()}
    assert found == JOINS[kind]


def test_both_models_are_gathered_side_by_side(tiny_model):
    """The second block's down_proj, with sums made by hand from two whole forward passes."""
    dense = tiny_model("llama")
    pruned = copy.deepcopy(dense)
    with torch.no_grad():
        for layer in (pruned.model.layers[0].mlp.down_proj, pruned.model.layers[1].self_attn.o_proj):
            layer.weight.mul_(0.5)
    caught = {}
    for name, model in (("dense", dense), ("pruned", pruned)):
        block = model.model.layers[1]
        block.mlp.down_proj.register_forward_pre_hook(lambda _m, a, n=name: caught.update({(n, "x"): a[0]}))
        block.post_attention_layernorm.register_forward_pre_hook(lambda _m, a, n=name: caught.update({(n, "r"): a[0]}))
        with torch.no_grad():
            model(windows())
    x, y = (caught[n, "x"].reshape(-1, 64) for n in ("pruned", "dense"))
    lack = (caught["dense", "r"] - caught["pruned", "r"]).reshape(-1, 32)
    model = copy.deepcopy(dense)
    path, blocks = find_blocks(model)
    activations = Activations(model, blocks, windows(), True)
    for _ in activations.rounds(path, 0, blocks[0], True):
        pass
    blocks[0].load_state_dict(pruned.model.layers[0].state_dict())
    activations.advance(0, blocks[0])
    for layers, statistics in activations.rounds(path, 1, blocks[1], True):
        if layers[0].projection == "self_attn.o_proj":
            layers[0].set_weight(layers[0].weight() * 0.5)
        if layers[0].projection != "mlp.down_proj":
            continue
        found, weight = statistics[layers[0].name], layers[0].weight()
        assert found.tokens == 120
        assert torch.allclose(found.gram, x.T @ x, atol=1e-3)
        assert torch.allclose(found.cross, y.T @ x, atol=1e-3)
        assert torch.allclose(found.drift, lack.T @ x, atol=1e-3)
        assert torch.allclose(found.target(weight), (y @ weight.T + lack).T @ x / 120, atol=1e-4)
        assert torch.allclose(found.wanted(weight), y @ weight.T + lack, atol=1e-4)


def test_towards_the_dense_model_blocks_end_up_closer_to_it():
    from eggs_core.calibration import bundled_text, calibration_windows
    from eggs_core.models import load

    dense = load("tiny-llama")
    tokens = calibration_windows(dense.tokenizer, bundled_text("calibration"), 24, 128, 0)
    other = calibration_windows(dense.tokenizer, bundled_text("heldout"), 4, 128, 0)
    wanted = dense.model(other, output_hidden_states=True).hidden_states[-2]
    errors = {}
    for name in ("admm", "admm-dense"):
        model = copy.deepcopy(dense.model)
        config = make_config("tiny-llama", "2:4", CUSTOM, score="ria", reconstruction=name)
        list(prune(model, tokens, config))
        with torch.no_grad():
            got = model(other, output_hidden_states=True).hidden_states[-2]
        errors[name] = ((got - wanted).norm() / wanted.norm()).item()
    assert errors["admm-dense"] < 0.95 * errors["admm"]


@pytest.mark.parametrize("stop_after", [1, 5])
def test_closing_midway_leaves_no_hook(tiny_model, stop_after):
    model = tiny_model("llama")
    running = prune(model, windows(), make_config("m", "2:4", "eggs-ptp-plus"))
    for _ in range(stop_after):
        next(running)
    running.close()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_the_last_step_through_a_block_is_that_of_the_pruned_one(tiny_model):
    model = tiny_model("llama")
    path, blocks = find_blocks(model)
    activations = Activations(model, blocks, windows(), True)
    first, arguments = activations.hidden[0].clone(), activations._arguments[0]
    for layers, _ in activations.rounds(path, 0, blocks[0], True):
        for layer in layers:
            layer.set_weight(layer.weight() * 0.5)
    activations.advance(0, blocks[0])
    assert torch.equal(activations.hidden[0], _run_block(blocks[0], first, arguments))
    assert torch.equal(activations._dense[0], _run_block(tiny_model("llama").model.layers[0], first, arguments))


def test_the_own_output_is_the_target_without_a_dense_model():
    statistics = InputStatistics.empty(8, torch.device("cpu"), True)
    statistics.update(torch.randn(20, 8))
    assert statistics.target(torch.randn(4, 8)) is None
    weight = torch.randn(4, 8)
    assert torch.equal(statistics.wanted(weight), statistics.sample @ weight.T)
