"""Which requests make a session one that is open."""

import asyncio
from types import SimpleNamespace

import pytest

from components.jobs.admission import FairQueue, Presence


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
