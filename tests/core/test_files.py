"""Files and folders that appear whole or not at all."""

import os
import time

import pytest

from eggs_core.errors import EggsError
from eggs_core.files import ABANDONED_SECONDS, check_writable, new_folder, replacing, write_json
from eggs_core.reading import read_json


def test_a_file_is_replaced_whole_and_nothing_stays_beside_it(tmp_path):
    target = tmp_path / "a.json"
    write_json(target, [1])
    with pytest.raises(RuntimeError), replacing(target) as part:
        part.write_text("half")
        raise RuntimeError
    assert read_json(target) == [1]
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_two_writers_of_one_file_do_not_meet(tmp_path):
    target = tmp_path / "a"
    with replacing(target) as one, replacing(target) as two:
        assert one != two
        one.write_text("one")
        two.write_text("two")
    assert target.read_text() == "one"  # the outer one ends last


def test_what_a_killed_writer_left_is_swept_once_it_is_old(tmp_path):
    old, young, other = (tmp_path / name for name in (".a.1.part", ".a.2.part", ".b.1.part"))
    for path in (old, young, other):
        path.mkdir()
    then = time.time() - 2 * ABANDONED_SECONDS
    os.utime(old, (then, then))
    os.utime(other, (then, then))
    write_json(tmp_path / "a", 1)
    assert not old.exists()
    assert young.exists()
    assert other.exists()


def test_a_folder_appears_whole(tmp_path):
    with pytest.raises(RuntimeError), new_folder(tmp_path / "out") as part:
        (part / "half").write_text("x")
        raise RuntimeError
    assert not list(tmp_path.iterdir())
    (tmp_path / "out").mkdir()
    with new_folder(tmp_path / "out") as part:
        (part / "whole").write_text("x")
    assert [str(p.relative_to(tmp_path)) for p in sorted(tmp_path.rglob("*"))] == ["out", "out/whole"]
    with pytest.raises(EggsError, match="not empty"), new_folder(tmp_path / "out"):
        pass


def test_writable_is_tried_without_making_anything(tmp_path):
    check_writable(tmp_path / "a" / "b")
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file" / "x", tmp_path / ("x" * 300), "/proc/nothing/x"):
        with pytest.raises(EggsError, match="choose another folder"):
            check_writable(folder)
