"""Heavy work in processes of its own: what it yields comes back, and a hang, a crash or a kill harms nothing else."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from components.jobs.processes import GRACE_SECONDS, Processes, WorkerProcess
from components.jobs.queue import JobQueue
from components.jobs.work import Work
from eggs_core.errors import EggsError, OutOfMemory

ROOT = Path(__file__).resolve().parents[3]
WAIT = 20.0


# What the processes do here: functions of this module, which they import.
def counted(last: int) -> Iterator[int]:
    yield from range(last)


def where() -> int:
    return os.getpid()


def process() -> Iterator[int]:
    yield os.getpid()


def endless() -> Iterator[int]:
    """Short steps without an end."""
    count = 0
    while True:
        yield (count := count + 1)
        time.sleep(0.01)


def hanging(file: str) -> Iterator[int]:
    """A step that never ends by itself, in C and with Python's lock held, as a faulty library would."""
    yield os.getpid()
    Path(file).touch()
    ctypes.PyDLL(None).sleep(3600)
    yield 0


def killed() -> Iterator[int]:
    yield 1
    os.kill(os.getpid(), signal.SIGKILL)


def crashing() -> Iterator[int]:
    yield 1
    ctypes.string_at(0)


def refusing(kind: str) -> Iterator[int]:
    yield 1
    if kind == "sentence":
        raise EggsError("Choose another one.")
    if kind == "memory":
        raise MemoryError
    raise ValueError("three")


def talking() -> Iterator[int]:
    print("a library says something")
    os.write(1, b"and so does C")
    yield 1


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes]:
    found = Processes(warm=False)
    found.start()
    yield found
    found.end()


@pytest.fixture
def queue(processes) -> JobQueue:
    made = JobQueue(workers=1)
    made.run_with(processes.run)
    return made


def values(queue: JobQueue, steps, *args) -> list:
    """The values of a work, as a page that misses none would see them."""
    return list(queue.follow(Work(object(), steps, args)))


def until(condition) -> None:
    end = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_values_come_back_from_another_process_that_stays_for_the_next_work(queue):
    assert values(queue, counted, 3)[-1] == 2
    assert values(queue, process)[-1] == values(queue, process)[-1] != os.getpid()


def test_what_is_printed_does_not_disturb_them(queue):
    assert values(queue, talking)[-1] == 1


@pytest.mark.parametrize(
    ("kind", "error", "words"),
    [("sentence", EggsError, "Choose another one"), ("memory", OutOfMemory, "memory"), ("other", ValueError, "three")],
)
def test_errors_are_raised_here_and_the_process_goes_on(queue, kind, error, words):
    before = values(queue, process)[-1]
    with pytest.raises(error, match=words):
        values(queue, refusing, kind)
    assert values(queue, process)[-1] == before


@pytest.mark.parametrize(("steps", "words"), [(killed, "ended by the system"), (crashing, "crashed .SIGSEGV")])
def test_work_goes_on_at_once_after_a_process_died(queue, steps, words):
    if sys.platform == "win32":
        pytest.skip("signals have no names there")
    with pytest.raises(EggsError, match=words):
        values(queue, steps)
    assert values(queue, counted, 2)[-1] == 1


def test_a_work_that_is_stopped_before_it_began_leaves_nothing_to_the_next():
    """Its values and its end went to whoever came next, who kept them as results of another kind."""
    worker = WorkerProcess(warm=False)
    try:
        assert list(worker.values(counted, (1,), None, lambda: False)) == [0]  # it is up, however busy the machine
        for _ in range(3):
            assert list(worker.values(process, (), None, lambda: True)) == []
            assert list(worker.values(counted, (3,), None, lambda: False)) == [0, 1, 2]
        assert worker.alive
    finally:
        worker.kill()


def test_a_work_is_stopped_between_its_steps_and_the_process_stays(queue):
    before = values(queue, process)[-1]
    going = queue.follow(Work("endless", endless), who="me")
    assert next(value for value in going if isinstance(value, int)) >= 1
    queue.withdraw("me")
    until(lambda: queue.sizes() == (0, 0))
    assert values(queue, process)[-1] == before


def test_a_stop_inside_a_step_ends_the_process(queue, tmp_path):
    going = queue.follow(Work("hanging", hanging, (str(tmp_path / "begun"),)), who="me")
    pid = next(value for value in going if isinstance(value, int))
    until((tmp_path / "begun").exists)
    began = time.monotonic()
    queue.withdraw("me")
    until(lambda: queue.sizes() == (0, 0))
    assert time.monotonic() - began < GRACE_SECONDS + WAIT / 4
    assert not psutil.pid_exists(pid)
    assert values(queue, counted, 2)[-1] == 1


def test_the_time_limit_holds_inside_a_step(processes, tmp_path):
    short = JobQueue(workers=1, most_seconds=0.5)
    short.run_with(processes.run)
    with pytest.raises(EggsError, match=r"longer than 0\.00833 minutes"):
        values(short, hanging, str(tmp_path / "begun"))
    assert values(short, counted, 2)[-1] == 1


def test_questions_have_a_process_of_their_own(queue, processes, tmp_path):
    going = queue.follow(Work("hanging", hanging, (str(tmp_path / "begun"),)), who="me")
    pid = next(value for value in going if isinstance(value, int))
    assert processes.ask(where) not in (pid, os.getpid())
    with pytest.raises(ValueError, match="invalid literal"):
        processes.ask(int, "x")
    queue.withdraw("me")


def test_before_the_start_questions_are_answered_here():
    assert Processes().ask(where) == os.getpid()


def test_they_end_with_the_page_whatever_ends_it():
    code = (
        f"import os, sys, time; sys.path.insert(0, {str(ROOT)!r}); from components.jobs.processes import Processes; "
        "found = Processes(False); found.start(); print(found.ask(os.getpid), flush=True); time.sleep(3600)"
    )
    page = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    children = [int(page.stdout.readline()), *(child.pid for child in psutil.Process(page.pid).children())]
    page.kill()
    page.wait()
    page.stdout.close()
    until(lambda: not any(psutil.pid_exists(pid) for pid in children))
