"""The lesson's events, as a page sends them that is a step behind, or whose session the server has forgotten."""

import asyncio

import pytest
import torch
from gradio.state_holder import SessionState

import eggs_core.pruning.toy_layer as toy_layer_module
from app import build_app
from components.places.learn.lesson.scene import bench_value, measures
from components.places.learn.lesson.steps import KEYS, STEPS
from components.places.learn.lesson.tab import level_of


@pytest.fixture(scope="module")
def answer_of():
    """What the server gives for an event of the lesson by its name, in a session that it has never seen."""
    app = build_app()
    app.state_session_capacity = 1
    events = {getattr(event.fn, "__name__", ""): event for event in app.fns.values() if event.fn}

    def ask(name: str, *values):
        return asyncio.run(app.process_api(events[name], [*values, None], state=SessionState(app)))["data"]

    return ask


def test_an_answer_is_judged_whatever_the_session_holds(answer_of):
    step = STEPS[KEYS.index("magnitude")]
    message, *_ = answer_of("answer", "magnitude", step.right)
    assert "Right." in message
    message, *_ = answer_of("answer", "magnitude", STEPS[0].right)  # of the step before
    assert "Right." not in message and "Not quite" not in message


def test_a_slider_of_another_step_is_answered_from_the_start(answer_of):
    bench, *_ = answer_of("slide", "degree-bound", 64, None)
    at_start, *_ = answer_of("slide", "degree-bound", STEPS[KEYS.index("degree-bound")].start, None)
    assert bench == at_start


def test_levels_are_those_of_the_steps_own_control():
    assert level_of("magnitude", 32, None) == 32
    assert level_of("magnitude", 640, None) == level_of("magnitude", "32", None) == 64
    assert level_of("why-prune", 5, "7 billion") == 1
    assert level_of("why-prune", 5, ["7 billion"]) == level_of("why-prune", 5, "weights") == 0


def test_a_model_that_is_made_beside_it_changes_nothing():
    """Transformers sets torch's default dtype for all threads while it makes a model of 16 bits."""
    before = [(bench_value(scene := step.scene(step.start)), measures(scene, step.shows)) for step in STEPS]
    cached = [value for value in vars(toy_layer_module).values() if hasattr(value, "cache_clear")]
    torch.set_default_dtype(torch.float16)
    try:
        for value in cached:
            value.cache_clear()
        after = [(bench_value(scene := step.scene(step.start)), measures(scene, step.shows)) for step in STEPS]
        for step in STEPS:
            step.extra(step.scene(step.start), step.start)
    finally:
        torch.set_default_dtype(torch.float32)
        for value in cached:
            value.cache_clear()
    assert cached and after == before
