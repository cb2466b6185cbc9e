"""What the Plan tab shows: the layers of the sidebar's model and the pattern that each gets; no gradio here."""

from __future__ import annotations

import base64
import binascii
import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from components.jobs.processes import PROCESSES
from components.places.plan.painting.measuring import losses_of, rates_of
from components.widgets.encoding import base64_bytes, base64_counts, base64_floats
from eggs_core.allocation.allocate import best_plan
from eggs_core.allocation.grouped import rules_for
from eggs_core.allocation.rates import Rates
from eggs_core.allocation.sizes import LayerSize, layer_sizes
from eggs_core.allocation.stored import MeasuredLosses, losses_key
from eggs_core.allocation.table import USUAL, Choice, sparsity_order
from eggs_core.cache import Bounded
from eggs_core.config import PruneConfig
from eggs_core.errors import EggsError
from eggs_core.models.folder import CONFIG
from eggs_core.models.source import model_source
from eggs_core.pruning.plan import rules_finder
from eggs_core.report_types import LayerName
from eggs_core.rules import Rule, choice_text, parse_choice
from eggs_core.runs.layer_rows import Cell, cells_of
from eggs_core.runs.patterns import layer_pattern
from eggs_core.runs.run import Run

MOST_PATTERNS = 64  # that a plan's layers may have among them
MOST_LAYERS = 100_000  # of all models whose layers are remembered

_LAYERS: Bounded[tuple, list[LayerSize]] = Bounded(MOST_LAYERS, lambda kept: sum(map(len, kept)), keep_newest=True)


def layers_of(model: str) -> list[LayerSize]:
    """The layers of a model that can be pruned, a block's experts of one projection together, as they share a cell.

    They are read once, of a folder again when its configuration has changed. Raises EggsError for what is no model.
    """
    source, _ = model_source(model)
    try:
        state = (Path(source) / CONFIG).stat().st_mtime_ns
    except OSError:  # on the Hub
        state = 0
    found = _LAYERS.get_or_make((model, state), lambda: _in_rows(PROCESSES.ask(layer_sizes, model)))
    if not found:
        raise EggsError(f"{model} has no layer that can be pruned; choose another model.")
    return found


def _in_rows(layers: list[LayerSize]) -> list[LayerSize]:
    by_name = {layer.name: layer for layer in layers}
    return [by_name[name["name"]] for cell in cells_of(_names(layers)) for name in cell.layers]


def _names(layers: Sequence[LayerSize]) -> list[LayerName]:
    return [{"name": layer.name, "block": layer.block, "projection": layer.projection} for layer in layers]


@dataclass(frozen=True)
class Planned:
    """The sidebar's configuration on the layers of its model, with what was measured of them."""

    config: PruneConfig
    layers: list[LayerSize]
    losses: MeasuredLosses | None = None
    rates: Rates | None = None

    @classmethod
    def of(cls, config: PruneConfig) -> Planned:
        """Raises EggsError for a model that cannot be opened."""
        return cls(config, layers_of(config.model), losses_of(config), rates_of(config.model))

    @cached_property
    def _matched(self) -> tuple[list[Choice], tuple[str, ...]]:
        rules = [Rule.parse(text) for text in self.config.layers]
        fitting, used, found = rules_finder(rules), set[Rule](), list[Choice]()
        for layer in self.layers:
            own = fitting(layer)
            used.update(own)
            found.append(own[-1].pattern if own else self.config.pattern)
        return found, tuple(str(rule) for rule in rules if rule not in used)

    @property
    def choices(self) -> list[Choice]:
        """What the rules and the sidebar's pattern want of each layer, whether its width allows it or not."""
        return self._matched[0]

    @property
    def unused(self) -> tuple[str, ...]:
        """The rules that fit no layer of this model."""
        return self._matched[1]

    @property
    def given(self) -> dict[str, Choice]:
        """What each layer gets: it stays dense where a group does not divide its width."""
        return {layer.name: _given(layer, own) for layer, own in zip(self.layers, self.choices, strict=True)}

    @property
    def differing(self) -> int:
        """How many layers get another pattern than by the sidebar's alone."""
        default = self.config.pattern
        each = zip(self.layers, self.choices, strict=True)
        return sum(_given(layer, own) != _given(layer, default) for layer, own in each)

    @property
    def patterns(self) -> list[Choice]:
        """The brushes: the usual ones that some layer takes, the sidebar's, and those that the rules name."""
        named = {self.config.pattern, *(Rule.parse(text).pattern for text in self.config.layers)}
        usual = {brush for brush in map(parse_choice, USUAL) if any(layer.takes(brush) for layer in self.layers)}
        return sorted(usual | named, key=sparsity_order)

    @property
    def least_budget(self) -> int:
        """The least budget that some plan keeps to, in per cent of the dense bytes, by the patterns to choose from."""
        usual, least, whole = self.patterns, 0, 0
        for (measured, *_), count, one in self._alike():
            patterns = usual if measured is None else [None, *map(parse_choice, measured)]
            least += count * min(one.cost(choice, self.config)[0] for choice in patterns if one.takes(choice))
            whole += count * one.cost(None, self.config)[0]
        return math.ceil(100 * least / whole) if whole else 1

    def _alike(self) -> Iterator[tuple[tuple, int, LayerSize]]:
        """Layers that a plan may give the same, as (what they have in common, how many, one of them).

        In common are the patterns that their losses were measured by (None before), their shape and the bytes of a
        weight. There may be ten thousands of layers, so that nothing is parsed here.
        """
        counts, first = Counter[tuple](), dict[tuple, LayerSize]()
        losses = None if self.losses is None else self.losses.losses
        for layer in self.layers:
            own = None if losses is None else losses.get(layer.name)
            if losses is None or own is not None:  # a budget is of the layers that losses were measured of
                common = None if own is None else tuple(own), layer.shape, layer.itemsize
                counts[common] += 1
                first.setdefault(common, layer)
        return ((common, count, first[common]) for common, count in counts.items())

    def key(self) -> str:
        """What the canvas's value is told by: it is sent again only when this is another."""
        stored = self.config.permutation, self.config.bits
        made = self.losses and (self.losses.created, losses_key(self.config))
        told = self.config.model, self.patterns, self.layers[0], len(self.layers), stored, made, self.rates
        return hashlib.sha256(repr(told).encode()).hexdigest()[:12]


def _given(layer: LayerSize, choice: Choice) -> Choice:
    return choice if layer.takes(choice) else None


def canvas_value(plan: Planned) -> dict[str, Any]:
    """What the canvas draws and adds up: rows of layers, what a shape takes by each pattern, and what a layer loses."""
    layers, patterns = plan.layers, plan.patterns
    shapes = list(dict.fromkeys((layer.shape, layer.itemsize) for layer in layers))
    first = {(layer.shape, layer.itemsize): layer for layer in layers}
    place = {shape: number for number, shape in enumerate(shapes)}
    rows: dict[str, list[dict]] = {}
    number = 0
    for cell in cells_of(_names(layers)):
        rows.setdefault(cell.row, []).append(_cell(cell, number))
        number += len(cell.layers)
    return {
        "key": plan.key(),
        "model": plan.config.model,
        "blocks": 1 + max(layer.block for layer in layers),
        "rows": [{"projection": projection, "cells": cells} for projection, cells in rows.items()],
        "patterns": [
            {"text": choice_text(p), "density": p.density if p else 1.0, "group": p.group if p else 1} for p in patterns
        ],
        "shapes": [_shape(first[shape], patterns, plan) for shape in shapes],
        "shape": base64_counts([place[layer.shape, layer.itemsize] for layer in layers]),
        "share": base64_floats([layer.share for layer in layers]),
        "losses": _losses(plan),
    }


def _cell(cell: Cell[LayerName], first: int) -> dict[str, Any]:
    """One cell: its layers' numbers begin at `first`; experts go as in the model's map."""
    drawn = {"block": cell.block, "name": cell.name, "first": first, "count": len(cell.layers)}
    if not cell.numbers:
        return drawn
    plain = cell.numbers == list(range(len(cell.numbers)))
    return drawn | {"head": cell.head, "tail": cell.tail, "numbers": None if plain else base64_counts(cell.numbers)}


def _shape(layer: LayerSize, patterns: Sequence[Choice], plan: Planned) -> dict[str, Any]:
    """What a layer of this shape takes by each pattern, None by one that does not divide it."""
    costs = [layer.cost(p, plan.config) if layer.takes(p) else (None, None) for p in patterns]
    return {
        "shape": layer.shape,
        "bytes": [size for size, _ in costs],
        "weights": [count for _, count in costs],
        "seconds": None if plan.rates is None else [plan.rates.get((layer.shape, p)) for p in patterns],
    }


def _losses(plan: Planned) -> str | None:
    """Each layer's loss by each pattern, row by row: NaN where none was measured, 0 where no text passes the layer."""
    if plan.losses is None:
        return None
    texts = list(map(choice_text, plan.patterns))
    own = (plan.losses.losses.get(layer.name) for layer in plan.layers)
    return base64_floats([0.0 if losses is None else losses.get(text, math.nan) for losses in own for text in texts])


def choices_value(plan: Planned) -> dict[str, Any]:
    """What each layer is to have, as the number of a pattern in the canvas's value."""
    number = {pattern: place for place, pattern in enumerate(plan.patterns)}
    numbers = [number[choice] for choice in plan.choices]
    return {"key": plan.key(), "base": number[plan.config.pattern], "choices": base64_bytes(numbers)}


def painted(plan: Planned, patterns: object, choices: object) -> tuple[str, ...]:
    """The rules of what was painted, given the patterns' names and a number of one for each layer as base64 of bytes.

    Raises EggsError for what no canvas sends.
    """
    wrong = EggsError("This drawing does not fit the model; open the tab again.")
    if not isinstance(patterns, list) or not isinstance(choices, str) or len(patterns) > MOST_PATTERNS:
        raise wrong
    brushes = [parse_choice(str(text)) for text in patterns]
    try:
        numbers = base64.b64decode(choices, validate=True)
    except (binascii.Error, ValueError) as error:
        raise wrong from error
    if len(numbers) != len(plan.layers) or max(numbers) >= len(brushes):
        raise wrong
    chosen = {layer.name: brushes[number] for layer, number in zip(plan.layers, numbers, strict=True)}
    return rules_for(plan.layers, chosen, plan.config.pattern)


def best_choices(losses: MeasuredLosses, layers: list[LayerSize], values: str, budget: float) -> dict[str, Choice]:
    """The choices of least predicted loss within a share of the dense bytes; raises EggsError for too small a one."""
    return best_plan(losses.sensitivities(layers, values), budget).patterns


def fill(plan: Planned, budget: float) -> tuple[str, ...]:
    """The rules of the best plan for a budget, computed in the process that answers questions.

    Raises EggsError before losses were measured, and for too small a budget.
    """
    if plan.losses is None:
        raise EggsError("What the layers lose was not measured yet; press “Measure what each layer loses”.")
    default, values = plan.config.pattern, plan.config.choice("values")
    found = PROCESSES.ask(best_choices, plan.losses, plan.layers, values, budget)
    free = [layer for layer in plan.layers if layer.name in found]
    same = (layer for layer in free if found[layer.name] == _given(layer, default))  # what it gets without a rule
    return rules_for(free, found | {layer.name: default for layer in same}, default)


def predicted_loss(run: Run) -> float | None:
    """What the patterns of a run were predicted to lose, in nats a token; None where that was not measured."""
    report = run.report
    if (found := losses_of(PruneConfig.from_dict(report["config"]))) is None:
        return None
    own = (found.losses.get(layer["name"], {}).get(str(layer_pattern(layer, report))) for layer in report["layers"])
    known = [loss for loss in own if loss is not None]
    return sum(known) if len(known) == len(report["layers"]) else None
