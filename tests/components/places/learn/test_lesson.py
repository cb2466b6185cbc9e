"""The lesson's steps: every one can be drawn, says what is true, and links from other tabs lead to one."""

import pytest
import torch

from components.places.learn.lesson import figures
from components.places.learn.lesson.scene import bench_value, feedback, measures
from components.places.learn.lesson.steps import KEYS, STEPS
from components.words.glossary import LESSONS
from eggs_core.errors import EggsError
from eggs_core.pruning.toy_layer import BEST_FOUND, read_mask
from eggs_core.registry import METHODS


def step_of(key: str):
    return STEPS[KEYS.index(key)]


@pytest.mark.parametrize("step", STEPS, ids=KEYS)
def test_every_step_can_be_drawn_over_its_whole_control(step):
    _, low, high, by, _ = step.slider or ("", 0, len(step.choice[1]) - 1 if step.choice else 0, 1, 0)
    for level in (low, step.start, low + by, high):
        scene = step.scene(min(level, high))
        assert len(bench_value(scene)["mask"]) == 8
        assert measures(scene, step.shows).count('class="mini"') == len(step.shows) - (
            "valid" in step.shows and scene.pattern is None
        )
        assert "nan" not in step.extra(scene, min(level, high))


@pytest.mark.parametrize("step", STEPS, ids=KEYS)
def test_every_answer_has_its_own_words_and_only_the_first_is_right(step):
    answers = [answer for answer, _ in step.answers]
    said = [feedback(step, answer) for answer in answers]
    assert len(set(answers)) == len({words for _, words in step.answers}) == 3
    assert "Right." in said[0] and not any("Right." in other for other in said[1:])
    assert "Right." not in feedback(step, None) and "Right." not in feedback(step, "<b>")


def test_links_lead_to_steps_and_steps_have_addresses_of_their_own():
    assert set(LESSONS) <= set(KEYS) and len(set(KEYS)) == len(STEPS)


def test_a_dropped_row_makes_its_output_0_as_the_first_step_says():
    scene = step_of("weights").scene(0)
    dropped = scene.clicked("0" * 8 + "1" * 56)
    row = figures.outputs(dropped, 0).split("<tr>")[2]
    assert "<b>0.0</b>" in row and "<td>0.0</td>" not in row


def test_a_group_that_does_not_hold_is_marked_where_it_is_stored():
    scene = step_of("n-m").scene(2)
    assert "misfit" not in figures.stored(scene, 2) and "36 bits instead of 64" in figures.stored(scene, 2)
    bits = "".join(str(b) for b in scene.mask.int().flatten().tolist())
    broken = scene.clicked(("0" if bits[0] == "1" else "1") + bits[1:])
    assert figures.stored(broken, 2).count("misfit") == 1 and "cannot hold" in figures.stored(broken, 2)


def test_ria_is_unmoved_by_a_columns_scale_where_the_others_are_not():
    def count(method, level):
        return int(
            figures.kept_by_method(step_of("ria").scene(level), level).split(method)[1].split("<td")[5].split(">")[1][0]
        )

    assert [count("RIA", level) for level in (0.25, 1, 4)] == [4, 4, 5]
    assert [count("Magnitude", level) for level in (0.25, 1, 4)] == [0, 4, 8]


def test_framed_weights_are_kept_and_every_column_has_b_of_them():
    for level in range(5):
        scene = step_of("eggs").scene(level)
        assert (scene.marks <= scene.mask).all() and scene.marks.sum(0).tolist() == [level] * 8


def test_halves_are_valid_without_orphans_and_bridges_widen_the_gap():
    found = [step_of("bottlenecks").scene(level).judge() for level in range(9)]
    assert all(not j.orphans and not j.wrong_groups for j in found)
    gaps = [j.gap for j in found]
    assert gaps[0] == pytest.approx(0, abs=1e-6) and gaps == sorted(gaps) and gaps[-1] > 0.4


def test_the_exact_bound_keeps_more_of_the_score_than_diagonals_with_the_same_promise():
    for level, beta in ((1, 0.25), (2, 0.5), (3, 0.75), (4, 1.0)):
        diagonal, exact = step_of("eggs").scene(level).judge(), step_of("degree-bound").scene(beta).judge()
        assert min(exact.in_degrees) >= level and exact.retained > diagonal.retained


def test_the_challenge_says_what_is_missing_and_who_won():
    scene = step_of("challenge").scene(0)
    assert "input 4 is cut off" in figures.challenge(scene, 0)
    assert "group 1 of row 1" in figures.challenge(scene.clicked("1" * 64), 0)
    won = scene.clicked("".join(BEST_FOUND))
    assert "You beat EGGS-PTP by 13.6 points" in figures.challenge(won, 0)


def test_a_weight_that_comes_back_has_its_first_value():
    refitted = step_of("order").scene(2)
    back = refitted.clicked("1" * 64)
    dropped = ~refitted.mask
    assert torch.equal(back.values[dropped], refitted.layer.weight[dropped])
    assert torch.equal(back.values[refitted.mask], refitted.values[refitted.mask])


def test_costs_compare_the_shipped_runs_of_all_methods():
    assert list(figures.shipped()) == list(METHODS)


@pytest.mark.parametrize("bits", ["", "1" * 63, "1" * 63 + "2", "<" * 64, "1" * 10_000])
def test_a_mask_that_is_none_is_refused(bits):
    with pytest.raises(EggsError, match="64 zeros and ones"):
        read_mask(bits)
