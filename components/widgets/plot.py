"""A plotly figure inside gr.HTML, drawn by the plotly.js that the plotly package ships."""

from pathlib import Path
from typing import Any

import gradio as gr
import plotly
import plotly.graph_objects as go

from components.widgets.assets import script

PLOTLY_JS = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"


class Plot(gr.HTML):
    """A figure with click events (`.point`), theme-following colours and a zoom that survives updates."""

    def __init__(self, value: go.Figure | None = None, *, height: int = 380, **kwargs: Any) -> None:
        super().__init__(
            value=value,
            html_template=f'<div class="plot-box"><div class="plot" role="img" style="height:{height}px"></div></div>',
            js_on_load=script("downloads", "plot"),
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
