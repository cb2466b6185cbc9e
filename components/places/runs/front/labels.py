"""Where points of a chart can be named without one name lying on another or on a point; no gradio here."""

import math
from collections.abc import Sequence

WIDTH, HEIGHT = 270, 250  # pixels of the plot on a phone 390 wide; with more room names only move apart
LETTER, LINE, MARK = 6.0, 13.0, 7.0  # pixels: a letter's width, a line's height, from a point's middle to its edge
PAD = 0.06  # share of an axis that plotly leaves beside the outermost points

Box = tuple[float, float, float, float]  # left, top, right, bottom


def places(points: Sequence[tuple[str, float, float]]) -> list[str | None]:
    """A `textposition` for each (name, x, y), the first ones first, y logarithmic; None without room."""
    spots = list(
        zip(_scaled([x for _, x, _ in points], WIDTH), _scaled([-math.log(y) for *_, y in points], HEIGHT), strict=True)
    )
    taken: list[Box] = [(x - MARK, y - MARK, x + MARK, y + MARK) for x, y in spots]
    found: list[str | None] = []
    for number, ((name, *_), (x, y)) in enumerate(zip(points, spots, strict=True)):
        others = [box for other, box in enumerate(taken) if other != number]
        free = (
            (where, box)
            for where, box in _boxes(x, y, LETTER * len(name))
            if box[0] >= 0 and box[2] <= WIDTH and box[1] >= 0 and box[3] <= HEIGHT and not _meets(box, others)
        )
        where, box = next(free, (None, None))
        found.append(where)
        if box is not None:
            taken.append(box)
    return found


def _scaled(values: Sequence[float], length: float) -> list[float]:
    """Pixels along an axis."""
    low, high = min(values, default=0.0), max(values, default=0.0)
    span = (high - low) or 1.0
    return [length * (PAD + (1 - 2 * PAD) * (value - low) / span) for value in values]


def _boxes(x: float, y: float, width: float) -> list[tuple[str, Box]]:
    above, below, half = y - MARK - LINE, y + MARK, LINE / 2
    return [
        ("top center", (x - width / 2, above, x + width / 2, above + LINE)),
        ("bottom center", (x - width / 2, below, x + width / 2, below + LINE)),
        ("middle right", (x + MARK, y - half, x + MARK + width, y + half)),
        ("middle left", (x - MARK - width, y - half, x - MARK, y + half)),
        ("top right", (x + MARK / 2, above, x + MARK / 2 + width, above + LINE)),
        ("bottom right", (x + MARK / 2, below, x + MARK / 2 + width, below + LINE)),
        ("top left", (x - MARK / 2 - width, above, x - MARK / 2, above + LINE)),
        ("bottom left", (x - MARK / 2 - width, below, x - MARK / 2, below + LINE)),
    ]


def _meets(box: Box, others: Sequence[Box]) -> bool:
    return any(box[0] < b[2] and b[0] < box[2] and box[1] < b[3] and b[1] < box[3] for b in others)
