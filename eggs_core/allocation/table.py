"""What each layer loses, takes and costs by each pattern, as plain values: enough to judge any plan at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from eggs_core.errors import EggsError
from eggs_core.pattern import NMPattern
from eggs_core.rules import choice_text

CANDIDATES = ("dense", "6:8", "5:8", "4:8", "3:8", "2:8")  # unless others are named
USUAL = ("dense", "3:4", "2:4", "1:4", "6:8", "5:8", "4:8", "3:8", "2:8")  # patterns to choose from by hand
BUDGETS = {"bytes": "packed bytes", "weights": "kept weights", "time": "decode time"}  # what a budget can be of

Choice = NMPattern | None  # a layer's pattern, None for one that stays dense


@dataclass(frozen=True, slots=True)
class Cell:
    """One layer with one pattern: predicted loss in nats a token, packed bytes, kept weights, and seconds a token.

    `seconds` is what the machine at hand takes for the layer in decoding one token, of experts by the share of tokens
    that are sent to each; None where that was not measured.
    """

    loss: float
    bytes: int
    weights: int
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class LayerRow:
    """One layer; `cells` holds those choices that its width allows, dense among them."""

    name: str
    block: int  # from 0, as modules are counted
    projection: str
    shape: tuple[int, int]  # (out, in)
    cells: Mapping[Choice, Cell]


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a plan is predicted to come to, over all layers that can be pruned; `loss` beyond the dense model's."""

    loss: float
    bytes: int
    weights: int
    seconds: float | None


@dataclass(frozen=True)
class Sensitivities:
    """The rows of a model's layers, and what they were measured with."""

    model: str
    method: str  # in words
    tokens: int  # that the losses were measured on
    layers: tuple[LayerRow, ...]

    @cached_property
    def dense(self) -> Estimate:
        """The model as it is."""
        return estimate(self, {})

    @property
    def candidates(self) -> list[Choice]:
        """All choices that some layer has, from dense to the sparsest."""
        return sorted({choice for row in self.layers for choice in row.cells}, key=sparsity_order)


def sparsity_order(choice: Choice) -> tuple[float, int]:
    """Sorts choices from dense to the sparsest, those of equal share by their group."""
    return (0.0, 0) if choice is None else (choice.sparsity, choice.group)


def estimate(sensitivities: Sensitivities, patterns: Mapping[str, Choice]) -> Estimate:
    """What a plan keeps, takes and is predicted to lose; layers that `patterns` does not name stay dense.

    The losses of layers are added, which is what makes a prediction of it. Raises EggsError for a pattern that was not
    measured for a layer, and for a layer that is not there.
    """
    loss, size, weights, seconds = 0.0, 0, 0, 0.0
    timed = True
    if unknown := patterns.keys() - {row.name for row in sensitivities.layers}:
        raise EggsError(f"{sensitivities.model} has no layer {min(unknown)} that can be pruned.")
    for row in sensitivities.layers:
        choice = patterns.get(row.name)
        if choice not in row.cells:
            raise EggsError(
                f"What layer {row.name} loses by {choice_text(choice)} was not measured; measured are "
                f"{', '.join(map(choice_text, row.cells))}."
            )
        cell = row.cells[choice]
        loss, size, weights = loss + cell.loss, size + cell.bytes, weights + cell.weights
        timed = timed and cell.seconds is not None
        seconds += cell.seconds or 0.0
    return Estimate(loss, size, weights, seconds if timed else None)
