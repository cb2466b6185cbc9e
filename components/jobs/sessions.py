"""The sessions of a server: which are open, and what is kept of each; strangers make it forget no page that is open."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gradio.blocks import Blocks
from gradio.components import State
from gradio.state_holder import SessionState, StateHolder

from eggs_core.limits import limits

MOST_PRESENT = 256  # sessions that are open or listen, and that are remembered


class Sessions:
    """The sessions that listen for values, and those whose pages are open, by the address that they come from."""

    def __init__(self) -> None:
        self._listening: Counter[str] = Counter()
        self._open: Counter[str] = Counter()
        self._addresses: dict[str, str] = {}  # of those that are open or listen

    @contextmanager
    def present(self, session: str, address: str, listens: bool) -> Iterator[None]:
        """While a stream of a session is open; `listens` if values come over it."""
        counts = [self._open, self._listening] if listens else [self._open]
        for count in counts:
            count[session] += 1
        self._addresses[session] = address
        try:
            yield
        finally:
            for count in counts:
                count[session] -= 1
                if not count[session]:
                    del count[session]
            if session not in self._open:
                self._addresses.pop(session, None)

    def listens(self, session: str) -> bool:
        """Do its events' values reach anybody?"""
        return session in self._listening

    def is_open(self, session: str) -> bool:
        """Is its page open, or a program's stream?"""
        return session in self._open

    def full(self, session: str, address: str) -> bool:
        """Are so many other sessions of this address open that one more would be too many?"""
        most = limits().sessions
        if most is None or self.is_open(session):
            return False
        return sum(one == address for one in self._addresses.values()) >= most


class Session(SessionState):
    """A session's State and the components that it has changed.

    Gradio keeps a description of all components beside them, with every value that was sent, for links that hold a
    page's state. This page has none: the description would take 50 ms to make, in the thread that answers all events,
    and megabytes to keep.
    """

    def __init__(self, blocks: Blocks) -> None:
        self.blocks_config = copy.copy(blocks.default_config)
        self.config_values = {}
        self.state_data = {}
        self._state_ttl: dict[int, Any] = {}
        self.is_closed = False
        self.STATE_TTL_WHEN_CLOSED = 3600  # seconds

    def __setitem__(self, key: int, value: Any) -> None:
        if isinstance(self.blocks_config.blocks.get(key), State):
            super().__setitem__(key, value)
        else:
            self.blocks_config.blocks[key] = value

    def _update_config(self, key: int) -> None:
        pass

    def _update_value_in_config(self, key: int, value: Any) -> None:
        pass


class Memory(StateHolder):
    """What gradio remembers of each session; what is too much goes, that of sessions that are not open first."""

    sessions: Sessions

    def __getitem__(self, session_id: str) -> SessionState:
        if session_id not in self.session_data:
            self.session_data[session_id] = Session(self.blocks)
        return super().__getitem__(session_id)

    def update(self, session_id: str) -> None:
        """Note that a session was used just now, and forget others where there are too many."""
        with self.lock:
            if session_id in self.session_data:
                self.session_data.move_to_end(session_id)
            excess = len(self.session_data) - self.capacity
            if excess <= 0:
                return
            others = [one for one in self.session_data if one != session_id]  # used longest ago first
            closed = [one for one in others if not self.sessions.is_open(one)]
            for one in closed[:excess] or others[: max(0, len(others) + 1 - MOST_PRESENT)]:
                del self.session_data[one]
                self.time_last_used.pop(one, None)
