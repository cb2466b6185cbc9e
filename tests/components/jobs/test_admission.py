"""Which sessions the server counts as open, and whose state it keeps when there are too many."""

import asyncio
from types import SimpleNamespace

import gradio as gr
import pytest
from gradio.state_holder import StateHolder

from components.jobs import admission
from components.jobs.admission import FairQueue, Memory, Presence, Sessions, admit_fairly


@pytest.fixture
def page() -> gr.Blocks:
    with gr.Blocks() as found:
        gr.State(list)
    found.queue()
    admit_fairly(found)
    return found


def memory_of(page: gr.Blocks, capacity: int) -> Memory:
    """What a page remembers, as its queue makes it when the server starts."""
    page.state_session_capacity = capacity
    StateHolder().set_blocks(page)
    page.state_holder.__class__ = Memory
    page.state_holder.sessions = page._queue.sessions
    return page.state_holder


@pytest.mark.parametrize("path", ["/gradio_api/heartbeat/mine", "/gradio_api/queue/data"])
def test_a_page_counts_as_open_while_its_stream_is_also_when_nothing_waits(page, path):
    seen, queue = [], page._queue
    assert isinstance(queue, FairQueue) and not len(queue)

    async def stream(scope, receive, send):
        seen.append((queue.sessions.is_open("mine"), queue.sessions.listens("mine")))

    app = SimpleNamespace(get_blocks=lambda: page)
    scope = {"type": "http", "method": "GET", "path": path, "query_string": b"session_hash=mine", "app": app}
    asyncio.run(Presence(stream)(scope, None, None))
    assert seen == [(True, path.endswith("data"))]
    assert not queue.sessions.is_open("mine")


def test_strangers_however_many_do_not_make_the_server_forget_an_open_page(page):
    memory, state = memory_of(page, 4), next(iter(page.blocks))
    with page._queue.sessions.present("mine", "127.0.0.1", False):
        memory["mine"][state].append("what I look at")
        for number in range(100):
            memory[f"stranger {number}"]
        assert memory["mine"][state] == ["what I look at"]
        assert list(memory.session_data) == ["stranger 97", "stranger 98", "stranger 99", "mine"]
    for number in range(4):
        memory[f"another {number}"]
    assert "mine" not in memory and len(memory.session_data) == len(memory.time_last_used) == 4


def test_open_pages_have_an_end_too(page, monkeypatch):
    monkeypatch.setattr(admission, "MOST_PRESENT", 6)
    memory = memory_of(page, 4)
    memory.sessions = sessions = Sessions()
    sessions.is_open = lambda session: True
    for number in range(10):
        memory[str(number)]
    assert list(memory.session_data) == ["4", "5", "6", "7", "8", "9"]


def test_the_server_remembers_in_this_way_once_it_has_started(page):
    page.launch(prevent_thread_lock=True, quiet=True)
    try:
        assert isinstance(page.state_holder, Memory)
        assert page.state_holder.sessions is page._queue.sessions
    finally:
        page.close()
