"""Values from outside against declared types: what is let pass, and the one sentence for what is not."""

import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any, NotRequired

import pytest
from typing_extensions import TypedDict

from eggs_core.validation import Count, Many, Mismatch, Named, Number, Share, Text, build, check, closed, extensible


class Layer(TypedDict):
    name: Text
    shape: Many[Count]
    score: NotRequired[Number | None]


@closed
class Closed(TypedDict):
    layers: Many[Layer]


@extensible
class Extensible(TypedDict):
    share: Share


@closed
@dataclass(frozen=True, slots=True)
class Point:
    x: Number
    inside: Extensible


LAYER = {"name": "q", "shape": [2, 4]}


@pytest.mark.parametrize("more", [{}, {"score": None}, {"score": 3}, {"score": 0.5, "of_tomorrow": [1]}], ids=str)
def test_what_fits_is_the_value_itself(more):
    value = LAYER | more
    before = dict(value)
    assert check(value, Layer) is value and value == before


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"name": 5}, "name should be a valid string; it is 5"),
        ({"name": "x" * 100_001}, "name .* at most 100000"),
        ({"shape": [2, -1]}, r"shape\.1 should be greater than or equal to 0; it is -1"),
        ({"shape": [2, 4.0]}, r"shape\.1 should be a valid integer; it is 4\.0"),
        ({"shape": [2, True]}, r"shape\.1 should be a valid integer; it is true"),
        ({"shape": [10**400]}, r"shape\.0 .*; it is a number of many digits"),
        ({"shape": (2, 4)}, "shape should be a valid list"),
        ({"score": "0.5"}, 'score should be a valid number; it is "0.5"'),
        ({"score": True}, "score should be a valid number"),
        ({"score": 10**400}, "score .*; it is a number of many digits"),
        ({"score": float("nan")}, "score should be a finite number"),
        ({"score": 1e300}, r"score should be less than or equal to"),
        ({"score": "y\n" * 500}, "score .*…$"),
    ],
)
def test_what_does_not_fit_is_named(change, sentence):
    with pytest.raises(Mismatch, match=sentence) as caught:
        check(LAYER | change, Layer)
    assert len(str(caught.value)) < 200 and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (5, "^it should be a valid dictionary; it is 5"),
        ({}, "^it lacks layers"),
        ({"layers": [LAYER, {"name": "k"}]}, r"^layers\.1 lacks shape"),
        ({"layers": [], "more": 1}, "^it has an unknown part 'more'"),
    ],
)
def test_what_is_missing_or_too_much(value, sentence):
    with pytest.raises(Mismatch, match=sentence):
        check(value, Closed)


def test_the_place_of_the_whole_stands_before_that_of_the_part():
    with pytest.raises(Mismatch, match=r"^cell 2\.share should be less") as caught:
        check({"share": 2}, Extensible, "cell 2")
    assert caught.value.place == "cell 2.share"


def test_a_dataclass_is_built_with_what_is_inside_it():
    assert build({"x": 1, "inside": {"share": 1, "more": "y"}}, Point) == Point(1, {"share": 1, "more": "y"})
    for wrong in ({"x": "1", "inside": {"share": 1}}, {"x": 1}, {"x": 1, "inside": {"share": 1}, "y": 2}, [], None):
        with pytest.raises(Mismatch):
            build(wrong, Point)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (dict[str, Many[Number]], {"a": ["x"] * 900_000}),
        (dict[str, Named[Number]], {"a": {str(i): "x" for i in range(900_000)}}),
        (Closed, {"layers": []} | {str(i): 0 for i in range(20_000)}),
    ],
    ids=["list", "object", "keys"],
)
def test_a_million_faults_are_one_sentence_soon(kind: Any, value: dict):
    started = time.monotonic()
    with pytest.raises(Mismatch) as caught:
        check(value, kind)
    assert time.monotonic() - started < 20 and len(str(caught.value)) < 200


def test_the_command_line_shows_its_help_without_pydantic_and_torch():
    code = "import sys, eggs_core.__main__; print(sorted({'pydantic', 'torch', 'transformers'} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
