"""The gradient fit of a pruned block: what it lowers, what it leaves alone, and what becomes of a stop."""

import copy

import pytest
import torch

from eggs_core.config import make_config
from eggs_core.models.architectures import BLOCK_PATHS, find_blocks, linear_layers
from eggs_core.models.experts import open_experts
from eggs_core.pruning import block_fit, loop
from eggs_core.pruning.activations import Activations
from eggs_core.pruning.block_calls import run_block
from eggs_core.pruning.block_fit import FitStep, fit_block, windows_read
from eggs_core.pruning.loop import LayerReport, prune, prune_steps
from eggs_core.registry import CUSTOM

pytestmark = pytest.mark.usefixtures("one_thread")


def windows(count: int = 16, length: int = 20) -> torch.Tensor:
    return torch.randint(0, 64, (count, length), generator=torch.Generator().manual_seed(3))


def config(reconstruction: str = "admm-fit", **options):
    return make_config("m", "2:4", CUSTOM, score="ria", reconstruction=reconstruction, **options)


def hidden(model, number: int) -> torch.Tensor:
    with torch.no_grad():
        return model(windows(), output_hidden_states=True).hidden_states[number]


def parameters(model) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("kind", ["llama", "opt"])
def test_hidden_states_come_closer_to_the_dense_models_and_masks_stay(tiny_model, monkeypatch, kind):
    monkeypatch.setattr(loop, "tokens_per_batch", lambda _config: 20)  # for both: sensitivities are drawn by batch
    monkeypatch.setattr(loop, "windows_read", lambda _model, seen, _config: seen)  # so that masks can be compared
    monkeypatch.setattr(block_fit, "RATE", 0.003)  # the weights are random, and so is the text
    dense, errors, chosen = tiny_model(kind), {}, []
    for name in ("admm-block", "admm-fit"):
        model = tiny_model(kind)
        masks = {report.name: report.mask for report in prune(model, windows(), config(name))}
        errors[name] = [(hidden(model, i) - hidden(dense, i)).norm().item() for i in (1, 2)]
        chosen.append(next(iter(masks.values())))
        assert not any(layer.weight()[~masks[layer.name]].any() for layer in linear_layers(model))
    assert all(fit < block for fit, block in zip(errors["admm-fit"], errors["admm-block"], strict=True)), errors
    assert torch.equal(*chosen)


@pytest.mark.parametrize("kind", sorted(BLOCK_PATHS))
def test_every_architecture_is_fitted_with_its_zeros_in_place(tiny_model, kind):
    model, before = tiny_model(kind), parameters(tiny_model(kind))
    masks = {report.name: report.mask for report in prune(model, windows(), config())}
    assert not any(layer.weight()[~masks[layer.name]].any() for layer in linear_layers(model))
    now = parameters(model)
    norms = [name for name in now if "norm" in name or "ln_" in name]
    assert all(torch.isfinite(value).all() for value in now.values())
    assert any(not torch.equal(now[name], before[name]) for name in norms)


def test_a_fit_reads_the_text_again_with_drawn_tokens_that_the_model_does_not_name(tiny_model):
    model, seen = tiny_model("llama"), windows()
    model.config.image_token_id, model.config.eos_token_id = 7, 9
    assert windows_read(model, seen, config("admm-block")) is seen
    read = windows_read(model, seen, config())
    assert torch.equal(read[: len(seen)], seen) and len(read) == 2 * len(seen)
    drawn = read[len(seen) :]
    changed = drawn != seen
    assert not changed[:, 0].any() and 0.2 < changed[:, 1:].float().mean() < 0.4
    assert not torch.isin(drawn[changed], torch.tensor([7, 9])).any() and drawn.max() < 64
    assert torch.equal(read, windows_read(model, seen, config()))
    assert not torch.equal(read, windows_read(model, seen, config(seed=1)))


def test_a_mixture_keeps_the_zeros_of_every_expert(tiny_model):
    model = tiny_model("mixtral", num_local_experts=2, num_experts_per_tok=1)
    open_experts(model)
    masks = {report.name: report.mask for report in prune(model, windows(), config())}
    assert any("expert" in name for name in masks)
    assert not any(layer.weight()[~masks[layer.name]].any() for layer in linear_layers(model))


def test_the_same_seed_gives_the_same_weights(tiny_model, monkeypatch):
    monkeypatch.setattr(block_fit, "TOKENS_PER_STEP", 40)
    found = []
    for seed in (0, 0, 1):
        model = tiny_model("llama")
        list(prune(model, windows(), config(seed=seed)))
        found.append(parameters(model))
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    assert any(not torch.equal(found[0][name], found[2][name]) for name in found[0])


def pruned_block(model):
    """A block of which half the weights are gone, with its layers, masks and calls, and the dense model's output."""
    _, blocks = find_blocks(model)
    activations = Activations(model, blocks, windows(), tokens_per_batch=40)
    calls = activations.calls(0)
    wanted = [run_block(blocks[0], *call) for call in calls]
    layers = [layer for layer in linear_layers(model) if layer.block == 0]
    masks = {layer.name: layer.weight().abs() > layer.weight().abs().median() for layer in layers}
    for layer in layers:
        layer.apply_mask(masks[layer.name])
    return blocks[0], layers, masks, calls, wanted


def distance(block, calls, wanted) -> float:
    return sum(
        (run_block(block, *call) - target).square().sum().item() for call, target in zip(calls, wanted, strict=True)
    )


def test_a_block_learns_and_all_but_kept_weights_and_norms_stays(tiny_model):
    model = tiny_model("opt")
    block, layers, masks, calls, wanted = pruned_block(model)
    before, began = distance(block, calls, wanted), parameters(block)
    steps = list(fit_block(block, layers, masks, calls, wanted.__getitem__, 0))
    assert [step.step for step in steps] == list(range(1, block_fit.EPOCHS * len(calls) + 1))
    assert steps[-1] == FitStep(0, steps[-1].steps, steps[-1].steps)
    assert distance(block, calls, wanted) < 0.9 * before
    changed = {name for name, value in parameters(block).items() if not torch.equal(value, began[name])}
    norms = {name for name in began if "norm" in name}
    assert changed == {f"{layer.projection}.weight" for layer in layers} | norms
    assert all(p.requires_grad and p.grad is None for p in block.parameters())


@pytest.mark.parametrize("factor", [-1.0, float("nan")])
def test_a_fit_that_does_harm_is_taken_back(tiny_model, monkeypatch, factor):
    """Uphill, the error grows; a rate that is no number makes weights that are none."""
    block, layers, masks, calls, wanted = pruned_block(tiny_model("llama"))
    began = parameters(block)
    monkeypatch.setattr(block_fit, "schedule", lambda *_: factor)
    list(fit_block(block, layers, masks, calls, wanted.__getitem__, 0))
    assert all(torch.equal(value, began[name]) for name, value in parameters(block).items())


def test_a_token_a_thousand_times_as_large_does_not_decide_all(tiny_model):
    block, _, _, calls, wanted = pruned_block(tiny_model("llama"))
    (hidden_states, arguments), target = calls.first, wanted[0]
    plain = block_fit._error(block, hidden_states, arguments, target).item()
    large = target.clone()
    large[0, 0] *= 1000
    assert block_fit._error(block, hidden_states, arguments, large).item() < plain + 1.5 / 40 * 1.1


def test_it_stops_between_two_steps_and_gives_everything_back(tiny_model):
    model = tiny_model("llama").bfloat16()
    steps = prune_steps(model, windows(), config())
    seen = [next(step for step in steps if isinstance(step, FitStep))]
    steps.close()
    assert seen[0].text == "Block 1: fitting kept weights, step 1 of 8"
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_half_precision_is_fitted_in_fp32_and_given_back_as_it_was(tiny_model):
    model = tiny_model("llama").bfloat16()
    reports = list(prune(model, windows(), config()))
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert all(
        not layer.weight()[~report.mask].any() for report, layer in zip(reports, linear_layers(model), strict=True)
    )


@pytest.mark.parametrize("values", ["bf16", "int8", "int4"])
def test_rounded_values_are_fitted_and_stay_rounded(tiny_model, values):
    dense, errors = tiny_model("llama"), {}
    wanted = dense(windows()).logits
    for name in ("admm-block", "admm-fit"):
        model = copy.deepcopy(dense)
        events = list(prune_steps(model, windows(), config(name, values=values)))
        errors[name] = (model(windows()).logits - wanted).norm().item()
        reports = {event.name: event for event in events if isinstance(event, LayerReport)}
        for layer in linear_layers(model):
            report = reports[layer.name]
            stored = report.grid.rounded(layer.weight(), report.pattern, report.permutation)
            assert torch.equal(stored, layer.weight())
            assert not layer.weight()[~report.mask].any()
    assert any(isinstance(event, FitStep) for event in events)
    assert errors["admm-fit"] < errors["admm-block"]
