"""The lesson's matrix: 8×8 weights that a click keeps or prunes."""

from typing import Any

from components.widgets.assets import on_load, widgets
from components.widgets.canvas import _JsonWidget


class MaskBench(_JsonWidget):
    """A small weight matrix; `.edit` tells the whole mask after a click, as a string of 0 and 1, row by row."""

    def __init__(self, value: dict[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(
            value=value,
            html_template='<div class="bench"></div>',
            head=widgets().tag,
            js_on_load=on_load("mask_bench", "edit"),
            apply_default_css=False,
            **kwargs,
        )
