"""Canvas widgets: the model map, the mask viewer and the bipartite graph; each takes plain JSON values."""

import json
from typing import Any

import gradio as gr

from components.widgets.assets import script

MASK_HINT = "Scroll to zoom, drag to move; arrow keys, + and − work too. Hover a cell to read it."

GRAPH_HINT = "Hover a channel to light up its neighbours; click channels to pick a set. Arrow keys and Enter work too."


class _JsonWidget(gr.HTML):
    """A gr.HTML whose value is a JSON object that its script draws."""

    inputs = None  # gr.HTML takes any quoted word of a script for an event: an `inputs` there would get into its props

    def postprocess(self, value: dict[str, Any] | str | None) -> str | None:
        """Sent as a JSON string: a tab that is not mounted yet mistakes an object for new properties."""
        return json.dumps(value) if isinstance(value, dict) else value

    def preprocess(self, payload: str | None) -> None:
        """What is drawn never travels back."""
        return

    def api_info(self) -> dict[str, Any]:
        """A JSON object, as a string."""
        return {"type": "string"}


class ModelMap(_JsonWidget):
    """All layers as a grid of blocks × projections; `.pick` tells which layer was chosen."""

    def __init__(self, value: dict[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(
            value=value,
            html_template='<div class="model-map"></div>',
            js_on_load=script("model_map"),
            apply_default_css=False,
            **kwargs,
        )


class MaskCanvas(_JsonWidget):
    """One layer's mask, zoomable; `.window` tells the top left corner in view."""

    def __init__(self, value: dict[str, Any] | None = None, **kwargs: Any) -> None:
        buttons = "".join(
            f'<button type="button" data-act="{act}" title="{title}">{label}</button>'
            for act, label, title in (
                ("fit", "Whole matrix", "Show the whole matrix"),
                ("cells", "Single weights", "Zoom in until single weights and groups can be told apart"),
                ("in", "+", "Zoom in"),
                ("out", "−", "Zoom out"),
            )
        )
        super().__init__(
            value=value,
            html_template=(
                f'<div class="mask-view"><div class="view-bar">{buttons}</div>'
                '<canvas tabindex="0" aria-label="Mask of the layer; kept weights are filled"></canvas>'
                f'<div class="mask-info view-info" data-hint="{MASK_HINT}">{MASK_HINT}</div></div>'
            ),
            js_on_load=script("downloads", "mask_canvas"),
            apply_default_css=False,
            **kwargs,
        )


class CellDetail(_JsonWidget):
    """Carries weights and scores of the window in view to the mask canvases; it shows nothing itself."""

    def __init__(self, value: dict[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(
            value=value,
            html_template="<div></div>",
            js_on_load=script("cell_detail"),
            apply_default_css=False,
            elem_classes="unseen",
            **kwargs,
        )


class GraphCanvas(_JsonWidget):
    """Channels and their connections; `.choose` tells which set was picked by hand, as {side, members}."""

    def __init__(self, value: dict[str, Any] | None = None, *, label: str = "Bipartite graph", **kwargs: Any) -> None:
        player = "".join(
            f'<button type="button" data-act="{act}">{text}</button>'
            for act, text in (("play", "▶ Play"), ("back", "Step back"), ("next", "Step"))
        )
        super().__init__(
            value=value,
            html_template=(
                '<div class="graph-view">'
                f'<canvas tabindex="0" role="img" aria-label="{label} of input and output channels"></canvas>'
                f'<div class="player view-bar" hidden>{player}<span class="player-text" aria-live="polite"></span>'
                f'</div><div class="graph-info view-info" data-hint="{GRAPH_HINT}">{GRAPH_HINT}</div></div>'
            ),
            js_on_load=script("downloads", "graph_canvas"),
            apply_default_css=False,
            **kwargs,
        )
