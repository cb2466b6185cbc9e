"""The pruning loop: what it captures, gathers and reports, whatever the method."""

import copy

import pytest
import torch

from eggs_core.config import make_config
from eggs_core.errors import EggsError
from eggs_core.masks.degree_bound import min_degree_bound
from eggs_core.masks.selection import check_mask, topn
from eggs_core.models.architectures import find_blocks, linear_layers
from eggs_core.pattern import NMPattern
from eggs_core.pruning import activations as module
from eggs_core.pruning.activations import Activations
from eggs_core.pruning.loop import BlocksInMemory, LayerReport, prune, prune_blocks
from eggs_core.pruning.plan import plan_for
from eggs_core.pruning.scores import ria
from eggs_core.registry import CUSTOM, METHODS

pytestmark = pytest.mark.usefixtures("one_thread")


def windows(count: int = 6, length: int = 20) -> torch.Tensor:
    return torch.randint(0, 64, (count, length), generator=torch.Generator().manual_seed(3))


def run(model, method: str = "ria", pattern: str = "2:4", **options) -> list[LayerReport]:
    return list(prune(model, windows(), make_config("m", pattern, method, **options)))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("pattern", ["1:4", "2:4", "3:4", "4:8"])
def test_every_method_prunes_exactly_and_says_the_same_twice(tiny_model, method, pattern):
    first = run(model := tiny_model("llama"), method, pattern)
    second = run(tiny_model("llama"), method, pattern)
    layers = {layer.name: layer.weight() for layer in linear_layers(model)}
    for a, b in zip(first, second, strict=True):
        grouped = a.mask if a.permutation is None else a.mask[:, a.permutation]
        check_mask(grouped, NMPattern.parse(pattern), a.name)
        assert torch.equal(a.mask, b.mask)
        assert (a.permutation is None) == (METHODS[method].permutation == "none")
        assert a.permutation is None or torch.equal(a.permutation, b.permutation)
        assert (a.retained_score, a.output_error, a.graph) == (b.retained_score, b.output_error, b.graph)
        assert 0 < a.retained_score < 1
        assert 0 < a.output_error < 1
        assert not layers[a.name][~a.mask].any()
        assert torch.isfinite(layers[a.name]).all()
        assert a.graph.mean_in_degree == pytest.approx(a.shape[0] * NMPattern.parse(pattern).density)


@pytest.mark.parametrize("method", ["ria-cp", "eggs-ptp-cp", "eggs-ptp-plus"])
def test_the_pattern_holds_in_the_permuted_order(tiny_model, method):
    """A mask is stored in original column order; the groups are those of the permuted one, which packing needs."""
    for report in run(tiny_model("llama"), method, "1:4"):
        assert sorted(report.permutation.tolist()) == list(range(report.shape[1]))
        check_mask(report.mask[:, report.permutation], NMPattern(1, 4), report.name)


def test_the_degree_bound_reaches_the_report(tiny_model):
    options = {"score": "ria", "selection": "degree", "permutation": "none", "reconstruction": "none", "beta": 0.75}
    for report in run(tiny_model("llama"), CUSTOM, "2:4", **options):
        assert report.choice["beta"] == 0.75
        assert report.graph.min_in_degree >= min_degree_bound(report.shape[0], NMPattern(2, 4), 0.75) > 0


def test_diagonals_reach_the_report(tiny_model):
    for report in run(tiny_model("llama"), "eggs-ptp", "2:4", diagonals=3):
        assert report.choice["diagonals"] == 3
        assert report.graph.min_in_degree >= 3


@pytest.mark.parametrize("method", ["wanda", "eggs-ptp"])
def test_kept_weights_stay_as_they_were_without_reconstruction(tiny_model, method):
    dense = {layer.name: layer.weight() for layer in linear_layers(tiny_model("opt"))}
    model = tiny_model("opt")
    masks = {r.name: r.mask for r in run(model, method)}
    for layer in linear_layers(model):
        assert torch.equal(layer.weight(), dense[layer.name] * masks[layer.name])


def test_reconstruction_lowers_the_error_of_the_same_mask(tiny_model):
    options = {"score": "ria", "selection": "topn", "permutation": "none"}
    plain = next(iter(run(tiny_model("llama"), CUSTOM, "2:4", reconstruction="none", **options)))
    fitted = next(iter(run(tiny_model("llama"), CUSTOM, "2:4", reconstruction="admm", **options)))
    assert fitted.output_error < plain.output_error


def test_statistics_are_those_of_the_layers_own_inputs(tiny_model):
    """The first block's mask, made again by hand from inputs caught with plain hooks."""
    model = tiny_model("llama")
    caught, handles = {}, []
    for layer in linear_layers(model):
        if layer.block == 0:

            def keep(_module, args, name=layer.name):
                caught[name] = args[0].reshape(-1, args[0].shape[-1])

            handles.append(layer.module.register_forward_pre_hook(keep))
    with torch.no_grad():
        model(windows())
    for handle in handles:
        handle.remove()
    dense = {layer.name: layer.weight() for layer in linear_layers(model)}
    for report in prune(model, windows(), make_config("m", "2:4", "ria")):
        if report.block == 1:
            break
        x = caught[report.name]
        expected = topn(ria(dense[report.name], x.norm(dim=0)), NMPattern(2, 4))
        assert torch.equal(report.mask, expected), report.name
        assert torch.equal(report.topn_mask, expected)
        weight = dense[report.name]
        error = (x @ (weight * ~expected).T).norm() / (x @ weight.T).norm()
        assert report.output_error == pytest.approx(error.item(), rel=1e-4)


@pytest.mark.parametrize("kind", ["llama", "opt", "gpt2", "bloom", "gemma2"])
def test_batches_do_not_matter(tiny_model, kind):
    whole = run(tiny_model(kind), "wanda")
    path, blocks = find_blocks(model := tiny_model(kind))
    activations = Activations(model, blocks, windows(), tokens_per_batch=40)  # three batches of two windows
    assert len(activations.hidden) == 3
    parts = prune_blocks(
        BlocksInMemory(path, blocks),
        activations,
        make_config("m", "2:4", "wanda"),
        plan_for(model, NMPattern(2, 4)).patterns,
    )
    for a, b in zip(whole, parts, strict=True):
        assert (a.mask == b.mask).float().mean() > 0.99
        assert a.retained_score == pytest.approx(b.retained_score, rel=1e-3)


@pytest.mark.parametrize("count", [1, 6, 7, 12])
def test_batches_are_equal_and_complete(count):
    batches = module._batches(torch.arange(count * 1000).view(count, 1000), module.TOKENS_PER_BATCH)
    assert torch.equal(torch.cat(batches), torch.arange(count * 1000).view(count, 1000))
    assert len({b.shape for b in batches}) == 1
    assert all(b.numel() <= module.TOKENS_PER_BATCH for b in batches)


def test_silent_channels_are_told(tiny_model):
    model = tiny_model("llama")
    with torch.no_grad():
        model.model.layers[0].input_layernorm.weight[[2, 9, 11]] = 0
    report = next(iter(prune(model, windows(), make_config("m", "2:4", "wanda"))))
    assert any(note.startswith("3 input channels were silent") for note in report.notes)


def test_a_report_is_plain_values(tiny_model):
    import json

    for method in ("ria", "eggs-ptp-plus"):
        values = json.loads(json.dumps(run(tiny_model("llama"), method)[0].to_dict(), allow_nan=False))
        assert values["shape"] == [32, 32]
        wanted = {"name", "sparsity", "retained_score", "min_in_degree", "orphans", "sigma2", "spectral_gap", "seconds"}
        assert wanted <= values.keys()


def test_calibration_that_overflows_is_a_sentence(tiny_model):
    model = tiny_model("llama")
    with torch.no_grad():
        model.model.embed_tokens.weight.fill_(float("inf"))
    with pytest.raises(EggsError, match=r"self_attn\.q_proj"):
        run(model)


def test_the_model_learns_nothing_of_gradients(tiny_model):
    model = tiny_model("llama")
    run(model)
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert all(layer.module.weight.is_leaf for layer in linear_layers(model))


class Experts(torch.nn.Module):
    """Two experts in one list, of which the router always chooses the first."""

    def __init__(self, mlp: torch.nn.Module):
        super().__init__()
        self.experts = torch.nn.ModuleList([mlp, copy.deepcopy(mlp)])

    def forward(self, x):
        return self.experts[0](x)


@pytest.mark.parametrize("method", ["magnitude", "ria-cp", "sparsegpt", "eggs-ptp-plus"])
def test_an_expert_that_saw_no_token_is_pruned_by_its_weights_and_reported(tiny_model, method):
    model = tiny_model("llama")
    for block in model.model.layers:
        block.mlp = Experts(block.mlp)
    dense = {layer.name: layer.weight() for layer in linear_layers(model)}
    for report in run(model, method):
        told = any(note.startswith("no calibration token reached this layer") for note in report.notes)
        assert told == (".experts.1." in report.name), report.name
        if told:
            weight = model.get_submodule(report.name).weight
            assert torch.allclose(weight, dense[report.name] * report.mask, atol=1e-5)  # nothing to re-fit it by
            lost = ((dense[report.name] * ~report.mask).norm() / dense[report.name].norm()).item()
            assert report.output_error == pytest.approx(lost, rel=1e-3)


def test_experts_fused_in_one_tensor_are_refused_by_name(tiny_model):
    model = tiny_model("mixtral", num_local_experts=4, num_experts_per_tok=2)
    with pytest.raises(EggsError, match="'mixtral' keeps its experts"):
        run(model)
