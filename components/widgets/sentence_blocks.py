"""Blocks whose events end with an answer or with one sentence, whatever a page or a program sends."""

import copy
import logging
from typing import Any

import gradio as gr

from eggs_core.errors import EggsError
from eggs_core.limits import sentence

WRONG_KIND = "This request holds a value of another kind than the page sends; reload the page and try again."
SKIP = gr.skip()
log = logging.getLogger(__name__)


class SentenceBlocks(gr.Blocks):
    """A page of which no event tells more of an error than a person needs; the log tells what was not expected."""

    async def preprocess_data(self, block_fn: Any, inputs: list[Any], *args: Any, **kwargs: Any) -> list[Any]:
        """As gradio does it; raises gr.Error for values that a component cannot read."""
        try:
            for block, value in zip(block_fn.inputs, inputs, strict=True):
                _check_choice(block, value)
            return await super().preprocess_data(block_fn, inputs, *args, **kwargs)
        except Exception as error:
            text = error.message if isinstance(error, gr.Error) and error.message.startswith("Value ") else WRONG_KIND
            raise gr.Error(text[:200], print_exception=False) from None

    async def call_function(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """As gradio does it; raises gr.Error for whatever a listener raises."""
        try:
            return await super().call_function(*args, **kwargs)
        except gr.Error as error:
            error.print_exception = False
            raise
        except Exception as error:
            if not isinstance(error, EggsError):
                log.exception("an event failed")
            raise gr.Error(sentence(error), print_exception=False) from None

    async def postprocess_data(self, block_fn: Any, predictions: Any, state: Any) -> list[Any]:
        """As gradio does it, but for outputs that are skipped: it would build each of those components anew."""
        values = predictions if isinstance(predictions, list | tuple) and len(block_fn.outputs) > 1 else ()
        changed = [number for number, value in enumerate(values) if not (isinstance(value, dict) and value == SKIP)]
        if len(values) != len(block_fn.outputs) or len(changed) == len(values):
            return await super().postprocess_data(block_fn, predictions, state)
        found: list[Any] = [dict(SKIP) for _ in values]
        if changed:
            fewer = copy.copy(block_fn)
            fewer.outputs = [block_fn.outputs[number] for number in changed]
            given = [values[number] for number in changed]
            made = await super().postprocess_data(fewer, given if len(given) > 1 else given[0], state)
            for number, value in zip(changed, made, strict=True):
                found[number] = value
        return found


def _check_choice(block: Any, value: Any) -> None:
    """Raise EggsError for what the page cannot send: several values for a list to choose one from, one for a list to
    choose several from, and none for a list that always holds one."""
    if not isinstance(block, gr.Dropdown | gr.Radio):
        return
    free = isinstance(block, gr.Dropdown) and block.allow_custom_value
    if value is None:
        wrong = block.value is not None and not free
    else:
        wrong = isinstance(value, dict) or isinstance(value, list) != bool(getattr(block, "multiselect", False))
    if wrong:
        raise EggsError(WRONG_KIND)
