"""Blocks whose events end with an answer or with one sentence, whatever a page or a program sends."""

import copy
import logging
from collections.abc import Sequence
from typing import Any

import gradio as gr
from gradio.blocks import convert_component_dict_to_list
from gradio.utils import is_prop_update as is_update

from eggs_core.errors import EggsError
from eggs_core.limits import sentence

WRONG_KIND = "This request holds a value of another kind than the page sends; reload the page and try again."
SKIP = gr.skip()
PLAIN = (str, int, float, list, dict, type(None))  # kinds of values that a component sends as they are, or nearly
log = logging.getLogger(__name__)


class SentenceBlocks(gr.Blocks):
    """A page of which no event tells more of an error than a person needs; the log tells what was not expected.

    A click is answered in one other thread, that of its listener. Gradio itself goes to another thread for each input
    and each output; on a busy server each way there and back waits for the Python code of all others.
    """

    _followed: frozenset[int] | None = None

    async def preprocess_data(
        self, block_fn: Any, inputs: list[Any], state: Any = None, explicit_call: bool = False
    ) -> list[Any]:
        """As gradio does it, plain values at once; raises gr.Error for values that a component cannot read."""
        try:
            for block, value in zip(block_fn.inputs, inputs, strict=True):
                _check_choice(block, value)
            if state is None or block_fn.component_prop_inputs or not _all_plain(block_fn.inputs, inputs):
                return await super().preprocess_data(block_fn, inputs, state, explicit_call)
            values = await super().preprocess_data(_without("preprocess", block_fn), inputs, state, explicit_call)
            if not block_fn.preprocess:
                return values
            pairs = zip(block_fn.inputs, values, strict=True)
            return [value if block.stateful else state[block._id].preprocess(value) for block, value in pairs]
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
        """As gradio does it, plain values at once, but for outputs that are skipped: it would build those anew."""
        values = _in_order(block_fn.outputs, predictions)
        if len(values) != len(block_fn.outputs):  # what is wrong with them, gradio says
            return await super().postprocess_data(block_fn, predictions, state)
        found: list[Any] = [dict(SKIP) for _ in values]
        changed = [number for number, value in enumerate(values) if not (isinstance(value, dict) and value == SKIP)]
        if changed:
            fewer = copy.copy(block_fn)
            fewer.outputs = [block_fn.outputs[number] for number in changed]
            given = [values[number] for number in changed]
            if block_fn.postprocess and state is not None and _all_plain(fewer.outputs, given):
                fewer.postprocess = False
                blocks = [block if block.stateful else state.get(block._id, block) for block in fewer.outputs]
                pairs = zip(blocks, given, strict=True)
                given = [value if block.stateful else block.postprocess(value) for block, value in pairs]
            made = await super().postprocess_data(fewer, given if len(given) > 1 else given[0], state)
            for number, value in zip(changed, made, strict=True):
                found[number] = value
        return found

    def get_state_ids_to_track(self, block_fn: Any, state: Any) -> tuple[list[int], list]:
        """As gradio does it, which looks through all events of the page for each State that an event fills."""
        if self._followed is None:
            targets = (target for fn in self.fns.values() for target in fn.targets)
            self._followed = frozenset(block for block, event in targets if event == "change" and block is not None)
        if any(output.stateful and output._id in self._followed for output in block_fn.outputs):
            return super().get_state_ids_to_track(block_fn, state)
        return [], []


def _all_plain(blocks: Sequence[Any], values: Sequence[Any]) -> bool:
    """Does it take no time worth another thread to read or write these? Files, tables and figures take some."""

    def plain(block: Any, value: Any) -> bool:
        return getattr(block, "data_model", None) is None and isinstance(value, PLAIN) and not is_update(value)

    return all(block.stateful or plain(block, value) for block, value in zip(blocks, values, strict=True))


def _without(stage: str, block_fn: Any) -> Any:
    """The same event, one stage of which is done elsewhere."""
    found = copy.copy(block_fn)
    setattr(found, stage, False)
    return found


def _in_order(outputs: Sequence[Any], predictions: Any) -> Sequence[Any]:
    """A listener's values in the order of its outputs, as far as they are given by one of gradio's ways."""
    if isinstance(predictions, dict) and predictions and predictions != SKIP:
        predictions = convert_component_dict_to_list(list(outputs), predictions)
    if len(outputs) == 1:
        return [predictions]
    return predictions if isinstance(predictions, list | tuple) else ()


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
