"""Which requests make a session one that is open."""

import asyncio
from types import SimpleNamespace

import pytest

from components.jobs.admission import MOST_RECORDS, FairQueue, Presence


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


@pytest.mark.parametrize(("alive", "kept"), [(False, False), (True, True)])
def test_nothing_is_kept_for_a_stream_that_has_ended_unless_an_event_is_under_way(page, alive, kept):
    """As of visitors who left while something ran: gradio keeps their events' names, and messages nobody will read."""
    queue = page._queue

    async def stream(scope, receive, send):
        queue.pending_messages_per_session["mine"] = asyncio.Queue()
        queue.pending_event_ids_session["mine"] = {"one", "over"}
        queue.event_ids_to_events["one"] = SimpleNamespace(alive=alive)
        raise OSError("the connection is gone")

    scope = {"type": "http", "method": "GET", "path": "/gradio_api/queue/data", "query_string": b"session_hash=mine"}
    scope["app"] = SimpleNamespace(get_blocks=lambda: page)
    with pytest.raises(OSError, match="gone"):
        asyncio.run(Presence(stream)(scope, None, None))
    assert ("mine" in queue.pending_messages_per_session) is ("mine" in queue.pending_event_ids_session) is kept


def test_no_table_is_made_of_all_events_at_the_end_of_each(page):
    queue = page._queue
    queue.events_recorded = 2
    assert queue.compute_analytics_summary([{"function": None}]) == {"functions": {}}
    assert queue.ANALYTICS_MAX_EVENTS == MOST_RECORDS
    assert queue.sleep_when_free >= 0.005, "it looks for events so often that clicks wait"
