"""A heading inside a panel."""

import gradio as gr

from components.words.html import heading


def panel_heading(title: str, note: str = "") -> gr.HTML:
    """A line above a part of a panel, with a quieter note beside it; both are HTML of our own."""
    return gr.HTML(heading(title, note), padding=False)
