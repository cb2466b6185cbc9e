"""Home: a sentence that breaks or survives when a model is pruned; answered by the browser, without the server."""

import gradio as gr

from components.places.home.sentence.view import home
from components.places.home.sentence.words import frame
from components.widgets.assets import home_texts, on_load, widgets


def create_home() -> None:
    """Fill an open gr.Tab."""
    gr.HTML(
        elem_id="home",
        html_template=frame(home()),
        head=widgets().tag + home_texts().tag,
        js_on_load=on_load("home"),
        apply_default_css=False,
        padding=False,
    )
