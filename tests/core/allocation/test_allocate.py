"""From a budget to a plan: what it costs, that it is the best, and that a run prunes as it says."""

import itertools

import pytest
import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from eggs_core.allocation import losses, rates
from eggs_core.allocation.allocate import Allocated, allocate, best_plan, measure_sensitivities, parse_candidates
from eggs_core.allocation.losses import losses_by_layer, sample
from eggs_core.allocation.plan_file import plan_yaml
from eggs_core.config import make_config
from eggs_core.errors import EggsError
from eggs_core.masks.selection import topn
from eggs_core.models.architectures import linear_layers
from eggs_core.models.experts import open_experts
from eggs_core.models.loading import LoadedModel, load
from eggs_core.pattern import NMPattern
from eggs_core.progress import Progress
from eggs_core.pruning.scores import score
from eggs_core.rules import read_plan
from eggs_core.runs.events import Finished
from eggs_core.runs.execute import execute
from eggs_core.runs.patterns import layer_pattern

pytestmark = pytest.mark.usefixtures("one_thread")
RIA = make_config("m", "2:4", "ria")
P24, P48 = NMPattern(2, 4), NMPattern(4, 8)
SMALL = {"calibration_windows": 4, "calibration_length": 32, "evaluation_windows": 2, "evaluation_length": 32}


def windows(length: int = 20) -> torch.Tensor:
    return torch.randint(0, 64, (6, length), generator=torch.Generator().manual_seed(3))


class One:
    """The only model there is, with the bundled tokenizer."""

    def __init__(self, model, tokenizer) -> None:
        self.loaded = LoadedModel("small", model, tokenizer)

    def get(self, _name: str) -> LoadedModel:
        return self.loaded


def small_config(folder, method: str = "ria", **changes):
    return make_config(str(folder), "2:4", method, **{**SMALL, **changes})


def end_of(steps) -> Allocated:
    *before, last = steps
    assert before and all(isinstance(step, Progress) for step in before)
    shares = [step.share for step in before]
    assert shares == sorted(shares) and shares[0] >= 0 and shares[-1] == pytest.approx(1.0)
    assert isinstance(last, Allocated)
    return last


def test_predicted_losses_are_half_the_mean_square_of_gradient_times_error(tiny_model):
    """Against gradients of the whole model, with nothing of what goes block by block."""
    model, tokens = tiny_model("llama"), windows()
    found = dict(_end(losses_by_layer(model, tokens, RIA, [P24, P48, NMPattern(5, 7)])))
    seen: dict[str, list] = {}
    for layer in linear_layers(model):

        def hook(_module, args, output, name=layer.name):
            output.register_hook(lambda g: seen.setdefault(name, []).append((args[0].detach(), g.detach())))

        layer.module.register_forward_hook(hook)
    for window in tokens.split(1):
        logits = model(input_ids=window).logits[0, :-1]
        torch.nn.functional.cross_entropy(logits, window[0, 1:], reduction="sum").backward()
    for layer in linear_layers(model):
        x, g = (torch.cat([pair[i].flatten(0, 1) for pair in seen[layer.name]]) for i in (0, 1))
        assert set(found[layer.name]) == {P24, P48}  # no width of this model is a multiple of 7
        for pattern, loss in found[layer.name].items():
            weight = layer.weight()
            error = x @ (weight * ~topn(score("ria", weight, x.norm(dim=0)), pattern)).T
            expected = (error * g).sum(1).square().sum() / (2 * tokens.numel())
            assert loss == pytest.approx(expected.item(), rel=1e-3)


def _end(steps):
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def test_measuring_leaves_the_model_as_it_was_also_when_it_is_stopped(tiny_model):
    model = tiny_model("llama")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for steps, method in itertools.product((1, 8, 100), ("wanda", "sparsegpt")):
        config = make_config("m", "2:4", method)
        running = losses_by_layer(model, windows(), config, [P24])
        for _, _ in zip(range(steps), running, strict=False):
            pass
        running.close()
        assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
        assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


@pytest.mark.parametrize(("values", "budget"), [("model", 0.55), ("int4", 0.12)])
def test_a_plan_is_within_its_budget_and_a_run_prunes_as_it_says(small_folder, tmp_path, values, budget):
    config = small_config(small_folder, values=values)
    found = end_of(allocate(config, budget))
    assert found.plan.predicted.bytes <= budget * found.plan.dense.bytes
    assert found.plan.predicted.bytes > 0.9 * budget * found.plan.dense.bytes and found.plan.gap < 1e-6
    (file := tmp_path / "plan.yaml").write_text(plan_yaml(found, budget, "bytes"))
    planned = read_plan(file)
    run = next(e.run for e in execute(config.changed(**planned)) if isinstance(e, Finished))
    pruned = {layer["name"]: layer_pattern(layer, run.report) for layer in run.report["layers"]}
    assert pruned == {name: choice for name, choice in found.plan.patterns.items() if choice is not None}
    size, dense = run.report["size"], [row for row in found.sensitivities.layers if row.name not in pruned]
    assert size["packed_pruned"] + sum(row.cells[None].bytes for row in dense) == found.plan.predicted.bytes


def test_the_same_question_gives_the_same_plan_and_file(small_folder):
    config = small_config(small_folder, "eggs-ptp-plus")
    first, second = (end_of(allocate(config, 0.6, ["dense", "3:4", "2:4", "1:4"])) for _ in range(2))
    assert first == second and plan_yaml(first, 0.6, "bytes") == plan_yaml(second, 0.6, "bytes")


def test_no_other_plan_of_the_same_bytes_is_predicted_to_lose_less(small_folder):
    found = end_of(allocate(small_config(small_folder), 0.55))
    for text in ("4:8", "3:8"):
        uniform = best_plan(found.sensitivities, 1.0, parse_candidates([text]))
        share = uniform.predicted.bytes / uniform.dense.bytes
        assert best_plan(found.sensitivities, share).predicted.loss <= uniform.predicted.loss


def test_channel_orders_are_counted(small_folder):
    plain, ordered = (end_of(allocate(small_config(small_folder, m), 1.0, ["2:4"])) for m in ("ria", "ria-cp"))
    columns = sum(row.shape[1] for row in plain.sensitivities.layers)
    assert ordered.plan.predicted.bytes == plain.plan.predicted.bytes + 4 * columns


def test_budgets_by_weights_and_times_that_were_measured(small_folder, monkeypatch):
    config = small_config(small_folder)
    weights = end_of(allocate(config, 0.5, by="weights")).plan
    assert weights.predicted.weights <= 0.5 * weights.dense.weights and weights.predicted.seconds is None
    monkeypatch.setattr(rates, "CELL_SECONDS", 0.01)
    timed = _end(measure_sensitivities(config, parse_candidates(["2:4", "3:8"]), timed=True))
    assert all(cell.seconds and cell.seconds > 0 for row in timed.layers for cell in row.cells.values())
    assert timed.dense.seconds == pytest.approx(sum(row.cells[None].seconds for row in timed.layers))


def test_a_layer_whose_width_no_candidate_divides_stays_dense_and_counts(bundled, tiny_model):
    model = tiny_model("llama", intermediate_size=44, vocab_size=4096)
    found = end_of(allocate(small_config("tiny-llama"), 0.8, ["4:8", "3:8"], models=One(model, bundled().tokenizer)))
    down = {name for name in found.plan.patterns if name.endswith("down_proj")}
    assert {name for name, choice in found.plan.patterns.items() if choice is None} == down and len(down) == 2
    whole = sum(layer.module.weight.nbytes for layer in linear_layers(model))
    assert found.plan.dense.bytes == whole and found.plan.predicted.bytes <= 0.8 * whole
    assert not any("down_proj" in rule for rule in found.plan.rules)


@pytest.mark.parametrize("kind", ["llama", "opt", "gpt2", "bloom", "gpt_neox", "falcon", "gemma2", "phi3", "qwen3"])
def test_every_architecture_tells_what_its_layers_lose(kind, tiny_model):
    model = tiny_model(kind)
    found = _end(losses_by_layer(model, windows(), make_config("m", "2:4", "sparsegpt"), [P48, P24]))
    assert set(found) == {layer.name for layer in linear_layers(model)}
    assert all(losses[P24] > 0 and losses[P48] > 0 for losses in found.values())
    assert sum(losses[P24] for losses in found.values()) > sum(losses[P48] for losses in found.values())


def test_experts_are_layers_of_their_own_and_those_that_no_token_reached_have_losses(monkeypatch):
    torch.manual_seed(0)
    sizes = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "num_local_experts": 8, "num_experts_per_tok": 1}
    model = open_experts(AutoModelForCausalLM.from_config(CONFIG_MAPPING["mixtral"](**sizes, **heads)).eval())
    monkeypatch.setattr(losses, "TOKENS", 4)
    few = sample(windows(4), refits=False)
    assert few.shape == (1, 4)
    found = _end(losses_by_layer(model, few, RIA, [P24]))
    experts = [layer for layer in linear_layers(model) if layer.mixture]
    assert len(experts) >= 32 and {layer.name for layer in linear_layers(model)} == set(found)
    by_block = [found[layer.name][P24] for layer in experts if layer.block == 0 and "down" in layer.projection]
    assert min(by_block) > 0 and by_block.count(min(by_block)) > 4  # four tokens reach four experts at most


@pytest.mark.parametrize(
    ("budget", "candidates", "by", "sentence"),
    [
        (0.2, ["4:8", "3:8"], "bytes", r"0\.2 is below the least possible, 0\.4\d* of the dense layers' packed bytes"),
        (0.2, ["dense", "1:2"], "weights", r"least possible, 0\.5 of the dense layers' kept weights"),
        (0.0, ["2:4"], "bytes", "above 0 and up to 1"),
        (float("nan"), ["2:4"], "bytes", "above 0 and up to 1"),
        (1.0, ["dense", "2:4"], "bytes", "every layer stays dense"),
        (0.5, ["2:4"], "heads", "bytes, weights, time; got 'heads'"),
        (0.5, ["dense"], "bytes", "at least one N:M pattern"),
        (0.5, ["5:4"], "bytes", "N cannot exceed M"),
        (0.5, ["most"], "bytes", "two whole numbers"),
        (0.9, ["dense", "3:7"], "bytes", "needs in_features divisible by 7"),
    ],
)
def test_what_cannot_be_planned_is_one_sentence(small_folder, budget, candidates, by, sentence):
    with pytest.raises(EggsError, match=sentence) as caught:
        list(allocate(small_config(small_folder), budget, candidates, by=by))
    assert str(caught.value).endswith(".")


def test_a_model_that_is_not_finite_is_refused_by_its_layer(tiny_model):
    for method in ("ria", "sparsegpt"):
        model = tiny_model("llama")
        with torch.no_grad():
            model.model.layers[1].mlp.up_proj.weight[0, 0] = float("inf")
        with pytest.raises(EggsError, match=r"(?i)layer model\.layers\.\d\..*(NaN|finite|infinite)"):
            _end(losses_by_layer(model, windows(), make_config("m", "2:4", method), [P24]))


def test_a_budget_by_time_needs_times(small_folder):
    found = end_of(allocate(small_config(small_folder), 0.6))
    with pytest.raises(EggsError, match="was not measured with these"):
        best_plan(found.sensitivities, 0.6, by="time")


def test_methods_that_refit_are_predicted_to_lose_less():
    """The whole way on real weights, by the default method, by RIA, and by one whose sweep chooses the mask."""
    loaded = load("tiny-llama", torch.device("cpu"))
    losing = {}
    for method in ("eggs-ptp-plus", "sparsegpt", "ria"):
        config = make_config("tiny-llama", "2:4", method, calibration_windows=8, calibration_length=64)
        found = end_of(allocate(config, 0.54, ["4:8", "3:8"], models=One(loaded.model, loaded.tokenizer)))
        assert len(found.plan.patterns) == 42 and 0 < found.plan.predicted.loss < 1
        losing[method] = sum(row.cells[P48].loss for row in found.sensitivities.layers)
    assert max(losing["eggs-ptp-plus"], losing["sparsegpt"]) < 0.8 * losing["ria"]
