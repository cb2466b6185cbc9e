"""Error bars that reach as far down and up as an interval does."""

from collections.abc import Sequence
from typing import Any

GREY = "#808895"  # of whiskers on coloured bars


def whiskers(middle: Sequence[float], low: Sequence[float], high: Sequence[float], **style: Any) -> dict[str, Any]:
    """Plotly's error bars about values `middle`, from `low` to `high`; `style` sets colour, thickness and width."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [h - m for h, m in zip(high, middle, strict=True)],
        "arrayminus": [m - lowest for lowest, m in zip(low, middle, strict=True)],
        "thickness": 1.5,
        **style,
    }
