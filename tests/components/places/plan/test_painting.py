"""A plan as the canvas draws it: what it adds up to, the rules of what was painted, and the best for a budget."""

import base64

import numpy as np
import pytest

from components.places.plan.painting import measuring
from components.places.plan.painting.measuring import losses_of, losses_work, rate_steps, shipped_losses
from components.places.plan.painting.view import (
    Planned,
    canvas_value,
    choices_value,
    fill,
    layers_of,
    painted,
    predicted_loss,
)
from components.places.plan.painting.words import dropped, in_use, outcome_reading, sources_note, weakest_reading
from eggs_core.allocation import rates
from eggs_core.allocation.allocate import parse_candidates
from eggs_core.allocation.stored import MeasuredLosses
from eggs_core.allocation.table import estimate
from eggs_core.config import make_config
from eggs_core.errors import EggsError
from eggs_core.pattern import NMPattern
from eggs_core.pruning.plan import plan_for
from eggs_core.rules import choice_text

P24, P14 = NMPattern(2, 4), NMPattern(1, 4)
SMALL = {"calibration_windows": 4, "calibration_length": 32}


def plan_of(*rules: str, model: str = "tiny-llama", pattern: str = "2:4", method: str = "eggs-ptp-plus") -> Planned:
    return Planned.of(make_config(str(model), pattern, method, layers=list(rules)))


def numbers(text: str, kind: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), kind)


def total(value: dict, choices: dict, figure: str) -> int:
    """What the canvas adds up, from what it was sent."""
    shape, own = numbers(value["shape"], "<i4"), numbers(choices["choices"], "u1")
    costs = [shape[figure] for shape in value["shapes"]]
    return sum(costs[s][0] if costs[s][c] is None else costs[s][c] for s, c in zip(shape, own, strict=True))


def test_the_canvas_adds_up_to_what_the_core_estimates():
    plan = plan_of("mlp.*=4:8", "blocks 2 self_attn.q_proj=dense", "blocks 1,3=1:4")
    value, choices = canvas_value(plan), choices_value(plan)
    expected = estimate(losses_of(plan.config).sensitivities(plan.layers), plan.given)
    assert total(value, choices, "bytes") == expected.bytes
    assert total(value, choices, "weights") == expected.weights
    losses = numbers(value["losses"], "<f4").reshape(42, -1)
    lost = losses[np.arange(42), numbers(choices["choices"], "u1")]
    assert np.isnan(losses[:, 0]).all() and np.nansum(lost) == pytest.approx(expected.loss, rel=1e-5)
    assert value["key"] == choices["key"] and value["patterns"][0]["text"] == "dense"
    assert value["patterns"][choices["base"]]["text"] == "2:4"


def test_layers_are_drawn_as_the_model_has_them(bundled, monkeypatch):
    monkeypatch.setattr("eggs_core.models.loading.from_files", None)  # no weights are read
    value = canvas_value(plan_of())
    assert len(value["rows"]) == 7 and value["blocks"] == 6
    layers, seen = layers_of("tiny-llama"), []
    for row in value["rows"]:
        for cell in row["cells"]:
            assert layers[cell["first"]].name == cell["name"] and layers[cell["first"]].block == cell["block"]
            seen += range(cell["first"], cell["first"] + cell["count"])
    assert sorted(seen) == list(range(42))


def test_what_was_painted_comes_back_from_its_rules():
    draw, plan = np.random.default_rng(0), plan_of()
    texts = [choice_text(p) for p in plan.patterns]
    for _ in range(5):
        own = draw.integers(0, len(texts), 42).astype("u1")
        sent = base64.b64encode(own.tobytes()).decode()
        again = plan_of(*painted(plan, texts, sent))
        assert choices_value(again)["choices"] == sent
        assert [choice_text(c) for c in again.choices] == [texts[i] for i in own]
    even = base64.b64encode(bytes([texts.index("2:4")] * 42)).decode()
    assert painted(plan, texts, even) == ()


@pytest.mark.parametrize(
    ("patterns", "choices"),
    [
        (["dense"], ""),
        (["dense"], "AAAA"),
        (["dense", "5:4"], "AA" * 21),
        ("dense", "AA"),
        (["dense"] * 65, "AA"),
        (["dense"], base64.b64encode(bytes([1] * 42)).decode()),
        (["dense"], "é" * 56),
        (None, None),
    ],
)
def test_what_no_canvas_sends_is_one_sentence(patterns, choices):
    with pytest.raises(EggsError):
        painted(plan_of(), patterns, choices)


def test_a_layer_whose_width_is_not_divided_stays_dense_as_in_a_run(bundled):
    plan = plan_of("mlp.down_proj=2:7", "blocks 1=1:4", pattern="3:7")
    run = plan_for(bundled("tiny-llama").model, plan.config.pattern, plan.config.layers)
    assert {name: own for name, own in plan.given.items() if own} == run.patterns
    shapes = canvas_value(plan)["shapes"]
    at = [p["text"] for p in canvas_value(plan)["patterns"]].index("3:7")
    assert [s["bytes"][at] is None for s in shapes] == [s["shape"][1] % 7 > 0 for s in shapes]
    assert plan.differing == sum(own is not None for own in plan.given.values())


def test_rules_that_fit_nothing_are_known_before_a_run():
    plan = plan_of("fc1=1:4", "blocks 99=dense", "mlp.up_proj=1:4")
    assert plan.unused == ("fc1=1:4", "blocks 99=dense") and plan.differing == 6
    said = dropped(plan.unused, "tiny-llama")
    assert "“fc1=1:4”, “blocks 99=dense”" in said and "bad" in said
    assert "6 layers differ from 2:4" in in_use(plan.differing, 1, "2:4") and in_use(0, 0, "2:4") == ""


def test_losses_ship_for_the_bundled_models_by_the_default_method_alone():
    assert len(shipped_losses()) == 2
    for model in ("tiny-llama", "tiny-opt"):
        config = make_config(model, "1:4", layers=["blocks 1=dense"])
        found = losses_of(config)
        assert found in shipped_losses().values()
        assert set(found.losses) == {layer.name for layer in layers_of(model)}
        assert all(len(own) == 8 and own["1:4"] > own["2:4"] > own["3:4"] > 0 for own in found.losses.values())
        for other in ({"method": "ria"}, {"seed": 1}, {"calibration_windows": 8}):
            assert losses_of(make_config(model, "2:4", **other)) is None


def test_losses_are_kept_by_method_and_calibration(follow, small_folder, monkeypatch):
    config = make_config(str(small_folder), "2:4", "ria", layers=["blocks 1=3:4"], **SMALL)
    assert losses_of(config) is None
    assert canvas_value(Planned.of(config))["losses"] is None
    *_, last = follow(losses_work(config, {}, parse_candidates(["dense", "2:4", "1:4"])))
    assert isinstance(last, MeasuredLosses) and losses_of(config) is last
    assert losses_of(config.changed(pattern="1:4", layers=())) is last
    assert losses_of(config.changed(seed=1)) is None
    monkeypatch.setattr(measuring, "known_fingerprint", lambda name: "others")  # the weights were changed
    assert losses_of(config) is None


@pytest.mark.parametrize("values", ["model", "int4"])
def test_the_least_budget_can_be_kept_to_and_no_smaller_one(values):
    plan = Planned.of(make_config("tiny-llama", "2:4", values=values))
    assert plan.losses is not None and fill(plan, plan.least_budget / 100)
    with pytest.raises(EggsError, match="below the least possible"):
        fill(plan, (plan.least_budget - 1) / 100)
    assert (plan.least_budget < 12) == (values == "int4")


def test_the_best_plan_for_a_budget_is_within_it():
    plan = plan_of()
    for budget in (0.4, 0.6):
        rules = fill(plan, budget)
        found = losses_of(plan.config).sensitivities(plan.layers)
        best, even = (estimate(found, p.given) for p in (plan_of(*rules), plan_of(pattern="1:4")))
        assert best.bytes <= budget * found.dense.bytes and best.loss < even.loss
    with pytest.raises(EggsError, match=r"0\.25 is below the least possible"):
        fill(plan, 0.25)
    with pytest.raises(EggsError, match="press “Measure"):
        fill(plan_of(method="ria"), 0.5)


def test_shapes_are_timed_by_pattern(monkeypatch):
    monkeypatch.setattr(rates, "CELL_SECONDS", 0.01)
    *_, found = rate_steps([(64, 64), (32, 60)], 4, parse_candidates(["dense", "2:4", "2:8"]))
    assert set(found) == {((64, 64), None), ((64, 64), P24), ((64, 64), NMPattern(2, 8))} | {
        ((32, 60), None),
        ((32, 60), P24),
    }
    assert all(seconds > 0 for seconds in found.values())


def test_a_run_says_what_was_predicted_of_it(make_run):
    run = make_run("ria")
    said = outcome_reading(run, 0.25)
    assert "predicted were +0.250" in said and "predicted" not in outcome_reading(run, None)
    assert predicted_loss(run) is None
    plan = plan_of("mlp.*=1:4", "blocks 2=dense")
    layers = [{"name": name, "pattern": str(own)} for name, own in plan.given.items() if own]
    planned = type(run)(run.report | {"config": plan.config.to_dict(), "layers": layers}, {})
    expected = estimate(plan.losses.sensitivities(plan.layers), plan.given).loss
    assert predicted_loss(planned) == pytest.approx(expected)
    layers[0]["pattern"] = "3:7"  # which was not measured
    assert predicted_loss(planned) is None


def test_the_sentences_name_what_was_measured():
    found = next(iter(shipped_losses().values()))
    layers = layers_of(found.config["model"])
    places = {layer.name: f"block {layer.block + 1}, {layer.projection}" for layer in layers}
    said, order = weakest_reading(found, layers), sorted(found.losses, key=lambda name: found.losses[name]["1:4"])
    least, *_, second, most = (places[name] for name in order)
    assert said.index(most) < said.index(second) < said.index(least) and "By 1:4" in said
    assert order[-1] in weakest_reading(found, [])  # of a model that is not here
    assert "ships with the app" in sources_note("m", "RIA", found, True)
    assert "was not measured for m, RIA" in sources_note("m", "RIA", None, False)
