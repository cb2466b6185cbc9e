"""Requests that no page sends: every event of the page and of the API gets junk, and answers or says one sentence."""

import asyncio
import json
import logging

import gradio as gr
import hypothesis.strategies as st
import pytest
from gradio.helpers import EventData
from gradio.state_holder import SessionState
from harness import fuzz, junk
from hypothesis import given

from app import build_app
from components import api
from components.jobs import events
from components.jobs.queue import JobQueue
from components.sidebar_values import controls_of, read
from components.state.asked import number, whole_number, words
from components.state.known_runs import bundled_runs, first_run
from components.state.workspace import Workspace
from eggs_core.config import make_config
from eggs_core.errors import EggsError

ODD = [float("nan"), float("inf"), -float("inf"), 10**400, "\ud800", {"path": "/etc/passwd"}, [[[[]]]], {"value": None}]
sent = st.one_of(junk, st.sampled_from(ODD))
TOLD = (
    "turn",
    "row",
    "column",
    "cell",
    "rows",
    "columns",
    "layer",
    "side",
    "members",
    "mask",
    "value",
    "index",
    "row_value",
    "model",
    "patterns",
    "choices",
)
told = st.one_of(junk, st.fixed_dictionaries({}, optional=dict.fromkeys(TOLD, sent)))
ASKED = (
    "run",
    "model",
    "pattern",
    "method",
    "tab",
    "layer",
    "layers",
    "row",
    "beta",
    "seed",
    "diagonals",
    "step",
    "calibration",
)
asked_for = st.text(max_size=30) | st.sampled_from(["1" * 5000, "nan"])
query = st.fixed_dictionaries({}, optional=dict.fromkeys(ASKED, asked_for))
SIDEBAR = controls_of(make_config("tiny-llama", "2:4", "ria"))


class Idle(JobQueue):
    """A queue that begins nothing: what is asked for was fit to be begun."""

    def follow(self, _work, who=None, owner=None):
        """Refuse at once."""
        raise EggsError("This queue begins nothing.")
        yield


@pytest.fixture(scope="module")
def page():
    """The whole page, not served, which begins no work."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (api, events):
            patch.setattr(module, "QUEUE", Idle())
        patch.setattr(events, "SETTLE_SECONDS", 0)
        yield build_app()


@pytest.fixture(scope="module")
def listeners(page) -> list:
    """All that a request can call."""
    found = [listener for listener in page.fns.values() if listener.fn]
    assert len(found) > 100
    return found


def send(page, listener, values: list, event: object, asked: dict[str, str]) -> object:
    """Have an event answered in a session that looks at the first run; gives the answer or the sentence."""
    state, workspace = SessionState(page), Workspace()
    workspace.show(first_run())
    for block in page.blocks.values():
        if isinstance(block, gr.Button):
            workspace.begin(block.elem_id)
    for block in listener.inputs:
        if isinstance(block, gr.State) and isinstance(block.value, Workspace):
            state[block._id] = workspace
    request = gr.Request(query_params=asked)
    try:
        return asyncio.run(
            page.process_api(listener, values, state, request=request, event_data=EventData(None, event))
        )["data"]
    except gr.Error as error:
        assert not error.print_exception
        return error.message


@fuzz
@given(st.data())
def test_every_event_answers_or_says_one_sentence(page, listeners, caplog, data):
    listener = data.draw(st.sampled_from(listeners), label="listener")
    values = [data.draw(sent) for _ in listener.inputs]
    caplog.clear()
    with caplog.at_level(logging.ERROR):
        said = send(page, listener, values, data.draw(told), data.draw(query))
    assert not caplog.records, (listener.fn, caplog.records[0].getMessage(), caplog.records[0].exc_info)
    if isinstance(said, str):
        assert said.strip() and "Traceback" not in said and len(said) < 2500
        json.dumps(said, ensure_ascii=False).encode()
    else:
        assert "Something unexpected" not in str(said) and "Traceback" not in str(said)


@pytest.mark.parametrize("value", [None, {}, [], ["wanda"], 5])
def test_a_choice_without_a_value_is_one_sentence(page, listeners, caplog, value):
    """For each list to choose from, in every event that reads it."""
    choices = 0
    for listener in listeners:
        for place, block in enumerate(listener.inputs):
            if isinstance(block, gr.Dropdown | gr.Radio):
                values = [getattr(other, "value", None) for other in listener.inputs]
                values[place] = value
                with caplog.at_level(logging.ERROR):
                    send(page, listener, values, None, {})
                assert not caplog.records, (listener.fn, block.elem_id, caplog.records[0].exc_info)
                choices += 1
    assert choices > 50


@fuzz
@given(place=st.integers(0, len(SIDEBAR) - 1), value=sent)
def test_a_sidebar_with_one_odd_value_is_a_configuration_or_one_sentence(place, value):
    try:
        config, _ = read(*SIDEBAR[:place], value, *SIDEBAR[place + 1 :])
        assert config.key()
    except EggsError as error:
        assert str(error).strip() and len(str(error)) < 2500


@pytest.mark.parametrize("function", [api.report, api.analyze_layer, api.evaluate, api.prune], ids=lambda f: f.__name__)
@fuzz
@given(data=st.data())
def test_the_api_answers_or_says_one_sentence(function, data):
    key = bundled_runs()[0].key
    checked = api._endpoint(function)
    count = function.__code__.co_argcount
    values = [data.draw(st.one_of(sent, st.sampled_from([key, "2:4", "tiny-llama"]))) for _ in range(count)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(api, "QUEUE", Idle())
        patch.setattr(api, "known_run", lambda _config: None)
        try:
            answer = checked(*values)
            assert answer if isinstance(answer, dict) else list(answer)
        except gr.Error as error:
            assert error.message.strip() and "Something unexpected" not in error.message and not error.print_exception


def test_numbers_and_words_are_what_they_are():
    assert whole_number(3.0, "N") == 3 and whole_number(None, "N") == 0 and number(0.5, "β") == 0.5
    assert words(None, "x") == "" and words("ä\n", "x") == "ä\n"
    for bad in (0.5, float("nan"), float("inf"), 10**400, True, "3", [], {}):
        with pytest.raises(EggsError, match=r"^N must be a (whole )?number; got .{1,80}\.$"):
            whole_number(bad, "N")
    with pytest.raises(EggsError, match=r"^T holds half a character at place 2; type it again\.$"):
        words("a\ud800", "T")
    with pytest.raises(EggsError, match=r"^T must be a text; got a list\.$"):
        words(["a"], "T")
