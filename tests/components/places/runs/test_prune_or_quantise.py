"""Prune or quantise: the sentence says who wins, the figures show every point, and a missing file is said."""

import math
from dataclasses import replace

import pytest

from components.places.runs.front import view
from components.places.runs.front.figures import bytes_figure, in_view, kind_of, speed_figure
from components.places.runs.front.words import front_facts, front_reading
from components.state import fronts
from eggs_core.errors import EggsError
from eggs_core.evaluation.front import LLAMA_CPP, OURS, Front, Point

EVIL = '<script>alert("${x}")</script>'


def point(name, bits, nats, pattern="1:1", maker=OURS, speed=None):
    return Point(name, maker, pattern, bits, round(1e6 * bits), math.exp(nats), [nats - 0.1, nats, nats + 0.1], speed)


PLAIN = [
    point("dense", 16.0, 3.0, speed=50.0),
    point("4 bits", 4.5, 3.1, speed=90.0),
    point("2 bits", 2.5, 3.5),
    point("Q8_0", 8.5, 3.01, maker=LLAMA_CPP, speed=80.0),
]


def front(*pruned: Point) -> Front:
    return Front("tiny-llama", "fp16", "3 × 4 tokens", "a machine", "EGGS-PTP+", [*PLAIN, *pruned])


def test_the_sentence_says_that_pruning_never_wins():
    said = front_reading(front(point("2:4 + 8 bits", 5.25, 3.2, "2:4")))
    assert "Pruning never wins here" in said and "Of 1 pruned point none" in said and "At " not in said
    assert "4 bits with 90 tokens a second" in said and "Q8_0 with 80" in said


def test_the_sentence_says_where_pruning_wins_and_by_how_much():
    said = front_reading(front(point("2:4 + 4 bits", 3.25, 3.3, "2:4")))
    assert "with as many bits at <b>2:4 + 4 bits</b> (3.25 bits, 27.11)" in said and "never wins" not in said
    assert "At 3.25 bits a weight 2:4 + 4 bits has 0.951 ×" in said and "pruning wins" in said
    said = front_reading(front(point("2:4 + 4 bits", 3.25, 3.45, "2:4")))
    assert "1.105 ×" in said and "plain bits win" in said and "Pruning never wins here" in said


def test_figures_hold_every_point_that_is_not_far_worse():
    shown = front(point("2:4 + 4 bits", 3.25, 3.3, "2:4", speed=120.0), point("1:4 + 4 bits", 2.1, 6.0, "1:4"))
    drawn = {name for trace in bytes_figure(shown).data[1:] for name in trace.text}
    assert drawn == {p.name for p in in_view(shown)} == {"dense", "4 bits", "2 bits", "Q8_0", "2:4 + 4 bits"}
    assert {name for trace in speed_figure(shown).data for name in trace.text} == {
        "dense",
        "4 bits",
        "Q8_0",
        "2:4 + 4 bits",
    }
    kinds = {p.name: kind_of(p, shown) for p in shown.points}
    assert kinds["dense"] == "dense" and kinds["4 bits"] == "quantised alone" and kinds["Q8_0"] == LLAMA_CPP
    assert list(bytes_figure(shown).data[0].x) == [2.5, 3.25, 4.5, 8.5, 16.0]


def test_names_are_escaped():
    evil = front(point(EVIL, 3.25, 3.3, "2:4"))
    evil = replace(evil, model=EVIL, text=EVIL, machine=EVIL, weights=EVIL, method=EVIL)
    for said in (front_reading(evil), front_facts(evil)):
        assert "<script" not in said and "${" not in said


def test_a_missing_file_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(fronts, "SHIPPED", tmp_path / "none.json")
    fronts.fronts.cache_clear()
    with pytest.raises(EggsError, match="cannot be read"):
        view.front_named("tiny-llama")
    fronts.fronts.cache_clear()


def test_what_ships_can_be_shown():
    assert "tiny-llama" in view.models()
    for model in view.models():
        found = view.front_named(model)
        assert found.model == model and any(p.pruned for p in found.points)
        assert any(p.maker == LLAMA_CPP for p in found.points) and len(front_reading(found)) > 100
    assert view.front_named("another").model == view.models()[0]
