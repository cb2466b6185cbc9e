"""Which events of which sessions are begun: those of pages and programs that listen, and no more than a fair share.

gradio begins an event as soon as it was asked for, also if nobody ever reads its values; a few hundred such requests
would hold all threads that watch heavy work. Here an event waits until its session listens, and goes if none does.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import Any, cast
from urllib.parse import parse_qs

from gradio.blocks import Blocks
from gradio.queueing import Event, Queue
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from components.jobs.sessions import Memory, Sessions
from eggs_core.limits import limits

HEARD_SECONDS = 10.0  # within which a session must listen for its event
MOST_UNHEARD = 64  # events of sessions that do not listen, and whose page is not open
MOST_QUEUED = 16  # events of one session that wait
LOOK_SECONDS = 0.01  # from one look for an event to begin to the next
MOST_RECORDS = 100  # of events that are over
IMPATIENT = f"{MOST_QUEUED} requests of this page wait already; wait until one is answered."
UPLOADS = "Too many files came from your address within the hour; try again later."
HOUR = 3600.0
CROWDED = "Too many pages are open from your address; close one, or try again in a few minutes."


class FairQueue(Queue):
    """gradio's queue of events, of which those that nobody listens for are not begun, and leave after a while."""

    sessions: Sessions

    async def push(self, body: Any, request: Any, username: str | None) -> tuple[bool, Any, Any]:
        """As gradio does it; refuses events beyond a session's share, and drops the oldest that nobody listens for."""
        session, address = body.session_hash or "", request.client.host if request.client else ""
        if sum(event.session_hash == session for event in self._waiting()) >= MOST_QUEUED:
            return False, IMPATIENT, "queue_full"
        if self.sessions.full(session, address):
            return False, CROWDED, "queue_full"
        found = await super().push(body, request, username)
        self._drop_unheard()
        return found

    def compute_analytics_summary(self, records: list[Any]) -> Any:
        """Nothing: gradio would make a table of its last 10,000 events at the end of each, for figures nobody sees."""
        return self.cached_event_analytics_summary

    def forget(self, session: str) -> None:
        """Let go of what is kept for a session's stream, which has ended, unless an event of it is under way."""
        events = [self.event_ids_to_events.get(one) for one in self.pending_event_ids_session.get(session, ())]
        if not any(event and event.alive for event in events):
            self.pending_event_ids_session.pop(session, None)
            self.pending_messages_per_session.pop(session, None)

    def start(self) -> None:
        """As gradio does it, once the server is there; from now on it forgets sessions as `Memory` does."""
        memory = self.blocks.state_holder
        memory.__class__ = Memory  # what it remembers stays
        cast(Memory, memory).sessions = self.sessions
        super().start()

    def get_events(self) -> tuple[list[Event], bool, str] | None:
        """The next event of a session that listens, as gradio asks for it."""
        self._drop_unheard()
        queues = [item for item in self.event_queue_per_concurrency_id.items() if item[1].queue]
        random.shuffle(queues)
        for name, queue in queues:
            if queue.concurrency_limit is not None and queue.current_concurrency >= queue.concurrency_limit:
                continue
            heard = (event for event in queue.queue if self.sessions.listens(event.session_hash))
            if (event := next(heard, None)) is not None:
                queue.queue.remove(event)
                return [event], False, name
        return None

    def _waiting(self) -> Iterator[Event]:
        return (event for queue in self.event_queue_per_concurrency_id.values() for event in queue.queue)

    def _drop_unheard(self) -> None:
        """Drop events that nobody listened for in time, and of strangers' all but the newest MOST_UNHEARD."""
        unheard = [event for event in self._waiting() if not self.sessions.listens(event.session_hash)]
        if not unheard:
            return
        now = time.monotonic()
        strangers = [event for event in unheard if not self.sessions.is_open(event.session_hash)]
        strangers.sort(key=lambda event: event.enqueue_time)
        late = [event for event in unheard if now - event.enqueue_time > HEARD_SECONDS]
        for event in {*late, *strangers[: max(0, len(strangers) - MOST_UNHEARD)]}:
            self._drop(event)

    def _drop(self, event: Event) -> None:
        session = event.session_hash
        self.event_queue_per_concurrency_id[event.concurrency_id].queue.remove(event)
        self.event_ids_to_events.pop(event._id, None)
        pending = self.pending_event_ids_session.get(session, set())
        pending.discard(event._id)
        if not pending:
            self.pending_event_ids_session.pop(session, None)
            self.pending_messages_per_session.pop(session, None)


class Hourly:
    """How many uploads came from each address within the last hour."""

    def __init__(self) -> None:
        self._times: dict[str, list[float]] = {}

    def more(self, address: str) -> bool:
        """May one more come? If so it counts."""
        most, now = limits().uploads, time.monotonic()
        self._times = {
            who: recent for who, times in self._times.items() if (recent := [t for t in times if now - t < HOUR])
        }
        mine = self._times.setdefault(address, [])
        if most is not None and len(mine) >= most:
            return False
        mine.append(now)
        return True


def admit_fairly(app: Blocks) -> None:
    """Give a page whose queue is set up a FairQueue in its place; Presence must be among the server's middleware."""
    app._queue.__class__ = FairQueue  # all else that gradio puts into it stays
    queue = cast(FairQueue, app._queue)
    queue.sessions = Sessions()
    # gradio looks a thousand times a second, which holds up clicks.
    queue.sleep_when_free = queue.progress_update_sleep_when_free = LOOK_SECONDS
    queue.ANALYTICS_MAX_EVENTS = MOST_RECORDS


class Presence:
    """Middleware that tells the queue which sessions listen, and which have a page open."""

    def __init__(self, app: ASGIApp) -> None:
        self._app, self._uploads = app, Hourly()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI asks."""
        address = (scope.get("client") or ("",))[0]
        uploads = (
            scope["type"] == "http" and scope["method"] == "POST" and scope["path"].rstrip("/").endswith("/upload")
        )
        if uploads and not self._uploads.more(address):
            await JSONResponse({"detail": UPLOADS}, 429)(scope, receive, send)
            return
        queue = scope["app"].get_blocks()._queue if scope["type"] == "http" and scope["method"] == "GET" else None
        # An empty queue counts as false.
        session, listens = self._stream(scope, queue) if queue is not None else ("", False)
        if queue is None or not session:
            await self._app(scope, receive, send)
            return
        if queue.sessions.full(session, address):
            await JSONResponse({"detail": CROWDED}, 429)(scope, receive, send)
            return
        try:
            with queue.sessions.present(session, address, listens):
                await self._app(scope, receive, send)
        finally:
            if listens and not queue.sessions.listens(session):
                queue.forget(session)

    @staticmethod
    def _stream(scope: Scope, queue: FairQueue) -> tuple[str, bool]:
        """The session whose stream a request opens, and whether values come over it."""
        *before, last = scope["path"].rstrip("/").split("/")
        if before[-1:] == ["queue"] and last == "data":
            return parse_qs(scope["query_string"].decode("latin1")).get("session_hash", [""])[0], True
        if before[-1:] == ["heartbeat"]:
            return last, False
        if "call" in before[-3:]:  # a program's stream is named by its event
            event = queue.event_ids_to_events.get(last)
            return (event.session_hash, True) if event else ("", False)
        return "", False
