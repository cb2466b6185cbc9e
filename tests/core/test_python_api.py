"""The examples of docs/python-api.md, as they stand there."""

import doctest
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "python-api.md"


@pytest.mark.usefixtures("one_thread")
def test_the_examples_of_the_python_api_page_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    failed, tried = doctest.testfile(str(PAGE), module_relative=False, encoding="utf-8")
    assert tried > 30 and failed == 0
