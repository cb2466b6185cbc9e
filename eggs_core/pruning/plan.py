"""The plan of a run: which pattern each layer gets, and which layers stay dense and why."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from eggs_core.errors import EggsError
from eggs_core.models.architectures import LinearLayer, all_layers
from eggs_core.pattern import NMPattern
from eggs_core.rules import Placed, Rule

if TYPE_CHECKING:  # it takes transformers seconds to import its models
    from transformers import PreTrainedModel


@dataclass(frozen=True, slots=True)
class Plan:
    """Patterns by the name of each layer that is pruned, and reasons by the name of each that stays dense."""

    patterns: dict[str, NMPattern]
    dense: dict[str, str]
    shapes: dict[str, tuple[int, int]]  # (out, in) of those that are pruned


def plan_for(model: PreTrainedModel, pattern: NMPattern, rules: Sequence[str] = ()) -> Plan:
    """The plan for a model, which may be on the meta device.

    The last rule that fits a layer counts, the default pattern where none does. A layer whose width the group does not
    divide stays dense. Raises EggsError for a rule that fits no layer, and if no layer can be pruned.
    """
    return plan_of(all_layers(model), pattern, [Rule.parse(text) for text in rules])


def plan_of(layers: Iterable[tuple[LinearLayer, str]], pattern: NMPattern, rules: Sequence[Rule]) -> Plan:
    """As plan_for, of layers with the reason why each cannot be pruned, "" if it can."""
    patterns: dict[str, NMPattern] = {}
    dense: dict[str, str] = {}
    shapes: dict[str, tuple[int, int]] = {}
    used: set[Rule] = set()
    unfit: tuple[NMPattern, LinearLayer] | None = None
    looked_up = rules_finder(rules)
    for layer, why in layers:
        fitting = looked_up(layer)
        used.update(fitting)
        own = fitting[-1].pattern if fitting else pattern
        own = own and own.on(layer.shape[1])
        if not why and own is None:
            why = f"the rule {fitting[-1]}"
        if not why and own is not None and layer.shape[1] % own.group:
            why = f"its {layer.shape[1]:,} inputs are no multiple of {own.group}"
            unfit = unfit or (own, layer)
        if why or own is None:
            dense[layer.name] = why
        else:
            patterns[layer.name], shapes[layer.name] = own, layer.shape
    if unused := [rule for rule in rules if rule not in used]:
        raise EggsError(f"The rule {str(unused[0])!r} fits no layer of this model; blocks are counted from 1.")
    if not patterns and unfit:
        unfit[0].check(unfit[1].name, unfit[1].shape)
    if not patterns:
        raise EggsError("No layer of this model is left to be pruned; leave out a rule that says dense.")
    return Plan(patterns, dense, shapes)


def rules_finder(rules: Sequence[Rule]) -> Callable[[Placed], list[Rule]]:
    """A function that finds a layer's rules, in order, without trying those that name another."""
    named: dict[str, list[int]] = {}
    for number, rule in enumerate(rules):
        named.setdefault(rule.glob if rule.literal else "", []).append(number)

    def fitting(layer: Placed) -> list[Rule]:
        numbers = {number for glob in ("", layer.projection, layer.name) for number in named.get(glob, ())}
        return [rule for n in sorted(numbers) if (rule := rules[n]).fits(layer.name, layer.block, layer.projection)]

    return fitting
