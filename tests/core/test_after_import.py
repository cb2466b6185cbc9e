"""What is asked for is done to a module when its code has run, once, whoever imports it."""

import importlib
import importlib.util
import sys

import pytest

from eggs_core.after_import import after_import


@pytest.fixture
def name(tmp_path, monkeypatch):
    (tmp_path / "imported_later.py").write_text("value = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "imported_later"
    sys.modules.pop("imported_later", None)


def test_it_is_done_when_the_module_is_imported_and_once(name):
    before, seen = [*sys.meta_path], []
    after_import(name, lambda module: seen.append(module.value))
    assert importlib.util.find_spec(name) is not None and seen == []  # looking for it is no import
    module = importlib.import_module(name)
    assert seen == [1] and sys.meta_path == before
    importlib.reload(module)
    assert seen == [1]


def test_it_is_done_at_once_where_the_module_is_there(name):
    importlib.import_module(name)
    before, seen = [*sys.meta_path], []
    after_import(name, lambda module: seen.append(module.value))
    assert seen == [1] and sys.meta_path == before


def test_a_module_that_fails_is_waited_for_again(name, tmp_path):
    seen = []
    after_import(name, lambda module: seen.append(module.value))
    (tmp_path / "imported_later.py").write_text("raise OSError\n")
    importlib.invalidate_caches()
    with pytest.raises(OSError):
        importlib.import_module(name)
    (tmp_path / "imported_later.py").write_text("value = 12345\n")
    importlib.invalidate_caches()
    importlib.import_module(name)
    assert seen == [12345]
