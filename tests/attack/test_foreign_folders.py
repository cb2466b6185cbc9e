"""The run store among foreign folders, links and closed folders; keys and names from outside."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import hypothesis.strategies as st
import pytest
from harness import fuzz, junk, only_sentences
from hypothesis import given
from stored import KEY, OTHER, THIRD, age, evict, foreign, size_of, some_run, tree, unmarked, version_of

from eggs_core.errors import EggsError
from eggs_core.runs.store import RunStore

pytestmark = pytest.mark.usefixtures("one_thread")


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
