"""Turns: answers are written one after the other, on a thread of their own, while others wait."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

MOST_WAITING = 16


class Turn:
    """One answer's pieces on their way from the thread that writes them to the event loop that sends them.

    Whoever sends them slowly delays nobody: the pieces wait here. The first is "", which says that the turn has come.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._pieces: asyncio.Queue[str | BaseException | None] = asyncio.Queue()
        self._stopped = threading.Event()

    @property
    def stopped(self) -> bool:
        """Does nobody want the answer any more?"""
        return self._stopped.is_set()

    def stop(self) -> None:
        """Write nothing more after the token at hand; before its turn, write nothing at all."""
        self._stopped.set()

    async def begun(self, seconds: float) -> None:
        """Wait until the turn has come; raises TimeoutError when that takes longer."""
        await asyncio.wait_for(self._pieces.get(), seconds)

    async def pieces(self) -> AsyncIterator[str]:
        """The pieces as they come, "" where a token gave none; what writing raised is raised here."""
        while (piece := await self._pieces.get()) is not None:
            if isinstance(piece, BaseException):
                raise piece
            yield piece

    def write(self, answer: Iterable[str]) -> None:
        """Iterate over an answer to its end, or until it is stopped; in the thread."""
        end: BaseException | None = None
        self._tell("")
        try:
            for piece in () if self.stopped else answer:
                self._tell(piece)
                if self.stopped:
                    break
        except Exception as error:  # whoever waits for the pieces hears of it
            end = error
        self._tell(end)

    def _tell(self, piece: str | BaseException | None) -> None:
        try:
            self._loop.call_soon_threadsafe(self._pieces.put_nowait, piece)
        except RuntimeError:  # the server has ended
            self.stop()


class Turns:
    """The one thread that writes, and those who wait for it, at most MOST_WAITING; for one event loop."""

    def __init__(self, prepare: Callable[[], object] = lambda: None) -> None:
        """`prepare` is called once in the thread, before anything is written."""
        self._thread = ThreadPoolExecutor(1, "writing", prepare)
        self._open: set[Turn] = set()

    @property
    def full(self) -> bool:
        """Is nobody else taken?"""
        return sum(not turn.stopped for turn in self._open) > MOST_WAITING

    def begin(self, answer: Iterable[str]) -> Turn:
        """Let an answer be written when those before it are."""
        turn = Turn()
        self._open.add(turn)
        done = asyncio.get_running_loop().run_in_executor(self._thread, turn.write, answer)
        done.add_done_callback(lambda _: self._open.discard(turn))
        return turn

    def close(self) -> None:
        """Stop all answers, and take no more."""
        for turn in self._open:
            turn.stop()
        self._thread.shutdown(wait=False, cancel_futures=True)
