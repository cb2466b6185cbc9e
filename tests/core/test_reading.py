"""JSON and YAML from outside, read within bounds."""

import time

import pytest

from eggs_core.reading import MOST_DEPTH, parse_json, parse_yaml


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "[" * 100_000 + "]" * 100_000,
        '{"a":' * 100_000 + "1" + "}" * 100_000,
        "[NaN]",
        "[-Infinity]",
        "[1e999]",
        '["\\ud800"]',
        '"' + '\\"' * 50_000,
        "1" * 5000,
        "",
        b"\xff\xfe",
    ],
    ids=lambda text: repr(text)[:20],
)
def test_json_that_no_program_can_go_on_with_is_a_value_error(text):
    started = time.process_time()
    with pytest.raises(ValueError):
        parse_json(text)
    assert time.process_time() - started < 5


def test_brackets_in_strings_are_no_nesting():
    deep = "[" * MOST_DEPTH + "]" * MOST_DEPTH
    parse_json(deep)
    assert parse_json('["' + "[" * 1000 + '\\"]"]') == ["[" * 1000 + '"]']
    assert parse_json('["\\ud83e\\udd5a"]') == ["🥚"]


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, "- " * 100_000 + "1", "a: &a [1]\nb: *a\n", "\x00", "a: b: c"],
    ids=lambda text: repr(text)[:20],
)
def test_yaml_that_no_program_can_go_on_with_is_a_value_error(text):
    started = time.process_time()
    with pytest.raises(ValueError):
        parse_yaml(text)
    assert time.process_time() - started < 5


def test_ordinary_yaml():
    assert parse_yaml("a: [1, 2]\nb:\n - c: 2:4\n") == {"a": ["1", "2"], "b": [{"c": "2:4"}]}
    assert parse_yaml("!!python/object/apply:os.system [ls]") == ["ls"]
