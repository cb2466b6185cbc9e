"""The lesson's steps: every one can be drawn, and links from other tabs lead to one."""

import pytest

from components.lesson import KEYS, STEPS, bench_value, feedback, measures
from components.text import LESSONS


@pytest.mark.parametrize("step", STEPS, ids=KEYS)
def test_every_step_can_be_drawn_over_its_whole_slider(step):
    _, low, high, _, start = step.slider or ("", 0, 1, 1, 0)
    for level in (low, start, high):
        scene = step.scene(level)
        assert len(bench_value(scene)["mask"]) == 8
        assert "output error" in measures(scene.judge(), scene.pattern, True)
        step.extra(scene, level)


@pytest.mark.parametrize("step", STEPS, ids=KEYS)
def test_only_the_first_answer_is_right(step):
    assert len(set(step.answers)) == 3
    said = [feedback(step, answer) for answer in step.answers]
    assert "Right." in said[0] and not any("Right." in other for other in said[1:]) and feedback(step, None) == ""


def test_links_lead_to_steps_and_steps_have_addresses_of_their_own():
    assert set(LESSONS) <= set(KEYS) and len(set(KEYS)) == len(STEPS)
