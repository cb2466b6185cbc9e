"""The run store on a full disk, shared by processes, and in one that is killed."""

import os
import random
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import KILLS, ROOT
from stored import KEY, OTHER, age, foreign, size_of, some_run, tree, version_of

from eggs_core.errors import EggsError
from eggs_core.runs.store import RunStore

pytestmark = pytest.mark.usefixtures("one_thread")

FULL = """
import resource, sys; sys.path[:0] = [{here!r}]
from pathlib import Path
from eggs_core.errors import EggsError
from eggs_core.runs.store import RunStore
from stored import OTHER, some_run
store = RunStore(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
for key in ({KEY!r}, OTHER):
    try:
        store.put(some_run(key, 1, rows=50_000))
        sys.exit("there was room")
    except EggsError as error:
        assert "could not be saved" in str(error) and "free some space" in str(error), error
"""


def test_a_file_that_grows_too_large_leaves_nothing_behind(tmp_path):
    store = RunStore(tmp_path)
    store.put(some_run())
    before = tree(tmp_path)
    script = FULL.format(here=str(Path(__file__).parent), KEY=KEY)
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests' / 'support'}", "OMP_NUM_THREADS": "1"}
    found = subprocess.run([sys.executable, "-c", script, tmp_path], cwd=ROOT, env=environment, capture_output=True)
    assert found.returncode == 0, found.stderr.decode()
    assert tree(tmp_path) == before


def test_a_full_disk_leaves_nothing_behind(tmp_path):
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", tmp_path], capture_output=True)
    if mounted.returncode:
        pytest.skip("only root can mount a small disk")
    try:
        store = RunStore(tmp_path)
        store.put(some_run())
        before = tree(tmp_path)
        for key in (KEY, OTHER):
            with pytest.raises(EggsError, match="free some space"):
                store.put(some_run(key, 1, rows=50_000))
            assert tree(tmp_path) == before
        (tmp_path / KEY / "filler").write_bytes(bytes(36 << 10))
        with pytest.raises((EggsError, OSError)):
            (tmp_path / KEY / "more").write_bytes(bytes(64 << 10))
        with pytest.raises(EggsError, match=r"full|free some space"):
            store.set_label(KEY, "x")
        assert version_of(store.get(KEY)) == 0 and store.label(KEY) == ""
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def forked(act: Callable[[], None]) -> int:
    """Do something in a process of its own, which starts at once; returns its number."""
    child = os.fork()
    if child == 0:
        try:
            act()
            os._exit(0)
        except BaseException:
            traceback.print_exc()  # nothing else would tell
        finally:
            os._exit(1)
    return child


STEPS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod", "os.listdir", "os.scandir"}


def dies_at(step: int, act: Callable[[], None]) -> bool:
    """Do something in a process that ends without warning at one of its steps on the disk; False if it had fewer."""

    def mortal() -> None:
        left = iter(range(step))

        def end(event: str, _arguments: tuple) -> None:
            if event in STEPS and next(left, None) is None:
                os._exit(9)

        sys.addaudithook(end)
        act()

    return os.waitstatus_to_exitcode(os.waitpid(forked(mortal), 0)[1]) == 9


@pytest.mark.parametrize("again", [False, True])
def test_death_at_any_step_of_put_leaves_the_store_as_before_or_as_after(tmp_path, again):
    kept = foreign(tmp_path / "photos")
    before, found, step = tree(kept), set(), 0
    while True:
        folder = tmp_path / f"store{step}"
        store = RunStore(folder, most_bytes=1)
        store.put(some_run(OTHER))
        (folder / "photos").symlink_to(kept)
        if again:
            store.put(some_run(KEY, 1))
        died = dies_at(step, lambda store=store: store.put(some_run(KEY, 2)))
        run = store.get(KEY)
        found.add(version_of(run) if run else None)
        keys = {report["key"] for report in store.reports()}
        assert keys and keys <= {KEY, OTHER} and all(version_of(store.get(key)) >= 0 for key in keys)
        assert store.problems == [] and not list(folder.glob("damaged-*")) and tree(kept) == before
        age(folder)
        store.put(some_run(KEY, 3))
        assert version_of(store.get(KEY)) == 3 and len(store.reports()) == 1
        assert {path.name for path in folder.iterdir()} == {KEY, "photos"}, "what was left unfinished is gone"
        assert not [p for p in (folder / KEY).iterdir() if p.name.startswith(".") and p.name != ".eggs-store"]
        if not died:
            break
        step += 1
    assert step > 15 and found == {1 if again else None, 2}


def put_many(store: RunStore, progress: Path, rounds: int = 20) -> None:
    """Replace the run KEY and add a new one, over and over; `progress` says how often it was done."""
    first = int(progress.read_text()) if progress.exists() else 0
    for number in range(first + 1, first + 1 + rounds):
        store.put(some_run(KEY, number % 4, rows=512))
        store.put(some_run(f"{number:016x}", number % 4, rows=512))
        progress.with_name("part").write_text(str(number))
        os.replace(progress.with_name("part"), progress)


@pytest.mark.slow
def test_a_killed_put_leaves_the_store_as_before_or_as_after(tmp_path):
    folder, progress, ended_early, moments = tmp_path / "store", tmp_path / "progress", 0, random.Random(18)
    RunStore(folder).put(some_run(KEY, 0, rows=512))
    room = 12 * size_of(folder)
    store = RunStore(folder, most_bytes=room)
    kept = foreign(folder / "photos")
    before, started = tree(kept), time.monotonic()
    put_many(store, progress)
    length = time.monotonic() - started
    for _ in range(2 * KILLS):
        child = forked(lambda: put_many(store, progress))
        time.sleep(moments.random() * length)
        os.kill(child, signal.SIGKILL)
        ended_early += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0
        done = int(progress.read_text())
        assert version_of(store.get(KEY)) in (done % 4, (done + 1) % 4)
        assert version_of(store.get(f"{done:016x}")) == done % 4
        coming = store.get(f"{done + 1:016x}")
        assert coming is None or version_of(coming) == (done + 1) % 4
        keys = [report["key"] for report in store.reports()]
        assert KEY in keys and all(version_of(store.get(key)) in range(4) for key in keys)
        assert store.problems == [] and not list(folder.glob("damaged-*")) and tree(kept) == before
        for part in folder.glob(".*.part"):
            age(part)
    assert ended_early > KILLS
    put_many(store, progress, 1)
    assert not list(folder.glob(".*.part")) and size_of(folder) <= room + size_of(kept)


def test_two_processes_put_the_same_run_while_a_third_reads(tmp_path):
    folder, store = tmp_path / "store", RunStore(tmp_path / "store")
    store.put(some_run(KEY, 0, rows=512))
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    writers = [forked(lambda name=name: put_many(store, tmp_path / name / "progress", 60)) for name in ("one", "two")]
    seen, reads = set(), 0
    while writers:
        seen.add(version_of(store.get(KEY)))
        assert KEY in [report["key"] for report in store.reports()]
        reads += 1
        writers = [writer for writer in writers if not os.waitpid(writer, os.WNOHANG)[0]]
    assert [(tmp_path / name / "progress").read_text() for name in ("one", "two")] == ["60", "60"], "both went through"
    assert len(seen) > 1 and reads > 5 and store.problems == []
    assert not [path for path in folder.rglob(".*") if path.name != ".eggs-store"]
