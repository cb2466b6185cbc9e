"""What a process for heavy work does: it takes functions and their arguments, and sends back what they yield.

It reads pickles from its standard input and writes them to its standard output, to and from the page's process alone
(processes.py). It ends as soon as the page's process is gone.
"""

import logging
import os
import pickle
import queue
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, BinaryIO

from components.jobs.work import NICENESS
from eggs_core.errors import EggsError
from eggs_core.freed_memory import return_freed_memory
from eggs_core.heavy import import_all
from eggs_core.progress import memory_errors

BEGUN, VALUE, DONE, ERROR = "begun", "value", "done", "error"  # kinds of what it sends
FIRST_TO_DIE = 800  # of 1000, where Linux must end a process because memory is full
log = logging.getLogger(__name__)

Job = tuple[int, Callable[..., Iterator[Any]], tuple]  # its number, which a stop names


class _Inbox(threading.Thread):
    """Reads what the page's process sends: works, which wait in `jobs`, and the number of the newest one to stop."""

    def __init__(self, received: BinaryIO) -> None:
        super().__init__(daemon=True)
        self._received = received
        self.jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self.stopped = 0

    def run(self) -> None:
        """Read until the page's process is gone, and then end this one."""
        try:
            while True:
                message = pickle.load(self._received)
                if isinstance(message, int):
                    self.stopped = message
                else:
                    self.jobs.put(message)
        finally:
            os._exit(0)


def serve(warm: bool) -> None:
    """Do one work after the other until the page's process is gone; `warm` imports beforehand what most works need."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the page's process, whose end ends this one
    received, sent = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print goes to the server's log
    step_back()
    inbox = _Inbox(received)
    inbox.start()
    if warm:  # before any work, as two threads that import parts of one package would find some of them half done
        import_all()
    while True:
        _do(inbox.jobs.get(), sent, inbox)
        return_freed_memory()


def step_back() -> None:
    """Let the page's process go first: to the processor, and when memory is full."""
    with suppress(AttributeError, OSError):
        os.nice(NICENESS)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(FIRST_TO_DIE))


def _do(job: Job, sent: BinaryIO, inbox: _Inbox) -> None:
    number, steps, args = job

    def send(kind: str, value: object = None) -> None:
        sent.write(pickle.dumps((number, kind, value)))
        sent.flush()

    send(BEGUN)  # what its steps need is imported
    try:
        with closing(steps(*args)) as values, memory_errors("This job"):  # type: ignore[type-var]
            for value in values:
                send(VALUE, value)
                if inbox.stopped == number:
                    break
    except Exception as error:
        if not isinstance(error, EggsError):
            log.exception("%s failed", steps.__name__)
        send(ERROR, _travels(error))
    else:
        send(DONE)


def _travels(error: Exception) -> Exception:
    """The error, or one in words in its place if it does not come out of a pickle as it went in."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
