"""White on a button of the main kind can be read, also while the pointer rests on it; what no rule asks."""

import pytest

from components.theme import TEAL, theme
from eggs_core.assets import ASSETS

LEAST = 4.5  # WCAG 2.2, success criterion 1.4.3


def luminance(colour: str) -> float:
    """Relative luminance of "#rrggbb", as WCAG defines it."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("dark", ["", "_dark"])
@pytest.mark.parametrize("state", ["", "_hover"])
def test_white_on_teal_can_be_read(dark, state):
    look = theme()
    assert getattr(look, f"button_primary_text_color{state}{dark}", None) in (
        None,
        "white",
        "*button_primary_text_color",
    )
    shade = getattr(look, f"button_primary_background_fill{state}{dark}").removeprefix("*primary_")
    assert 1.05 / (luminance(getattr(TEAL, f"c{shade}")) + 0.05) >= LEAST


def test_no_rule_asks_what_an_element_holds():
    """With one, whatever is put into the page makes the browser look at every element of it anew."""
    assert ":has(" not in (ASSETS / "css" / "app.css").read_text(encoding="utf-8")
