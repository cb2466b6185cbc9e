"""A plotly figure inside gr.HTML, drawn by plotly.js."""

from typing import Any

import gradio as gr
import plotly.graph_objects as go

from components.widgets.assets import on_load, plotly, widgets


class Plot(gr.HTML):
    """A figure with click events (`.point`), theme-following colours and a zoom that survives updates.

    What it is called where it cannot be seen: its title, and what the element with the id `said_by` says of it.
    """

    def __init__(
        self,
        value: go.Figure | None = None,
        *,
        elem_id: str,
        title: str,
        said_by: str,
        height: int = 380,
        **kwargs: Any,
    ) -> None:
        named = f'id="{elem_id}-figure" role="figure" aria-label="{title}" aria-labelledby="{elem_id}-figure {said_by}"'
        super().__init__(
            value=value,
            elem_id=elem_id,
            html_template=(
                '<div class="plot-box"><div class="plot-legend" role="group" aria-label="Legend"></div>'
                f'<div class="plot" {named} style="height:{height}px"></div></div>'
            ),
            head=plotly().tag + widgets().tag,
            js_on_load=on_load("plot", "point"),
            apply_default_css=False,
            **kwargs,
        )

    def postprocess(self, value: go.Figure | str | None) -> str | None:
        """The figure as JSON."""
        return value.to_json() if isinstance(value, go.Figure) else value

    def preprocess(self, payload: str | None) -> None:
        """Figures never travel back."""
        return

    def api_info(self) -> dict[str, Any]:
        """Plotly's JSON, as a string."""
        return {"type": "string"}
