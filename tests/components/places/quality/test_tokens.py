"""The token view draws what it is given, escaped."""

from components.places.quality.tokens.figures import HARDER, kind_bars
from components.places.quality.tokens.words import coloured_text, tokens_reading
from eggs_core.evaluation.tokens import Prediction, TokenChange

HOSTILE = "<img src=x onerror=alert(1)>${boom}"


def change(text: str, dense: float, pruned: float, kind: str = "words") -> TokenChange:
    five = [(HOSTILE, 0.5)] * 5
    return TokenChange(text, kind, Prediction(dense, five), Prediction(pruned, five))


def test_hostile_tokens_are_escaped_and_harder_ones_coloured():
    drawn = coloured_text(HOSTILE, [change(HOSTILE, 1.0, 5.0), change("b", 2.0, 2.0)])
    assert "<img" not in drawn and "${" not in drawn
    assert f"{HARDER} 70%" in drawn and 'data-change="4.0000"' in drawn
    assert "<img" not in tokens_reading([change(HOSTILE, 1.0, 2.0)])


def test_bars_are_means_over_kinds():
    figure = kind_bars([change("a", 1, 2), change("b", 1, 4), change("7", 3, 2, "digits")])
    assert list(figure.data[0].x) == [-1.0, 2.0] and list(figure.data[0].y) == ["digits (1)", "words (2)"]
