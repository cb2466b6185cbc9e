"""The layers of a report in rows: a row for each projection, in which the experts of a block stand together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from eggs_core.models.experts import expert_of
from eggs_core.report_types import LayerName

L = TypeVar("L", bound=LayerName)


@dataclass(frozen=True, slots=True)
class Cell(Generic[L]):
    """One layer, or the experts of a block that share a projection: `numbers` are theirs, none for a single layer.

    `head` and `tail` are what stands before and behind an expert's number in its layer's name.
    """

    row: str
    block: int
    head: str
    tail: str = ""
    layers: list[L] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The layer's name, with * for the number of an expert."""
        return f"{self.head}*{self.tail}" if self.numbers else self.head

    def mean(self, measure: Callable[[L], float]) -> float:
        """The mean of a measure over the layers."""
        return sum(map(measure, self.layers)) / len(self.layers)

    def extremes(self, measure: Callable[[L], float]) -> tuple[int, int]:
        """Places of the layers in which a measure is lowest and highest."""
        values = list(map(measure, self.layers))
        return values.index(min(values)), values.index(max(values))


def cells_of(layers: Sequence[L]) -> list[Cell[L]]:
    """Layers as cells, each where the first of its layers stands."""
    cells: dict[tuple[str, int, str], Cell[L]] = {}
    for layer in layers:
        name, block, projection = layer["name"], layer["block"], layer["projection"]
        expert = expert_of(projection) if name.endswith(projection) else None
        if expert is None:
            cells[name, block, ""] = Cell(projection, block, name, layers=[layer])
            continue
        row, number = expert
        before, _, tail = row.partition("*")
        head = f"{name.removesuffix(projection)}{before}"
        cell = cells.setdefault((head, block, tail), Cell(row, block, head, tail))
        cell.layers.append(layer)
        cell.numbers.append(number)
    return list(cells.values())


def has_experts(cells: Sequence[Cell]) -> bool:
    """Do some of the cells hold experts?"""
    return any(cell.numbers for cell in cells)
