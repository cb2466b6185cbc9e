"""The one queue of all heavy work: turns, places and estimates, identical work done once; no gradio here."""

import contextvars
import heapq
import logging
import os
import sys
import threading
import time
from collections.abc import Generator, Hashable
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from components.jobs.work import Waiting, Withdrawn, Work
from components.jobs.zerogpu import on_gpu
from eggs_core.errors import EggsError
from eggs_core.limits import limits
from eggs_core.progress import memory_errors

WORKERS = max(1, min(2, (os.cpu_count() or 1) // 2))  # one on two cores: Python code of two would hold up clicks
MOST_WAITING = 60
KINDS_REMEMBERED = 500
TICK_SECONDS = 1.0  # how often a page that waits hears its place
PACE_SECONDS, PACE_WATCHERS = 0.15, 8  # between two values for a page; as much again for each 8 pages that watch
GLANCE_SECONDS = 0.05  # work that starts within this time has not waited
NICENESS = 10  # of the workers' threads, so that clicks are answered first
log = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class _Job:
    """A work in the queue, its newest value, and the tokens of those who watch it."""

    work: Work
    changed: threading.Condition
    watchers: set[object] = field(default_factory=set)
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
    """Does works in `workers` threads, first come, first served; one that fails or takes too long ends alone.

    A work ends early when its last watcher withdraws; a closed page only stops watching, and lasting work goes on.
    """

    def __init__(
        self,
        workers: int = WORKERS,
        most_waiting: int = MOST_WAITING,
        most_seconds: float | None = None,
        niceness: int = NICENESS,
    ) -> None:
        self._workers, self._most_waiting, self._most_seconds = workers, most_waiting, most_seconds
        self._niceness = niceness
        self._waiting: list[_Job] = []
        self._running: list[_Job] = []
        self._took: dict[Hashable, float] = {}  # sort of work -> seconds that it took last
        self._threads = 0
        self._lock = threading.Lock()
        self._turn = threading.Condition(self._lock)  # a worker may find work now

    def follow(self, work: Work, who: object = None) -> Generator[Waiting | Any, None, Any]:
        """Have a work done, or watch it if it is under way: yields its place while it waits, then its newest values.

        A slow watcher misses values but never the last one, which is returned as well. `who` is the token that
        `withdraw` takes. Raises EggsError when too many wait, Withdrawn, and what the work raises.
        """
        who = who or object()
        job, seen, patience = self._join(work, who), 0, GLANCE_SECONDS
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
                if fresh:
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

    def _join(self, work: Work, who: object) -> _Job:
        with self._lock:
            job = self._find(work.key)
            if job is None:
                if len(self._waiting) >= self._most_waiting:
                    raise EggsError(f"{len(self._waiting)} jobs wait already; try again in a few minutes.")
                job = _Job(work, threading.Condition(self._lock))
                if work.expected is not None:
                    self._took.setdefault(work.sort, work.expected)
                self._waiting.append(job)
                if self._threads < self._workers:
                    self._threads += 1
                    threading.Thread(target=self._serve, name=f"worker-{self._threads}", daemon=True).start()
                self._turn.notify_all()
            job.watchers.add(who)
            return job

    def _leave(self, job: _Job, who: object, stop: bool) -> None:
        with self._lock:
            job.watchers.discard(who)
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
        place = self._waiting.index(job) + 1
        now, before = time.monotonic(), self._waiting[: place - 1]
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
        if not self._waiting or any(job.work.alone for job in self._running):
            return False
        return not (self._waiting[0].work.alone and self._running)

    def _serve(self) -> None:
        if sys.platform == "linux":  # where a thread has a priority of its own
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), self._niceness)
        while True:
            with self._lock:
                self._turn.wait_for(self._ready)
                job = self._waiting.pop(0)
                self._running.append(job)
                job.started = time.monotonic()
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
        work, most = job.work, self._most_seconds or limits().seconds
        steps = on_gpu(work.steps, work.args, work.model)
        with closing(steps), memory_errors("This job"):
            for value in steps:
                with self._lock:
                    job.value, job.count = value, job.count + 1
                    job.changed.notify_all()
                    if job.ends:
                        return
                if most and time.monotonic() - job.started > most:
                    raise EggsError(
                        f"This took longer than {most / 60:.3g} minutes, the limit here, and was stopped; "
                        "choose a smaller model or fewer windows."
                    )
            if work.keep is not None:
                work.keep(job.value)


QUEUE = JobQueue()
