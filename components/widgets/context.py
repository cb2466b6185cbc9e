"""What is being filled: the page and the tab at hand."""

import gradio as gr
from gradio.context import Context


def open_blocks() -> gr.Blocks:
    """The page that is being filled; raises RuntimeError outside of one."""
    if Context.root_block is None:
        raise RuntimeError("No gr.Blocks is open; call this inside `with gr.Blocks():`.")
    return Context.root_block


def open_tab() -> gr.Tab:
    """The tab that is being filled; raises RuntimeError outside of one."""
    if not isinstance(Context.block, gr.Tab):
        raise RuntimeError("No gr.Tab is open; call this inside `with gr.Tab(...):`.")
    return Context.block
