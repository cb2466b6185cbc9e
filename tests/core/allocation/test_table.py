"""Estimates of a plan, and the few rules that it is written in."""

import random
from dataclasses import replace

import pytest

from eggs_core.allocation.allocate import best_plan
from eggs_core.allocation.grouped import grouped_rules, rules_for
from eggs_core.allocation.table import Cell, LayerRow, Sensitivities, estimate
from eggs_core.errors import EggsError
from eggs_core.pattern import NMPattern
from eggs_core.rules import Rule

P24, P34, P38 = NMPattern(2, 4), NMPattern(3, 4), NMPattern(3, 8)
PROJECTIONS = ("self_attn.q_proj", "mlp.up_proj", "mlp.down_proj")


def table(blocks: int = 6, seconds: bool = True) -> Sensitivities:
    """Three layers a block; mlp.down_proj has 12 inputs, which no group of 8 divides."""
    rows = []
    for block in range(blocks):
        for projection in PROJECTIONS:
            columns = 12 if projection.endswith("down_proj") else 16
            cells = {None: Cell(0.0, 64 * columns, 16 * columns, 4.0 if seconds else None)}
            for pattern in (P24, P34, P38):
                if columns % pattern.group == 0:
                    time = 4.0 * pattern.density if seconds else None
                    cells[pattern] = Cell(pattern.sparsity, 40 * columns, int(16 * columns * pattern.density), time)
            rows.append(LayerRow(f"layers.{block}.{projection}", block, projection, (16, columns), cells))
    return Sensitivities("made up", "RIA", 64, tuple(rows))


def test_an_estimate_adds_up_the_layers_own_cells():
    found = table(1)
    plan = {"layers.0.self_attn.q_proj": P38, "layers.0.mlp.up_proj": P34}
    expected = estimate(found, plan)
    assert (expected.loss, expected.bytes) == (0.625 + 0.25, 40 * 32 + 64 * 12)
    assert (expected.weights, expected.seconds) == (96 + 192 + 192, 1.5 + 3.0 + 4.0)
    assert (found.dense.loss, found.dense.weights, found.dense.seconds) == (0.0, 704, 12.0)
    assert estimate(table(1, seconds=False), plan).seconds is None
    assert found.candidates == [None, P34, P24, P38]


def test_what_was_not_measured_is_named():
    with pytest.raises(EggsError, match=r"layers\.0\.mlp\.down_proj loses by 3:8 was not measured; measured are dense"):
        estimate(table(), {"layers.0.mlp.down_proj": P38})
    with pytest.raises(EggsError, match=r"no layer layers\.9\.mlp\.up_proj"):
        estimate(table(), {"layers.9.mlp.up_proj": P24})


def test_a_budget_of_decode_time_goes_by_each_layers_own_times():
    found = table(2)
    plan = best_plan(found, 0.75, by="time")
    assert plan.predicted.seconds <= 0.75 * 24 and plan.predicted.loss == pytest.approx(
        1.5
    )  # losses fall as times rise
    fewer = best_plan(found, 0.75, [P24, None], by="time")
    assert set(fewer.patterns.values()) == {P24, None} and fewer.predicted.seconds == 18


def as_rules_say(found: Sensitivities, pattern: NMPattern, rules: tuple[str, ...]):
    """Each layer's choice by the last rule that fits, dense where its width does not divide."""
    parsed, chosen = [Rule.parse(text) for text in rules], {}
    for row in found.layers:
        own = pattern
        for rule in parsed:
            if rule.fits(row.name, row.block, row.projection):
                own = rule.pattern
        chosen[row.name] = own if own in row.cells else None
    return chosen


@pytest.mark.parametrize("seed", range(20))
def test_rules_give_every_layer_its_own_pattern(seed):
    draw, found = random.Random(seed), table(60)
    plan = {row.name: draw.choice(list(row.cells)) for row in found.layers}
    pattern, rules = grouped_rules(found.layers, plan)
    assert as_rules_say(found, pattern, rules) == plan
    assert all(len(rule) < 200 for rule in rules)
    assert grouped_rules(found.layers, dict(reversed(plan.items()))) == (pattern, rules)


def test_rules_are_as_few_as_what_differs():
    found = table()
    plan = {row.name: P24 for row in found.layers}
    assert grouped_rules(found.layers, plan) == (P24, ())
    plan |= {f"layers.{block}.mlp.up_proj": P38 for block in range(6)} | {"layers.0.mlp.up_proj": None}
    plan |= {f"layers.{block}.mlp.down_proj": P34 for block in (1, 3, 4)}
    pattern, rules = grouped_rules(found.layers, plan)
    assert (pattern, rules) == (
        P24,
        ("mlp.up_proj=3:8", "blocks 1 mlp.up_proj=dense", "blocks 2,4-5 mlp.down_proj=3:4"),
    )


def test_experts_share_a_rule_and_its_exceptions():
    layers = [
        LayerRow(f"layers.{block}.mlp.experts.{number}.up_proj", block, f"mlp.experts.{number}.up_proj", (16, 16), {})
        for block in range(4)
        for number in range(8)
    ]
    plan = {layer.name: P38 for layer in layers}
    assert rules_for(layers, plan, P38) == ()
    assert rules_for(layers, plan, P24) == ("mlp.experts.*.up_proj=3:8",)
    plan |= {layer.name: P34 for layer in layers if layer.block == 2}
    plan |= {f"layers.{block}.mlp.experts.5.up_proj": None for block in (1, 2)}
    rules = rules_for(layers, plan, P38)
    assert rules == ("blocks 3 mlp.experts.*.up_proj=3:4", "blocks 2-3 mlp.experts.5.up_proj=dense")
    found = Sensitivities("m", "RIA", 1, tuple(replace(row, cells=dict.fromkeys([None, P34, P38])) for row in layers))
    assert as_rules_say(found, P38, rules) == plan


@pytest.mark.parametrize("seed", range(5))
def test_rules_give_every_expert_its_own_pattern(seed):
    draw, cells = random.Random(seed), dict.fromkeys([None, P24, P34, P38])
    names = [f"mlp.experts.{number}.{part}" for number in range(6) for part in ("up_proj", "down_proj")]
    rows = [LayerRow(f"layers.{b}.{name}", b, name, (16, 16), cells) for b in range(5) for name in names]
    plan = {row.name: draw.choice([*cells, P38, P38, P38]) for row in rows}
    rules = rules_for(rows, plan, P24)
    assert as_rules_say(Sensitivities("m", "RIA", 1, tuple(rows)), P24, rules) == plan


def test_a_plan_that_leaves_all_dense_is_refused():
    with pytest.raises(EggsError, match="every layer stays dense"):
        grouped_rules(table().layers, {})
