"""Prune or quantise: the sentence says who wins, the figures show every point, and a missing file is said."""

import math
from dataclasses import replace

import gradio as gr
import pytest

from components.places.runs.front import view
from components.places.runs.front.figures import bytes_figure, in_view, kind_of, speed_figure
from components.places.runs.front.labels import places
from components.places.runs.front.tab import create_front_panel
from components.places.runs.front.words import front_facts, front_reading
from components.state import fronts
from components.state.workspace import Workspace
from eggs_core.errors import EggsError
from eggs_core.evaluation.front import LLAMA_CPP, OURS, Front, Point
from eggs_core.runs.run import Run

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
    assert "with as many bits at <b>2:4 + 4 bits</b> (3.25 bits, 0.951 × the perplexity" in said
    assert "never wins" not in said and "Plain bits win" not in said
    assert "At 3.25 bits a weight 2:4 + 4 bits has 0.951 ×" in said and "pruning wins" in said
    said = front_reading(front(point("2:4 + 4 bits", 3.25, 3.45, "2:4")))
    assert "1.105 ×" in said and "plain bits win" in said and "Pruning never wins here" in said
    said = front_reading(front(point("2:4 + 4 bits", 3.25, 3.3, "2:4"), point("3:4 + 2 bits", 3.25, 3.6, "3:4")))
    assert "Pruning beats" in said and "Plain bits win at <b>3:4 + 2 bits</b> (3.25 bits, 1.284 ×" in said


def test_figures_hold_every_point_that_is_not_far_worse():
    shown = front(point("2:4 + 4 bits", 3.25, 3.3, "2:4", speed=120.0), point("1:4 + 4 bits", 2.1, 6.0, "1:4"))
    drawn = {name for trace in bytes_figure(shown).data[1:] for *_, name in trace.customdata}
    assert drawn == {p.name for p in in_view(shown)} == {"dense", "4 bits", "2 bits", "Q8_0", "2:4 + 4 bits"}
    assert {name for trace in speed_figure(shown).data for *_, name in trace.customdata} == {
        "dense",
        "4 bits",
        "Q8_0",
        "2:4 + 4 bits",
    }
    kinds = {p.name: kind_of(p, shown) for p in shown.points}
    assert kinds["dense"] == "dense" and kinds["4 bits"] == "quantised alone" and kinds["Q8_0"] == LLAMA_CPP
    assert list(bytes_figure(shown).data[0].x) == [2.5, 3.25, 4.5, 8.5, 16.0]


def test_half_the_weights_are_drawn_however_much_they_cost_and_what_is_beyond_is_said():
    shown = front(point("2:4 + 4 bits", 3.25, 4.2, "2:4"), point("1:4 + 8 bits", 2.6, 6.0, "1:4"))
    names = {p.name for p in in_view(shown)}
    assert "2:4 + 4 bits" in names and "1:4 + 8 bits" not in names
    assert "Not drawn, as their perplexity is above 67: 1:4 + 8 bits (403)." in front_facts(shown)
    assert "Not drawn" not in front_facts(front(point("2:4 + 4 bits", 3.25, 4.2, "2:4")))


def test_names_lie_neither_on_each_other_nor_on_points():
    crowd = [(f"name {n}", 1.0 + n % 8, 30.0 + n // 8) for n in range(64)]
    found = places(crowd)
    assert found[0] is not None and None in found  # the first one is named, and not all find room
    apart = [("a", 1.0, 30.0), ("b", 2.0, 40.0), ("c", 3.0, 35.0)]
    assert None not in places(apart) and places([("alone", 1.0, 2.0)]) and places([]) == []


def test_what_rounding_inputs_costs_is_said():
    exact = replace(PLAIN[1], whole_inputs=PLAIN[1].perplexity * 0.99)
    said = front_facts(Front("m", "fp16", "t", "here", "EGGS-PTP+", [PLAIN[0], exact, *PLAIN[2:]]))
    assert "moves a perplexity by 1.01% at most" in said


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


@pytest.mark.parametrize(
    ("model", "front"),
    [
        ("tiny-opt", "tiny-opt"),
        ("tiny-llama", "tiny-llama"),  # not the one that was recovered
        ("HuggingFaceTB/SmolLM2-135M-Instruct (Q4_1)", "SmolLM2-135M"),
        ("owner/SmolLM2-135Mega", ""),
        ("another", ""),
        ("", ""),
    ],
)
def test_a_model_finds_its_front(model, front):
    assert view.front_of(model) == front


def test_opening_shows_the_model_in_view_until_a_visitor_chooses_another(make_run):
    with gr.Blocks(), gr.Tab("a") as tab:
        panel = create_front_panel(tab, gr.State(None))
    workspace = Workspace()
    workspace.show(Run({**make_run("ria").report, "model": "tiny-opt"}, {}))
    opened = panel.open(workspace, None, "")
    assert opened[panel.model].value == "tiny-opt" and opened[panel.opened_on] == "tiny-opt"
    assert panel.open(workspace, "tiny-llama", "tiny-opt")[panel.model].value == "tiny-llama"
    workspace.show(make_run("ria"))  # of a model without a front
    assert panel.open(workspace, "tiny-opt", "tiny-opt")[panel.model].value == "tiny-opt"
    assert panel.open(Workspace(), None, "")[panel.model].value == view.models()[0]
