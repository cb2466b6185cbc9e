"""The description of the page's components that gradio makes for every visitor, made once."""

import gradio as gr
from gradio.blocks import Block, BlocksConfig
from gradio.renderable import Renderable


def describe_once(app: gr.Blocks) -> None:
    """Let visitors start with copies of one description of `app`.

    Each session keeps a description of all components beside their values. Gradio makes it at a session's first event,
    in the thread that answers all events: some 50 ms in which everybody else waits.
    """
    made: dict[int, dict] = {}
    make = BlocksConfig.config_for_block

    def config_for_block(_id: int, rendered_ids: list[int], block: Block, renderable: Renderable | None = None) -> dict:
        # A session asks with no rendered components; components that it has changed are its own.
        if rendered_ids or renderable is not None or app.blocks.get(_id) is not block:
            return make(_id, rendered_ids, block, renderable)
        if _id not in made:
            made[_id] = make(_id, rendered_ids, block)
        return {**made[_id], "props": dict(made[_id]["props"])}

    setattr(BlocksConfig, make.__name__, staticmethod(config_for_block))
