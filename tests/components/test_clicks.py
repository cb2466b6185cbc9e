"""A click goes to one other thread, that of its listener; what cannot be read is refused in a sentence."""

import threading
from collections.abc import Iterator

import anyio.to_thread
import gradio as gr
import httpx
import pytest

from components.clicks import UNREADABLE, route
from components.jobs.events import CHEAP
from components.widgets.sentence_blocks import SentenceBlocks


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The address of a small page, whose first event fills two boxes and a state."""
    with SentenceBlocks(analytics_enabled=False) as app:
        boxes, state = [gr.Textbox(), gr.Slider(), gr.Dropdown(["a", "b"])], gr.State("before")
        gr.Button().click(
            lambda text, number, chosen, kept: (f"{text} {number} {chosen}", kept, "after"),
            [*boxes, state],
            [boxes[0], gr.HTML(), state],
            **CHEAP,
        )
    app.launch(prevent_thread_lock=True, quiet=True, ssr_mode=False, app_kwargs={"routes": [route()]})
    yield f"{app.local_url}gradio_api/run/predict"
    app.close()


def test_a_click_goes_to_one_other_thread(url, monkeypatch):
    asked = {"fn_index": 0, "data": ["text", 2, "a", None], "session_hash": "mine"}
    assert httpx.post(url, json=asked).json()["data"] == ["text 2 a", "before", None]
    went, go = [], anyio.to_thread.run_sync

    async def counted(function, *args, **kwargs):
        went.append((function, threading.current_thread()))
        return await go(function, *args, **kwargs)

    monkeypatch.setattr(anyio.to_thread, "run_sync", counted)
    assert httpx.post(url, json=asked).json()["data"] == ["text 2 a", "after", None]
    assert len(went) == 1, went


@pytest.mark.parametrize("body", [b"", b"[", b"[]", b'"text"', b"{}", b'{"data": 3}', b"[" * 100_000, b"\xff"])
def test_what_cannot_be_read_is_refused_in_a_sentence(url, body):
    answer = httpx.post(url, content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()) == (422, {"detail": UNREADABLE})


@pytest.mark.parametrize("data", [[], ["text"], ["text", "two", "a", None], ["text", 2, "c", None], [None] * 9])
def test_values_of_another_kind_are_refused_as_by_gradio(url, data):
    answer = httpx.post(url, json={"fn_index": 0, "data": data, "session_hash": "mine"})
    assert answer.status_code == 500 and answer.json()["error"]
