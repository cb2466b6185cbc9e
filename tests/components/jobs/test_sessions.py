"""Which sessions count as open, and what the server keeps of them when there are too many."""

import gradio as gr
from gradio.state_holder import SessionState, StateHolder

from app import build_app
from components.jobs import sessions
from components.jobs.sessions import Memory, Session, Sessions


def memory_of(page: gr.Blocks, capacity: int) -> Memory:
    """What a page remembers, as its queue makes it when the server starts."""
    page.state_session_capacity = capacity
    StateHolder().set_blocks(page)
    page.state_holder.__class__ = Memory
    page.state_holder.sessions = page._queue.sessions
    return page.state_holder


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
    monkeypatch.setattr(sessions, "MOST_PRESENT", 6)
    memory = memory_of(page, 4)
    memory.sessions = Sessions()
    memory.sessions.is_open = lambda session: True
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


def test_what_a_session_changes_is_its_own_and_nothing_is_described():
    app = build_app()
    app.state_session_capacity = 2
    one, other = Session(app), Session(app)
    key = next(k for k, block in app.blocks.items() if block.elem_id == "overview-reading")
    changed = type(app.blocks[key])(elem_id="another", render=False)
    one[key] = changed
    one._update_config(key)
    one._update_value_in_config(key, "mine")
    assert one[key] is changed and other[key] is app.blocks[key] is Session(app)[key]
    assert not one.config_values
    made = vars(SessionState(app)).keys()
    assert vars(one).keys() == made, "gradio keeps something else of a session now"
