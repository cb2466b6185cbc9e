"""How long each layer takes with each pattern when one token is decoded, as the machine at hand was timed."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from typing import TYPE_CHECKING

from eggs_core.allocation.table import Choice
from eggs_core.pattern import NMPattern
from eggs_core.progress import Progress

if TYPE_CHECKING:
    from torch import device, dtype

Shape = tuple[int, int]
Rates = dict[tuple[Shape, Choice], float]  # seconds that one product takes

CELL_SECONDS = 0.12  # for one shape with one pattern


def decode_rates(
    shapes: Iterable[Shape], candidates: Sequence[NMPattern], kind: dtype, where: device
) -> Generator[Progress, None, Rates]:
    """Time one token's product by layers of those (out, in) shapes, dense and packed in turn; returns the rates.

    A pattern is left out where its group does not divide the shape. Times differ from one measurement to the next.
    """
    from eggs_core.speed.layers import measure_layers  # here, as it imports torch at once

    rates: Rates = {}
    cells: list[tuple[Shape, NMPattern]] = []
    for shape in dict.fromkeys(shapes):
        cells += [(shape, own) for own in candidates if shape[1] % own.group == 0] or [(shape, NMPattern(1, 1))]
    for number, (shape, pattern) in enumerate(cells, 1):
        timings = measure_layers([shape], pattern, tokens=(1,), dtypes=(kind,), seconds=CELL_SECONDS, device=where)
        for timing in timings:
            (dense,), (packed,) = timing.dense.values(), timing.packed.values()
            rates[shape, pattern] = packed.median
            rates[shape, None] = min(rates.get((shape, None), dense.median), dense.median)
        yield Progress(f"Timing layer shapes: {number} of {len(cells)}", number / len(cells))
    return rates
