"""The queue: turns, places and estimates, work done once for all who ask, and ends that harm nobody else."""

import os
import sys
import threading
import time

import pytest

from components.jobs.queue import JobQueue, Waiting, Withdrawn, Work
from components.jobs.work import NICENESS
from eggs_core.errors import EggsError, OutOfMemory
from eggs_core.limits import Limits

WAIT = 10.0


class Gate:
    """Steps that go on when the test lets them: they yield 0, 1, 2, … and say how often they were begun."""

    def __init__(self, last: int = 2):
        self.open, self.last, self.begun, self.ended = threading.Event(), last, 0, threading.Event()

    def __call__(self):
        self.begun += 1
        try:
            for number in range(self.last + 1):
                yield number
                self.open.wait(WAIT)
        finally:
            self.ended.set()


class Watcher(threading.Thread):
    """Follows a work as a page does, and keeps what it saw."""

    def __init__(self, queue: JobQueue, work: Work):
        super().__init__(daemon=True)
        self.queue, self.work, self.seen, self.error, self.result = queue, work, [], None, None
        self.start()

    def run(self):
        try:
            events = self.queue.follow(self.work, self)
            while True:
                try:
                    self.seen.append(next(events))
                except StopIteration as end:
                    self.result = end.value
                    return
        except Exception as error:
            self.error = error

    @property
    def values(self):
        return [value for value in self.seen if not isinstance(value, Waiting)]

    def finish(self):
        self.join(WAIT)
        assert not self.is_alive()
        return self


def until(condition):
    end = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def running(queue, work):
    """Follow a work in a thread, once it is being done."""
    watcher = Watcher(queue, work)
    until(lambda: watcher.values)
    return watcher


def at_once(value="done"):
    def steps():
        yield value

    return steps


def test_values_come_in_order_and_the_last_is_the_result():
    gate = Gate(3)
    gate.open.set()
    watcher = Watcher(JobQueue(workers=2), Work("a", gate)).finish()
    assert watcher.values == sorted(set(watcher.values)) and watcher.values[-1] == watcher.result == 3


def test_the_same_work_is_done_once_for_all_who_ask_and_again_when_asked_later():
    queue, gate, kept = JobQueue(workers=2), Gate(), []
    watchers = [Watcher(queue, Work("a", gate, keep=kept.append)) for _ in range(5)]
    until(lambda: all(w.values for w in watchers))
    gate.open.set()
    assert [w.finish().result for w in watchers] == [2] * 5
    assert gate.begun == 1 and kept == [2]
    assert Watcher(queue, Work("a", gate)).finish().result == 2
    assert gate.begun == 2


def test_first_come_first_served_with_places_and_a_wait_that_follows_from_earlier_work():
    queue, order = JobQueue(workers=1), []
    gate = Gate()
    first = running(queue, Work("gate", gate, expected=30.0))

    def later(name):
        order.append(name)
        yield name

    waiting = []
    for name in ("x", "y"):
        waiting.append(Watcher(queue, Work(name, later, (name,), expected=7.0)))
        until(lambda: waiting[-1].seen)
    place, after = waiting[0].seen[0], waiting[1].seen[0]
    assert (place.place, after.place) == (1, 2)
    assert place.seconds == pytest.approx(30, abs=2) and after.seconds - place.seconds == pytest.approx(7, abs=2)
    assert queue.sizes() == (1, 2) and queue.under_way("y") and not queue.under_way("z")
    gate.open.set()
    for watcher in (first, *waiting):
        watcher.finish()
    assert order == ["x", "y"] and queue.sizes() == (0, 0)


def test_an_unknown_duration_ahead_leaves_only_the_place():
    queue, gate = JobQueue(workers=1), Gate()
    running(queue, Work("gate", gate))
    second = Watcher(queue, Work("x", at_once()))
    until(lambda: second.seen)
    assert second.seen[0] == Waiting(1, None)
    gate.open.set()


def test_work_that_takes_times_runs_alone_and_is_not_overtaken():
    queue, gates = JobQueue(workers=3), [Gate() for _ in range(4)]
    first = running(queue, Work(0, gates[0]))
    timing = Watcher(queue, Work(1, gates[1], alone=True))
    until(lambda: timing.seen)
    later = Watcher(queue, Work(2, gates[2]))
    until(lambda: later.seen)
    assert queue.sizes() == (1, 2)
    gates[0].open.set()
    until(lambda: timing.values)
    first.finish()
    assert queue.sizes() == (1, 1) and not later.values
    gates[1].open.set()
    until(lambda: later.values)
    timing.finish()
    gates[2].open.set()
    later.finish()


def test_a_full_queue_refuses_new_work_with_a_sentence_but_not_more_watchers():
    queue, gate = JobQueue(workers=1, most_waiting=1), Gate()
    running(queue, Work("a", gate))
    waits = Watcher(queue, Work("b", at_once()))
    until(lambda: queue.sizes() == (1, 1))
    refused = Watcher(queue, Work("c", at_once())).finish()
    assert isinstance(refused.error, EggsError) and "try again in a few minutes" in str(refused.error)
    same = Watcher(queue, Work("b", at_once()))
    gate.open.set()
    assert same.finish().result == waits.finish().result == "done"


def test_stop_ends_work_when_its_last_watcher_withdraws():
    queue, gate = JobQueue(workers=2), Gate(100)
    one, two = (running(queue, Work("a", gate)) for _ in range(2))
    queue.withdraw(one)
    assert isinstance(one.finish().error, Withdrawn)
    assert not gate.ended.is_set() and two.is_alive()
    queue.withdraw(two)
    assert isinstance(two.finish().error, Withdrawn)
    gate.open.set()
    assert gate.ended.wait(WAIT)
    until(lambda: queue.sizes() == (0, 0))
    again = Watcher(queue, Work("a", Gate(0)))  # the stopped work is not joined
    until(lambda: again.values)


def test_work_that_waits_leaves_the_queue_when_it_is_stopped():
    queue, gate, never = JobQueue(workers=1), Gate(), Gate()
    running(queue, Work("a", gate))
    waits = Watcher(queue, Work("b", never))
    until(lambda: waits.seen)
    queue.withdraw(waits)
    waits.finish()
    assert queue.sizes() == (1, 0)
    gate.open.set()
    until(lambda: queue.sizes() == (0, 0))
    assert never.begun == 0


@pytest.mark.parametrize("lasting", [True, False])
def test_lasting_work_goes_on_when_the_page_is_closed_and_may_be_watched_again(lasting):
    queue, gate, kept = JobQueue(workers=2), Gate(1), []
    work = Work("a", gate, keep=kept.append, lasting=lasting)
    page = queue.follow(work)
    assert next(value for value in page if not isinstance(value, Waiting)) == 0
    page.close()
    if lasting:
        again = running(queue, work)
        gate.open.set()
        assert again.finish().result == 1
    else:
        gate.open.set()
        assert gate.ended.wait(WAIT)
    until(lambda: queue.sizes() == (0, 0))
    assert kept == ([1] if lasting else []) and gate.begun == 1


def fails(error):
    def steps():
        yield 0
        raise error

    return steps


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (EggsError("Choose another."), EggsError, "Choose another."),
        (MemoryError(), OutOfMemory, "ran out of memory"),
        (RuntimeError("can't allocate memory: you tried"), OutOfMemory, "ran out of memory"),
        (KeyError("unexpected"), KeyError, "unexpected"),
    ],
)
def test_work_that_fails_ends_alone(error, kind, said):
    queue, gate, kept = JobQueue(workers=2), Gate(), []
    other = running(queue, Work("other", gate))
    failed = Watcher(queue, Work("bad", fails(error), keep=kept.append)).finish()
    assert type(failed.error) is kind and said in str(failed.error)
    assert kept == []
    gate.open.set()
    assert other.finish().result == 2
    assert Watcher(queue, Work("next", at_once())).finish().result == "done"


def test_work_that_takes_too_long_ends_alone_with_a_sentence():
    def slow():
        while True:
            yield 0
            time.sleep(0.01)

    queue, gate = JobQueue(most_seconds=0.2), Gate(0)
    late = Watcher(queue, Work("slow", slow)).finish()
    assert isinstance(late.error, EggsError) and "longer than 0.00333 minutes" in str(late.error)
    assert running(queue, Work("next", gate)).values == [0]


class Owned(Watcher):
    """A page of one visitor."""

    def __init__(self, queue: JobQueue, work: Work, owner: str):
        self.owner = owner
        super().__init__(queue, work)

    def run(self):
        try:
            self.seen.extend(self.queue.follow(self.work, self, self.owner))
        except Exception as error:
            self.error = error


def test_visitors_take_turns_and_places_say_so():
    queue, gate, order = JobQueue(workers=1), Gate(), []
    first = running(queue, Work("gate", gate))

    def noted(name):
        order.append(name)
        yield name

    pages = []
    for owner, name in [("a", "a1"), ("a", "a2"), ("a", "a3"), ("b", "b1"), ("c", "c1"), ("b", "b2")]:
        pages.append(Owned(queue, Work(name, noted, (name,)), owner))
        until(lambda: queue.sizes() == (1, len(pages)))
    last = Owned(queue, Work("d1", noted, ("d1",)), "d")
    until(lambda: last.seen)
    assert last.seen[0].place == 4  # behind one work of each of the others
    gate.open.set()
    for page in (first, *pages, last):
        page.finish()
    assert order == ["a1", "b1", "c1", "d1", "a2", "b2", "a3"]


def test_a_visitor_has_a_share_of_the_waiting_works_and_others_have_theirs():
    queue, gate = JobQueue(workers=1, allowed=lambda: Limits(waiting=2)), Gate()
    running(queue, Work("gate", gate))
    mine = [Owned(queue, Work(name, at_once()), "me") for name in ("x", "y")]
    until(lambda: queue.sizes() == (1, 2))
    refused = Owned(queue, Work("z", at_once()), "me").finish()
    assert "one visitor’s share" in str(refused.error)
    other = Owned(queue, Work("z", at_once()), "you")
    until(lambda: queue.sizes() == (1, 3))
    gate.open.set()
    assert [page.finish().error for page in (*mine, other)] == [None] * 3


def test_works_that_nobody_watches_leave_a_public_server_after_a_while():
    queue, gate, never = JobQueue(workers=1, allowed=lambda: Limits(unwatched=0.2)), Gate(1000), Gate()
    gate.open.set()  # so that its steps follow each other

    def slow():
        for number in range(1000):
            yield number
            time.sleep(0.01)

    page = queue.follow(Work("slow", slow))
    next(page)
    waits = queue.follow(Work("never", never))
    assert isinstance(next(waits), Waiting)
    waits.close()
    time.sleep(0.3)
    assert queue.sizes() == (1, 1)
    later = Watcher(queue, Work("later", at_once()))  # it looks, and finds one that nobody watches
    until(lambda: later.seen)
    assert queue.sizes() == (1, 1) and never.begun == 0
    page.close()  # now nobody watches what runs either, and somebody waits
    assert later.finish().result == "done"


def test_on_a_machine_of_one_s_own_works_go_on_unwatched():
    queue, kept = JobQueue(workers=1), []
    page = queue.follow(Work("a", at_once(), keep=kept.append))
    next(page)
    page.close()
    until(lambda: kept == ["done"])


def test_what_values_add_up_to_is_what_pages_see():
    def parts():
        yield from "abc"

    queue, kept = JobQueue(workers=1), []
    work = Work("a", parts, grow=lambda before, value: (before or "") + value, keep=kept.append)
    assert Watcher(queue, work).finish().result == "abc" and kept == ["abc"]


@pytest.mark.skipif(sys.platform != "linux", reason="threads have no priority of their own")
@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_thread_that_waits_for_a_process_keeps_its_priority(elsewhere):
    """It holds locks that clicks need, and would be kept from the processor with them by the work it waits for."""
    queue, found = JobQueue(1), []

    def run(work, most, unwanted):
        found.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        yield 0

    def steps():
        yield from run(None, None, None)

    mine = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    if elsewhere:
        queue.run_with(run)
    list(queue.follow(Work("work", steps)))
    assert found == [mine if elsewhere else min(19, mine + NICENESS)]
