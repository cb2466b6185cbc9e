"""Activations, stage by stage: the order of calls, writes to the residual stream, and what is gathered of a block."""

import copy

import pytest
import torch

from eggs_core.config import CUSTOM, make_config
from eggs_core.models.architectures import BLOCK_PATHS, block_layers, find_blocks
from eggs_core.pruning import stagewise
from eggs_core.pruning.activations import Activations, InputStatistics
from eggs_core.pruning.loop import prune
from eggs_core.pruning.stagewise import _last_write, _stages, rounds

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


def opened(model):
    """A model's blocks, the first batch of hidden states before block 0, and its arguments."""
    path, blocks = find_blocks(model)
    activations = Activations(model, blocks, windows())
    return path, blocks, activations.hidden[0], activations.arguments[0]


@pytest.mark.parametrize("kind", sorted(BLOCK_PATHS))
def test_stages_are_the_calls_in_order_and_the_last_write_is_found(tiny_model, kind):
    path, blocks, hidden, arguments = opened(tiny_model(kind))
    layers = block_layers(path, 0, blocks[0])
    prefix = f"{path}.0."
    stages = [[n.removeprefix(prefix) for n in names] for names in _stages(blocks[0], layers, hidden, arguments)]
    assert sorted(n for names in stages for n in names) == sorted(layer.projection for layer in layers)
    if kind == "llama":
        qkv = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]
        assert stages == [qkv, ["self_attn.o_proj"], ["mlp.gate_proj", "mlp.up_proj"], ["mlp.down_proj"]]
    last = _last_write(blocks[0], layers, hidden, arguments)
    assert last == (None if LAST[kind] is None else prefix + LAST[kind])


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
    lack = (caught["before", "r"] - caught["pruned", "r"]).reshape(-1, 32)
    model = tiny_model("llama")
    path, blocks = find_blocks(model)
    activations = Activations(model, blocks, windows())
    activations.advance(0, blocks[0])
    for layers, statistics in rounds(activations, path, 1, blocks[1]):
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


def test_the_last_block_is_pruned_at_once(tiny_model, monkeypatch):
    staged, at_once = [], []
    original, gather = stagewise.rounds, Activations.gather
    monkeypatch.setattr(stagewise, "rounds", lambda a, p, number, b: staged.append(number) or original(a, p, number, b))
    monkeypatch.setattr(Activations, "gather", lambda self, ls, n, b, g: at_once.append(n) or gather(self, ls, n, b, g))
    list(prune(tiny_model("llama"), windows(), make_config("m", "2:4", "eggs-ptp-plus")))
    assert (staged, at_once) == ([0], [1])


def test_the_own_output_is_the_target_without_a_dense_model():
    statistics = InputStatistics.empty(8, torch.device("cpu"), True)
    statistics.update(torch.randn(20, 8))
    assert statistics.target(torch.randn(4, 8)) is None
    weight = torch.randn(4, 8)
    assert torch.equal(statistics.wanted(weight), statistics.sample @ weight.T)
