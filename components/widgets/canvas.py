"""Canvas widgets: the model map, the mask viewer and the bipartite graph; each takes plain JSON values."""

import json
from typing import Any

import gradio as gr

from components.widgets.assets import on_load, widgets

MASK_HINT = "Scroll to zoom, drag to move; arrow keys, + and − work too. Hover a cell to read it."

GRAPH_HINT = "Hover a channel to light up its neighbours; click channels to pick a set. Arrow keys and Enter work too."


class _JsonWidget(gr.HTML):
    """A gr.HTML whose value is a JSON object that its script draws."""

    def postprocess(self, value: dict[str, Any] | str | None) -> str | None:
        """Sent as a JSON string: a tab that is not mounted yet mistakes an object for new properties."""
        return json.dumps(value) if isinstance(value, dict) else value

    def preprocess(self, payload: str | None) -> None:
        """What is drawn never travels back."""
        return

    def api_info(self) -> dict[str, Any]:
        """A JSON object, as a string."""
        return {"type": "string"}


class _Carrier(_JsonWidget):
    """Hands its value to other widgets by its script, and is never seen."""

    script_name: str

    def __init__(self, value: dict[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(
            value=value,
            html_template="<div></div>",
            head=widgets().tag,
            js_on_load=on_load(self.script_name),
            apply_default_css=False,
            elem_classes="unseen",
            **kwargs,
        )


class ModelMap(_JsonWidget):
    """All layers as a grid of blocks × projections; `.pick` tells which layer was chosen."""

    def __init__(self, value: dict[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(
            value=value,
            html_template='<div class="model-map"></div>',
            head=widgets().tag,
            js_on_load=on_load("model_map", "pick"),
            apply_default_css=False,
            **kwargs,
        )


class PlanCanvas(_JsonWidget):
    """All layers as a grid to paint patterns on; `.paint` tells which number of a pattern each layer got."""

    def __init__(self, value: dict[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(
            value=value,
            html_template='<div class="plan"></div>',
            head=widgets().tag,
            js_on_load=on_load("plan_canvas", "paint"),
            apply_default_css=False,
            **kwargs,
        )


class PlanChoices(_Carrier):
    """Carries the pattern that each layer is to have to the plan's canvas; it shows nothing itself."""

    script_name = "plan_choices"


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
                '<canvas tabindex="0" role="application" aria-label="Mask of the layer; kept weights are filled">'
                "</canvas>"
                f'<div class="mask-info view-info" data-hint="{MASK_HINT}">{MASK_HINT}</div></div>'
            ),
            head=widgets().tag,
            js_on_load=on_load("mask_canvas", "window"),
            apply_default_css=False,
            **kwargs,
        )


class CellDetail(_Carrier):
    """Carries weights and scores of the window in view to the mask canvases; it shows nothing itself."""

    script_name = "cell_detail"


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
                f'<canvas tabindex="0" role="application" aria-label="{label} of input and output channels"></canvas>'
                f'<div class="player view-bar" hidden>{player}<span class="player-text" aria-live="polite"></span>'
                '</div><div class="graph-info view-info" aria-live="polite" '
                f'data-hint="{GRAPH_HINT}">{GRAPH_HINT}</div></div>'
            ),
            head=widgets().tag,
            js_on_load=on_load("graph_canvas", "choose"),
            apply_default_css=False,
            **kwargs,
        )
