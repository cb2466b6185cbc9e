"""Processes for heavy work, so that a hang, a crash or a full memory takes nothing of the page down.

One process works for each thread of the queue, and one more answers short questions about models; that one steps in
when another had to be ended, and a new one takes its place. What they do is worker.py's.
"""

import json
import pickle
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from typing import Any, TypeVar

from components.jobs.work import Work, too_long
from components.jobs.worker import BEGUN, DONE, ERROR, VALUE
from eggs_core.errors import EggsError
from eggs_core.limits import limits

BOOT = (
    "import json, sys; sys.path[:], warm = json.loads(sys.stdin.buffer.readline()); "
    "from components.jobs.worker import serve; serve(warm)"
)
GLANCE_SECONDS = 0.1  # between two looks at whether somebody still wants the work
GRACE_SECONDS = 3.0  # that a step may take to end by itself
QUESTION_SECONDS = 120.0  # that an answer may take on a public server
GONE, KILLED = "gone", 9

T = TypeVar("T")


class WorkerProcess:
    """One process, which does one work at a time; it is started at once."""

    def __init__(self, warm: bool = True) -> None:
        self._process = subprocess.Popen([sys.executable, "-c", BOOT], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdin and self._process.stdout
        self._to, self._from = self._process.stdin, self._process.stdout
        self._received: queue.SimpleQueue[tuple[int, str, Any]] = queue.SimpleQueue()  # work, kind, value
        with suppress(OSError):  # it is gone already, which the first work hears
            self._to.write(json.dumps([sys.path, warm]).encode() + b"\n")
            self._to.flush()
        self._number = 0  # of the work at hand
        threading.Thread(target=self._receive, daemon=True).start()

    @property
    def alive(self) -> bool:
        """Can it do another work?"""
        return self._process.poll() is None

    def kill(self) -> None:
        """End it at once, whatever it does."""
        self._process.kill()
        self._process.wait()

    def values(
        self, steps: Callable[..., Iterator[Any]], args: tuple, most: float | None, unwanted: Callable[[], bool]
    ) -> Generator[Any, None, None]:
        """What `steps(*args)` yields there, until it is `unwanted` or has taken `most` seconds.

        Closed early, it lets the process end the step at hand, and ends the process if that takes long. Raises what the
        steps raise, and EggsError if they take too long or the process dies.
        """
        self._number += 1
        self._send((self._number, steps, args))
        ends, busy = None, True
        try:
            while not unwanted():
                kind, value = self._next(GLANCE_SECONDS)
                busy = kind in ("", BEGUN, VALUE)
                if kind == BEGUN and most is not None:
                    ends = time.monotonic() + most
                if kind == VALUE:
                    yield value
                elif kind == ERROR:
                    raise value
                elif kind == GONE:
                    raise self._death()
                elif kind == DONE:
                    return
                if ends is not None and time.monotonic() > ends:
                    raise too_long(most or 0.0)
        finally:
            if busy:
                self._stop()

    def _stop(self) -> None:
        """Have the work end: by itself within GRACE_SECONDS, else with the process."""
        self._send(self._number)
        ends = time.monotonic() + GRACE_SECONDS
        while (left := ends - time.monotonic()) > 0:
            if self._next(left)[0] in (DONE, ERROR, GONE):
                return
        self.kill()

    def _next(self, seconds: float) -> tuple[str, Any]:
        """The kind and value of what comes next of the work at hand; "" and None if nothing does in time."""
        with suppress(queue.Empty):
            number, kind, value = self._received.get(timeout=seconds)
            if number == self._number or kind == GONE:
                return kind, value
        return "", None

    def _send(self, message: object) -> None:
        with suppress(OSError):  # it is gone; what comes next says so
            self._to.write(pickle.dumps(message))
            self._to.flush()

    def _receive(self) -> None:
        with suppress(Exception):  # the end of what it sends, or half a message of one that was ended
            while True:
                self._received.put(pickle.load(self._from))
        self._received.put((self._number, GONE, None))

    def _death(self) -> EggsError:
        code = self._process.wait()
        if code == -KILLED:
            return EggsError(
                "The process that did this was ended by the system, most likely because memory was full; everything "
                "else goes on. Choose a smaller model, or try again when less is running."
            )
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"exit status {code}"
        return EggsError(
            f"The process that did this crashed ({name}); everything else goes on. Try again, or make other choices."
        )


def _answer(function: Callable[..., T], args: tuple) -> Iterator[T]:
    yield function(*args)


class Processes:
    """The processes of one server: those that work, and one that answers questions; none until `start`."""

    def __init__(self, warm: bool = True) -> None:
        self._warm = warm  # with what takes seconds to import
        self._idle: list[WorkerProcess] = []  # the one that worked last, whose models are at hand, is the last
        self._answering: WorkerProcess | None = None
        self._lock = threading.Lock()
        self._asked = threading.Lock()
        self._started = self._ended = False

    def start(self) -> None:
        """Have a process for work and one for questions ready."""
        with self._lock:
            self._started = True
            self._answering = self._answering or WorkerProcess(self._warm)
            self._idle = self._idle or [WorkerProcess(self._warm)]

    def end(self) -> None:
        """End all that are idle; those at work end with this process."""
        with self._lock:
            self._ended = True
            for process in [*self._idle, *([self._answering] if self._answering else [])]:
                process.kill()

    def run(self, work: Work, most: float | None, unwanted: Callable[[], bool]) -> Generator[Any, None, None]:
        """The values of a work, as WorkerProcess.values gives them, in a process that is at hand."""
        process = self._take()
        try:
            yield from process.values(work.steps, work.args, most, unwanted)
        finally:
            self._give_back(process)

    def ask(self, function: Callable[..., T], *args: Any) -> T:
        """What a function of a module gives, computed in the process for questions; raises what it raises.

        On a public server it takes QUESTION_SECONDS at most. Before `start` it is computed here.
        """
        if not self._started:
            return function(*args)
        with self._asked:
            with self._lock:
                if self._answering is None or not self._answering.alive:
                    self._answering = WorkerProcess(self._warm)
                process = self._answering
            most = None if limits().seconds is None else QUESTION_SECONDS
            (answer,) = process.values(_answer, (function, args), most, lambda: False)
            return answer

    def _take(self) -> WorkerProcess:
        with self._lock:
            while self._idle:
                if (process := self._idle.pop()).alive:
                    return process
            if self._answering is not None and self._answering.alive and not self._asked.locked():
                process, self._answering = self._answering, WorkerProcess(self._warm)
                return process
            return WorkerProcess(self._warm)

    def _give_back(self, process: WorkerProcess) -> None:
        with self._lock:
            if process.alive and not self._ended:
                self._idle.append(process)
            else:
                process.kill()


PROCESSES = Processes()
