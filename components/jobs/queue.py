"""The one queue of all heavy work: turns, places and estimates, identical work done once; no gradio here."""

import contextvars
import heapq
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Generator, Hashable
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from components.jobs.work import NICENESS, Run, Waiting, Withdrawn, Work
from components.jobs.zerogpu import in_this_process
from eggs_core.errors import EggsError
from eggs_core.limits import Limits, limits

WORKERS = max(1, min(2, (os.cpu_count() or 1) // 2))  # one on two cores: Python code of two would hold up clicks
MOST_WAITING = 240
KINDS_REMEMBERED = OWNERS_REMEMBERED = 500
BEAT_SECONDS = 5.0  # after which a page hears the same again: gradio notices only then that it was closed
TICK_SECONDS = 1.0  # how often a page that waits hears its place
PACE_SECONDS, PACE_WATCHERS = 0.15, 8  # between two values for a page; as much again for each 8 pages that watch
GLANCE_SECONDS = 0.05  # work that starts within this time has not waited
log = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class _Job:
    """A work in the queue, its newest value, and the tokens of those who watch it."""

    work: Work
    changed: threading.Condition
    watchers: dict[object, Hashable] = field(default_factory=dict)  # token -> whose page it is
    owner: Hashable = None  # whose turn it is when its turn comes
    unwatched: float = 0.0  # since when, while nobody watches
    context: contextvars.Context = field(default_factory=contextvars.copy_context)
    value: Any = None
    count: int = 0  # values so far
    started: float = 0.0  # when its turn came
    done: bool = False
    ends: bool = False  # after the step at hand
    error: Exception | None = None

    def has_news(self, who: object, seen: int) -> bool:
        """Is there more than `seen` values, an end, or no interest any more?"""
        return self.done or self.count > seen or who not in self.watchers


class JobQueue:
    """Does works in `workers` threads; those of several owners take turns, those of one come in order.

    One that fails or takes too long ends alone. A work ends early when its last watcher withdraws; a closed page only
    stops watching, and lasting work goes on, on a public server for no longer than `limits().unwatched`.
    """

    def __init__(
        self,
        workers: int = WORKERS,
        most_waiting: int = MOST_WAITING,
        most_seconds: float | None = None,
        niceness: int = NICENESS,
        allowed: Callable[[], Limits] = limits,
    ) -> None:
        self._workers, self._most_waiting, self._most_seconds = workers, most_waiting, most_seconds
        self._niceness, self._allowed = niceness, allowed
        self._run: Run = in_this_process
        self._served: dict[Hashable, int] = {}  # owner -> number of the turn that was theirs last
        self._turns = 0
        self._waiting: list[_Job] = []
        self._running: list[_Job] = []
        self._took: dict[Hashable, float] = {}  # sort of work -> seconds that it took last
        self._threads = 0
        self._lock = threading.Lock()
        self._turn = threading.Condition(self._lock)  # a worker may find work now

    def run_with(self, run: Run) -> None:
        """Do all works from now on in this way."""
        self._run = run

    def follow(self, work: Work, who: object = None, owner: Hashable = None) -> Generator[Waiting | Any, None, Any]:
        """Have a work done, or watch it if it is under way: yields its place while it waits, then its newest values.

        A slow watcher misses values but never the last one, which is returned as well. `who` is the token that
        `withdraw` takes; owners take turns. Raises EggsError when too many wait, Withdrawn, and what the work raises.
        """
        who = who or object()
        job, seen, patience, told = self._join(work, who, owner), 0, GLANCE_SECONDS, time.monotonic()
        try:
            while True:
                with self._lock:
                    if seen:  # then only an end is worth hurrying for
                        job.changed.wait_for(partial(job.has_news, who, sys.maxsize), timeout=self._pace())
                    job.changed.wait_for(partial(job.has_news, who, seen), timeout=patience)
                    if who not in job.watchers:
                        raise Withdrawn
                    fresh, value, done, place = job.count > seen, job.value, job.done, self._place(job)
                    seen = job.count
                patience = TICK_SECONDS
                if fresh or (seen and not done and time.monotonic() - told > BEAT_SECONDS):
                    told = time.monotonic()
                    yield value
                elif place is not None:
                    yield place
                if done:
                    if job.error is not None:
                        raise job.error
                    return value
        finally:
            self._leave(job, who, stop=not work.lasting)

    def withdraw(self, who: object) -> None:
        """Let nothing go on for this token: work that nobody else watches ends after the step at hand."""
        with self._lock:
            jobs = [job for job in (*self._running, *self._waiting) if who in job.watchers]
        for job in jobs:
            self._leave(job, who, stop=True)

    def sizes(self) -> tuple[int, int]:
        """How many works are being done, and how many wait."""
        with self._lock:
            return len(self._running), len(self._waiting)

    def under_way(self, key: Hashable) -> bool:
        """Is the work with that key being done, or does it wait?"""
        with self._lock:
            return self._find(key) is not None

    def _pace(self) -> float:
        """Seconds between two values for one page; the more pages watch, the longer."""
        return PACE_SECONDS * (1 + sum(len(job.watchers) for job in self._running) / PACE_WATCHERS)

    def _find(self, key: Hashable) -> _Job | None:
        return next((job for job in (*self._running, *self._waiting) if job.work.key == key and not job.ends), None)

    def _join(self, work: Work, who: object, owner: Hashable) -> _Job:
        with self._lock:
            job = self._find(work.key)
            if job is None:
                self._check_room(owner)
                job = _Job(work, threading.Condition(self._lock), owner=owner)
                if work.expected is not None:
                    self._took.setdefault(work.sort, work.expected)
                self._waiting.append(job)
                if self._threads < self._workers:
                    self._threads += 1
                    threading.Thread(target=self._serve, name=f"worker-{self._threads}", daemon=True).start()
                self._turn.notify_all()
            job.watchers[who] = owner
            return job

    def _check_room(self, owner: Hashable) -> None:
        """Raise EggsError if so many works wait that one more of this owner's would keep others from their turns."""
        self._drop_unwatched()
        mine, share = sum(job.owner == owner for job in self._waiting), self._allowed().waiting
        if share is not None and owner is not None and mine >= share:
            raise EggsError(
                f"{mine} of your jobs wait already, which is one visitor’s share here; wait until one has begun, or "
                "stop one."
            )
        if len(self._waiting) >= self._most_waiting:
            raise EggsError(f"{len(self._waiting)} jobs wait already; try again in a few minutes.")

    def _abandoned(self, job: _Job) -> bool:
        """Has nobody watched it for longer than this server waits?"""
        most = self._allowed().unwatched
        return most is not None and not job.watchers and time.monotonic() - job.unwatched > most

    def _drop_unwatched(self) -> None:
        for job in [job for job in self._waiting if self._abandoned(job)]:
            self._waiting.remove(job)
            job.ends = True

    def _in_turn(self) -> list[_Job]:
        """The works that wait, in the order of their turns: of each owner one, those served longest ago first."""
        served, turn, waiting, order = dict(self._served), self._turns, list(self._waiting), []
        while waiting:
            job = min(waiting, key=lambda job: served.get(job.owner, 0))  # the first of equals, so in order of arrival
            waiting.remove(job)
            order.append(job)
            turn += 1
            served[job.owner] = turn
        return order

    def _leave(self, job: _Job, who: object, stop: bool) -> None:
        with self._lock:
            job.watchers.pop(who, None)
            if job.watchers and job.owner not in job.watchers.values():
                job.owner = next(iter(job.watchers.values()))
            job.unwatched = time.monotonic()
            if stop and not job.watchers and not job.done:
                job.ends = True
                if job in self._waiting:
                    self._waiting.remove(job)
                    self._turn.notify_all()
            job.changed.notify_all()

    def _place(self, job: _Job) -> Waiting | None:
        """Where a job stands; the wait follows from playing the turns through with the times that such work took."""
        if job not in self._waiting:
            return None
        order = self._in_turn()
        place = order.index(job) + 1
        now, before = time.monotonic(), order[: place - 1]
        took = [self._took[other.work.sort] for other in (*self._running, *before) if other.work.sort in self._took]
        if len(took) < len(self._running) + len(before):
            return Waiting(place, None)
        free = [max(0.0, t - (now - other.started)) for t, other in zip(took, self._running, strict=False)]
        free += [0.0] * (self._workers - len(free))
        if any(other.work.alone for other in self._running):
            free = [max(free)] * self._workers
        heapq.heapify(free)
        for other, seconds in zip(before, took[len(self._running) :], strict=True):
            if other.work.alone:
                free = [max(free) + seconds] * self._workers
            else:
                heapq.heapreplace(free, free[0] + seconds)
        return Waiting(place, max(free) if job.work.alone else free[0])

    def _ready(self) -> bool:
        self._drop_unwatched()
        if not self._waiting or any(job.work.alone for job in self._running):
            return False
        return not (self._in_turn()[0].work.alone and self._running)

    def _next(self) -> _Job:
        job = self._in_turn()[0]
        self._waiting.remove(job)
        self._running.append(job)
        self._turns += 1
        self._served.pop(job.owner, None)
        self._served[job.owner] = self._turns
        while len(self._served) > OWNERS_REMEMBERED:
            del self._served[next(iter(self._served))]
        job.started = time.monotonic()
        return job

    def _serve(self) -> None:
        # Only a thread that works itself: one that waits for a process must not sleep with a lock that clicks need.
        if self._run is in_this_process and sys.platform == "linux":  # where a thread has a priority of its own
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), self._niceness)
        while True:
            with self._lock:
                self._turn.wait_for(self._ready)
                job = self._next()
                self._turn.notify_all()
            try:
                job.context.run(self._do, job)
            except EggsError as error:
                job.error = error
            except Exception as error:  # whoever watches hears of it; other jobs go on
                log.exception("%s failed", job.work.sort)
                job.error = error
            with self._lock:
                self._running.remove(job)
                job.done = True
                if job.error is None and not job.ends:
                    self._took.pop(job.work.sort, None)
                    self._took[job.work.sort] = time.monotonic() - job.started
                    while len(self._took) > KINDS_REMEMBERED:
                        del self._took[next(iter(self._took))]
                job.changed.notify_all()
                self._turn.notify_all()
            del job  # its values may be large

    def _do(self, job: _Job) -> None:
        def unwanted() -> bool:
            with self._lock:  # who joins sees the same
                job.ends = job.ends or (bool(self._waiting) and self._abandoned(job))
                return job.ends

        work, most = job.work, self._most_seconds or self._allowed().seconds
        with closing(self._run(work, most, unwanted)) as values:
            for value in values:
                with self._lock:
                    job.value, job.count = work.after(job.value, value), job.count + 1
                    job.changed.notify_all()
                if unwanted():
                    return
        if not unwanted() and work.keep is not None:
            work.keep(job.value)


QUEUE = JobQueue()
