"""The run store beside foreign folders, links, full disks, closed folders, other processes and sudden death."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import hypothesis.strategies as st
import pytest
import torch
from filelock import FileLock
from harness import ROOT, fuzz, junk, killed, only_sentences
from hypothesis import given

from eggs_core.errors import EggsError
from eggs_core.masks import pack_bits
from eggs_core.runs import Run, load_run, save_run
from eggs_core.store import RunStore

pytestmark = pytest.mark.usefixtures("one_thread")
KEY, OTHER, THIRD = "0123456789abcdef", "fedcba9876543210", "00000000deadbeef"
LONG_AGO = 1_000_000  # Unix time


def some_run(key: str = KEY, version: int = 0, rows: int = 8) -> Run:
    """A run in which report, masks, top-N masks and order all tell its version, from 0 to 3."""
    mask = (torch.arange(16) % 4 == version).expand(rows, 16)
    layer = {"name": "a.b", "shape": [rows, 16], "block": 0}
    report = {"key": key, "model": "m", "pattern": "1:4", "method": "ria", "seed": version, "layers": [layer]}
    report |= {"evaluation": {}, "size": {}, "schema": 1}
    masks = {"a.b": pack_bits(mask)}
    return Run(report, masks, dict(masks), {"a.b": torch.arange(16).roll(version)})


def version_of(run: Run) -> int:
    """The version that all parts of a run agree on."""
    version = run.report["seed"]
    expected = some_run(run.key, version, run.report["layers"][0]["shape"][0])
    assert torch.equal(run.packed_masks["a.b"], expected.packed_masks["a.b"])
    assert torch.equal(run.packed_topn["a.b"], expected.packed_topn["a.b"])
    assert torch.equal(run.permutations["a.b"], expected.permutations["a.b"])
    return version


def tree(folder: Path) -> dict[str, bytes | str | None]:
    """All that lies in a folder: a file's bytes, where a link leads, None for a folder."""
    return {
        str(path.relative_to(folder)): os.readlink(path)
        if path.is_symlink()
        else path.read_bytes()
        if path.is_file()
        else None
        for path in sorted(folder.rglob("*"))
    }


def size_of(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir() or path.is_symlink())


def age(folder: Path, when: float = LONG_AGO) -> None:
    for path in (*folder.rglob("*"), folder):
        os.utime(path, (when, when), follow_symlinks=False)


def foreign(place: Path, **files: str) -> Path:
    place.mkdir(parents=True)
    for name, text in ({"mine_txt": "years of work"} | files).items():
        (place / name.replace("_", ".")).write_text(text)
    age(place)
    return place


def evict(store: Path, keys: tuple[str, ...] = (OTHER, THIRD)) -> None:
    """Put runs into a store in which there is room for none."""
    for key in keys:
        RunStore(store, most_bytes=1).put(some_run(key))


FOREIGN: dict[str, Callable[[Path], Path]] = {
    "a folder": lambda s: foreign(s / "photos"),
    "a folder with a report": lambda s: foreign(s / "thesis", report_json="{}"),
    "named like a key": lambda s: foreign(s / "aaaaaaaaaaaaaaaa", report_json='{"key": "aaaaaaaaaaaaaaaa"}'),
    "named like a damaged run": lambda s: foreign(s / "damaged-photos"),
    "named exactly like a damaged run": lambda s: foreign(s / "damaged-aaaaaaaaaaaaaaaa-0", report_json="{}"),
    "an unfinished download": lambda s: foreign(s / ".movie.part"),
    "named like an unfinished run": lambda s: foreign(s / f".{KEY}.abcd1234.part"),
    "a checkpoint": lambda s: foreign(s / ".checkpoints" / "aaaaaaaaaaaaaaaa"),
    "a copy of a run": lambda s: Path(shutil.copytree(s / KEY, s / "backup")),
    "a note beside a run": lambda s: foreign(s / KEY / "notes"),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_what_is_not_the_stores_is_neither_shown_nor_removed(tmp_path, what):
    store = RunStore(tmp_path)
    store.put(some_run())
    place = FOREIGN[what](tmp_path)
    before = tree(place)
    age(tmp_path)
    assert [report["key"] for report in store.reports()] == [KEY] and not store.problems
    evict(tmp_path)
    store.remove(OTHER)
    store.remove("aaaaaaaaaaaaaaaa")
    assert tree(place) == before
    assert [report["key"] for report in store.reports()] == [THIRD] and not store.problems


@fuzz
@given(
    st.sampled_from(
        [KEY, "a" * 16, "photos", f"damaged-{KEY}-0", f".{KEY}.abcdefgh.part", ".checkpoints", ".git", "ü"]
    ),
    st.dictionaries(st.sampled_from(["report.json", "masks.safetensors", ".eggs-store", "x"]), junk, min_size=1),
    st.booleans(),
)
def test_nothing_foreign_is_lost_whatever_it_is(tmp_path_factory, name, files, is_store):
    folder = tmp_path_factory.mktemp("store")
    if is_store:
        RunStore(folder).put(some_run(OTHER))
    foreign(folder / name, **{file.replace(".", "_"): json.dumps(value) for file, value in files.items()})
    before = tree(folder / name)
    store = RunStore(folder, most_bytes=1)
    for act in (store.reports, lambda: store.get(KEY), lambda: store.put(some_run(KEY)), lambda: store.remove(KEY)):
        with only_sentences():
            act()
    assert tree(folder / name) == before
    shutil.rmtree(folder)


def test_a_folder_that_is_no_store_is_refused(tmp_path):
    foreign(tmp_path / "photos")
    before, store = tree(tmp_path), RunStore(tmp_path)
    with pytest.raises(EggsError, match=r"neither empty nor a run store.*choose an empty folder with EGGS_STORE"):
        store.put(some_run())
    assert store.reports() == [] and store.get(KEY) is None and store.label(KEY) == ""
    assert len(store.problems) == 1 and "neither empty nor a run store" in store.problems[0]
    store.remove(KEY)
    assert tree(tmp_path) == before
    shutil.rmtree(tmp_path / "photos")
    assert store.problems == []
    store.put(some_run())
    assert version_of(store.get(KEY)) == 0


@pytest.mark.parametrize("folder", ["a file", "in a file", "x" * 300, "\0"])
def test_a_folder_that_cannot_be_is_a_sentence(tmp_path, folder):
    (tmp_path / "a file").write_text("mine")
    store = RunStore(tmp_path / folder / "store" if folder == "in a file" else tmp_path / folder)
    if folder == "in a file":
        store = RunStore(tmp_path / "a file" / "store")
    assert store.reports() == [] and store.get(KEY) is None and len(store.problems) == 1
    with pytest.raises(EggsError, match="choose an empty folder"):
        store.put(some_run())
    assert tree(tmp_path) == {"a file": b"mine"}


@contextmanager
def without_rights() -> Iterator[None]:
    """Be nobody for a while if this is root, who may do everything."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("mode", [0o000, 0o500])
def test_a_closed_folder_is_a_sentence(tmp_path, mode):
    folder = tmp_path / "store"
    RunStore(folder).put(some_run())
    for place in (*tmp_path.parents, tmp_path):
        if place.stat().st_uid == os.geteuid() and place != Path("/tmp"):
            place.chmod(0o755)
    if not os.geteuid():
        for path in (folder, *folder.rglob("*")):
            os.chown(path, 65534, 65534)
    before = tree(folder)
    folder.chmod(mode)
    try:
        with without_rights():
            store = RunStore(folder, most_bytes=1)
            readable = mode == 0o500
            assert [report["key"] for report in store.reports()] == [KEY] * readable
            assert (store.get(KEY) is not None) == readable
            assert len(store.problems) == (not readable)
            with pytest.raises(EggsError):
                store.put(some_run(OTHER))
            store.remove(OTHER)
    finally:
        folder.chmod(0o755)
    assert tree(folder) == before


def unmarked(run: Run, folder: Path) -> Path:
    """A run as stores without marks kept it."""
    save_run(run, folder)
    return folder


def test_a_store_of_today_goes_on(tmp_path):
    shipped = next((ROOT / "assets" / "runs").glob("tiny-llama-2of4-wanda"))
    key = load_run(shipped).key
    shutil.copytree(shipped, tmp_path / key)
    unmarked(some_run(OTHER), tmp_path / OTHER)
    (tmp_path / OTHER / "label.txt").write_text("for class")
    (unmarked(some_run(), tmp_path / f"damaged-{KEY}-0") / "report.json").write_text("{")
    unmarked(some_run(OTHER), tmp_path / ".checkpoints" / OTHER)
    (tmp_path / f".{KEY}-abcd_123").mkdir()
    (tmp_path / f".{KEY}-abcd_123" / "masks.safetensors").write_text("half")
    age(tmp_path)
    store = RunStore(tmp_path)
    assert {report["key"]: report["label"] for report in store.reports()} == {key: "", OTHER: "for class"}
    assert version_of(store.get(OTHER)) == 0
    assert store.get(key).report == load_run(shipped).report and store.problems == []
    evict(tmp_path, (THIRD,))
    assert [path.name for path in tmp_path.iterdir() if path.name != ".checkpoints"] == [THIRD]
    assert not list((tmp_path / ".checkpoints").iterdir())


def test_the_limit_is_that_of_all_that_is_on_disk(tmp_path):
    for key, when in ((KEY, 1), (OTHER, 2)):
        RunStore(tmp_path).put(some_run(key, rows=2048))
        age(tmp_path / key, LONG_AGO + when)
    run = size_of(tmp_path / KEY)
    (tmp_path / OTHER / "report.json").write_text("{")
    assert RunStore(tmp_path).get(OTHER) is None, "damaged"
    checkpoint = unmarked(some_run(KEY, rows=2048), tmp_path / ".checkpoints" / KEY)
    (checkpoint / "model.safetensors").write_bytes(bytes(20 * run))
    half = tmp_path / f".{OTHER}.abcdefgh.part"
    half.mkdir()
    (half / "masks.safetensors").write_bytes(bytes(20 * run))
    age(half)
    store = RunStore(tmp_path, most_bytes=25 * run)
    store.put(some_run(THIRD, rows=2048))
    assert not half.exists(), "abandoned"
    assert checkpoint.exists() and store.get(KEY), "there was room for it"
    assert size_of(tmp_path) <= 25 * run
    store = RunStore(tmp_path, most_bytes=49 * run // 2)
    store.put(some_run("aa11", rows=2048))
    assert not list(tmp_path.glob("damaged-*")) and checkpoint.exists() and size_of(tmp_path) <= 49 * run // 2
    store = RunStore(tmp_path, most_bytes=5 * run)
    store.put(some_run("bb22", rows=2048))
    assert {report["key"] for report in store.reports()} == {THIRD, "aa11", "bb22"}
    assert not checkpoint.exists() and size_of(tmp_path) <= 5 * run


def test_checkpoints_are_swept_but_not_under_anybodys_hands(tmp_path):
    RunStore(tmp_path).put(some_run())
    places = {name: tmp_path / ".checkpoints" / (name * 16) for name in "abcde"}
    for place in places.values():
        unmarked(some_run(place.name), place)
        (place / ".unfinished").mkdir()
        (place / ".unfinished" / "lock").touch()
    for name in "abc":
        (places[name] / ".unfinished" / "state.json").write_text(json.dumps({"input": {"config": name * 16}}))
    hours = {"a": 24 * 30, "b": 24 * 30, "c": 24, "d": 24, "e": 0}
    for name, place in places.items():
        age(place, time.time() - 3600 * hours[name])
    with FileLock(places["a"] / ".unfinished" / "lock"):
        evict(tmp_path)
        assert {name for name, place in places.items() if place.exists()} == {"a", "c", "e"}
    assert places["c"].exists(), "somebody may go on with it"
    age(places["a"])
    evict(tmp_path)
    assert {name for name, place in places.items() if place.exists()} == {"c", "e"}


def test_a_pruned_model_that_the_store_cannot_hold_is_refused_before_the_work(tmp_path, monkeypatch):
    store = RunStore(tmp_path)
    with pytest.raises(EggsError, match=r"takes 13\.5 GB and the run store holds 2 GB at most; set EGGS_STORE_GB"):
        store.claim(KEY, 13_500_000_000)
    assert not list(tmp_path.iterdir())
    monkeypatch.setenv("EGGS_STORE_GB", "14")
    store.claim(KEY, 13_500_000_000)
    assert store.checkpoint(KEY).is_dir()
    foreign(tmp_path / ".checkpoints" / OTHER)
    with pytest.raises(EggsError, match="was not made by the run store"):
        store.claim(OTHER, 1)
    for size in ("lots", "nan", "0", "-1", "inf"):
        monkeypatch.setenv("EGGS_STORE_GB", size)
        with pytest.raises(EggsError, match="takes a number of gigabytes"):
            store.check()
        assert store.reports() == [] and len(store.problems) == 1


def test_links_are_not_followed(tmp_path):
    folder, outside = tmp_path / "store", tmp_path / "outside"
    store = RunStore(folder)
    store.put(some_run(OTHER))
    unmarked(some_run(), outside / KEY)
    foreign(outside / "checkpoints" / OTHER)
    (outside / "big").write_bytes(bytes(10**6))
    (outside / "label").write_text("mine")
    (folder / KEY).symlink_to(outside / KEY)
    (folder / f"damaged-{KEY}-0").symlink_to(outside / KEY)
    (folder / f".{KEY}.abcdefgh.part").symlink_to(outside)
    (folder / ".checkpoints").symlink_to(outside / "checkpoints")
    (folder / OTHER / "label.txt").symlink_to(outside / "label")
    age(tmp_path)
    before = tree(outside)
    assert [report["key"] for report in store.reports()] == [OTHER] and store.get(KEY) is None
    for act in (lambda: store.put(some_run(version=1)), lambda: store.set_label(KEY, "x")):
        with pytest.raises(EggsError):
            act()
    store.set_label(OTHER, "x")
    assert store.label(OTHER) == "x"
    store.remove(KEY)
    (folder / OTHER / "details.safetensors").unlink()
    (folder / OTHER / "details.safetensors").symlink_to(outside / "big")
    RunStore(folder, most_bytes=size_of(folder / OTHER) + 10_000).put(some_run(THIRD))
    assert {report["key"] for report in store.reports()} == {OTHER, THIRD}, "what links lead to was counted"
    evict(folder, ("aa11",))
    store.remove("aa11")
    assert tree(outside) == before
    assert (folder / KEY).is_symlink() and (folder / ".checkpoints").is_symlink()


def test_a_store_may_be_a_link_itself(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    RunStore(tmp_path / "link").put(some_run())
    assert version_of(RunStore(tmp_path / "disk").get(KEY)) == 0


@pytest.mark.parametrize("key", ["é" * 16, "²", "x" * 300, "a\0b", "\ud800", None, 7, ["a"]])
def test_what_is_no_key_is_a_sentence(tmp_path, key):
    store = RunStore(tmp_path)
    for act in (store.get, store.label, store.remove, store.checkpoint, lambda k: store.put(some_run(k))):
        with pytest.raises(EggsError, match="no key of a run"):
            act(key)
    assert not list(tmp_path.iterdir())


@fuzz
@given(st.text(st.characters()) | st.text(st.sampled_from("a \t\n\0\x1b\u202e\u2028\ud800\udfff🥚é"), max_size=300))
def test_any_name_is_kept_as_one_line_that_can_be_printed(tmp_path, text):
    store = RunStore(tmp_path)
    if not (tmp_path / KEY).exists():
        store.put(some_run())
    store.set_label(KEY, text)
    label = store.label(KEY)
    assert len(label) <= 120 and label.isprintable()
    assert store.reports()[0]["label"] == label == RunStore(tmp_path).label(KEY)
    (tmp_path / KEY / "label.txt").write_bytes(text.encode("utf-16", "surrogatepass"))
    assert store.label(KEY).isprintable()


def test_many_damaged_runs_of_one_key_are_all_set_aside(tmp_path):
    store = RunStore(tmp_path)
    for number in range(3):
        store.put(some_run())
        (tmp_path / KEY / "report.json").write_text("{")
        assert store.get(KEY) is None and len(store.problems) == number + 1
    shutil.rmtree(tmp_path / f"damaged-{KEY}-0")
    store.put(some_run())
    (tmp_path / KEY / "report.json").write_text("{")
    assert store.reports() == [] and not (tmp_path / KEY).exists()
    assert len(list(tmp_path.glob("damaged-*"))) == 3


FULL = """
import resource, sys; sys.path[:0] = [{here!r}]
from pathlib import Path
from test_store import OTHER, EggsError, RunStore, some_run
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
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
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


PUT = """
import os, sys; sys.path[:0] = [{here!r}]
from pathlib import Path
from test_store import KEY, RunStore, some_run
folder, progress, rounds, most = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
store = RunStore(folder, most_bytes=most)
first = int(progress.read_text() or 0) if progress.exists() else 0
store.reports()
print("go", flush=True)
for number in range(first + 1, first + 1 + rounds):
    store.put(some_run(KEY, number % 4, rows=512))
    store.put(some_run(f"{{number:016x}}", number % 4, rows=512))
    part = progress.with_name("part")
    part.write_text(str(number))
    os.replace(part, progress)
"""


def test_a_killed_put_leaves_the_store_as_before_or_as_after(tmp_path):
    folder, progress = tmp_path / "store", tmp_path / "progress"
    store, script = RunStore(folder), PUT.format(here=str(Path(__file__).parent))
    store.put(some_run(KEY, 0, rows=512))
    room = 12 * size_of(folder)
    kept = foreign(folder / "photos")
    before = tree(kept)

    def check(_finished: bool) -> None:
        done = int(progress.read_text()) if progress.exists() else 0
        assert version_of(store.get(KEY)) in (done % 4, (done + 1) % 4)
        if done:
            assert version_of(store.get(f"{done:016x}")) == done % 4
        coming = store.get(f"{done + 1:016x}")
        assert coming is None or version_of(coming) == (done + 1) % 4
        keys = [report["key"] for report in store.reports()]
        assert KEY in keys and all(store.get(key) is not None and version_of(store.get(key)) >= 0 for key in keys)
        assert store.problems == [] and not list(folder.glob("damaged-*")) and tree(kept) == before
        for part in folder.glob(".*.part"):
            age(part)

    ended_early = killed(script, [str(folder), str(progress), "20", str(room)], check, seed=18)
    assert ended_early > 10
    RunStore(folder, most_bytes=room).put(some_run(KEY, 1, rows=512))
    assert not list(folder.glob(".*.part")) and size_of(folder) <= room + size_of(kept)


def test_two_processes_put_the_same_run_while_a_third_reads(tmp_path):
    folder, store = tmp_path / "store", RunStore(tmp_path / "store")
    store.put(some_run(KEY, 0, rows=512))
    script = PUT.format(here=str(Path(__file__).parent))
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(folder), str(tmp_path / name / "progress"), "60", str(10**9)],
            cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True,
        )
        for name in ("one", "two") if not (tmp_path / name).mkdir()
    ]  # fmt: skip
    for writer in writers:
        assert writer.stdout.readline() == "go\n"
    seen, reads = set(), 0
    while any(writer.poll() is None for writer in writers):
        seen.add(version_of(store.get(KEY)))
        assert KEY in [report["key"] for report in store.reports()]
        reads += 1
    assert [writer.wait() for writer in writers] == [0, 0]
    assert len(seen) > 1 and reads > 5 and store.problems == []
    assert not [path for path in folder.rglob(".*") if path.name != ".eggs-store"]
    for writer in writers:
        writer.stdout.close()
