"""The lesson's steps: every one can be drawn, says what is true, and links from other tabs lead to one."""

import pytest
import torch

from components.places.learn.lesson import figures, model_figures
from components.places.learn.lesson.scene import bench_value, feedback, measures
from components.places.learn.lesson.steps import KEYS, STEPS
from components.state.fronts import fronts
from components.words.glossary import LESSONS
from eggs_core.errors import EggsError
from eggs_core.evaluation.front import beside_plain
from eggs_core.pattern import NMPattern
from eggs_core.pruning.toy_layer import BEST_FOUND, judge, promised, read_mask, star_marks, toy_layer, two_halves
from eggs_core.registry import METHODS

HALF = NMPattern(2, 4)


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
    row = figures.outputs(dropped, 0).split("<tr")[2]
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
    assert [count("Magnitude", level) for level in (0.25, 1, 4)] == [0, 4, 5]


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


def test_the_climax_is_true_an_exact_promise_is_cheap_and_equal_degrees_are_not_yet_an_expander():
    """What the words of EGGS and Degree bound say of the table below them."""
    by_diagonals, exact = zip(*([judge(toy_layer(), m, HALF) for m in promised(b)] for b in range(5)), strict=True)
    assert exact[0].orphans and not any(j.orphans for j in (*by_diagonals[1:], *exact[1:]))
    for bound in (1, 2):  # cheap: an hundredth of the score and of the error, and the gap of all inputs is no smaller
        assert exact[bound].retained > 0.99 and exact[bound].error < 1.01 * exact[0].error
        assert by_diagonals[bound].error > 1.1 * exact[bound].error
    assert exact[2].gap > exact[0].gap
    assert exact[1].gap < exact[2].gap < exact[3].gap > exact[4].gap + 0.02
    equal = (by_diagonals[4], exact[4], judge(toy_layer(), two_halves(0), HALF))
    assert all(set(j.in_degrees) == {4} for j in equal)
    assert equal[0].gap > equal[1].gap + 0.05 and equal[2].gap == pytest.approx(0, abs=1e-6)


def test_the_table_of_promises_shows_them_all_and_marks_the_one_in_view():
    for key, level in (("eggs", 2), ("degree-bound", 0.5)):
        html = figures.promises(step_of(key).scene(level), level)
        assert html.count("<tr") == 7 and html.count("class=chosen") == 1
        assert html.split("class=chosen")[1].startswith('><th scope="row">2<')
        assert f"{judge(toy_layer(), promised(2)[1], HALF).error:.3f}" in html


def test_the_gap_says_what_it_leaves_out():
    scene = step_of("orphans").scene(2)
    assert "1 orphan left out" in measures(scene, ("gap",)) and scene.judge().orphans == [3]
    assert "left out" not in measures(step_of("bottlenecks").scene(0), ("gap",))


def test_half_of_the_weights_are_about_a_sixth_of_the_outputs():
    assert 0.15 <= step_of("magnitude").scene(32).judge().error <= 0.185


def test_a_loud_inputs_small_weights_are_often_kept():
    loud, quiet = (int(step_of("wanda").scene(level).mask[:, figures.LOUD_INPUT].sum()) for level in (60, 1))
    assert quiet == 0 and loud >= 4
    assert toy_layer().weight.abs().sum(0).argmin() == figures.LOUD_INPUT


def test_places_take_as_many_bits_as_the_step_on_n_m_says():
    assert HALF.position_bits == 2 and (4096 - 1).bit_length() == 12


def test_a_signal_ends_in_proportion_to_lines():
    scene = step_of("expander").scene(0)
    html = figures.signal(scene, figures.SIGNAL_STEPS)
    assert "away from fully mixed" in html
    goals = (scene.mask.sum(0) / scene.mask.sum()).tolist()
    assert all(f">of {goal:.0%}<" in html for goal in goals)


def test_a_step_that_asks_for_a_prediction_shows_the_answer_where_it_says():
    waiting = [step for step in STEPS if step.reveal is not None]
    assert len(waiting) >= 5
    for step in waiting:
        assert (step.slider or step.choice) and step.reveal != step.start
        assert "Predict" in feedback(step, None)


def test_new_values_undo_part_of_the_error_and_bring_no_orphan_back():
    found = [step_of("re-fitting").scene(level).judge() for level in range(3)]
    assert found[1].error < found[0].error and found[2].error < found[0].error
    assert found[1].orphans == found[0].orphans and found[0].in_degrees == found[1].in_degrees


def test_fourteen_gigabytes_are_more_than_a_phone_and_half_of_them_packed_fit_it():
    html = model_figures.memory(step_of("why-prune").scene(1), 1)
    assert "14.0 GB" in html and model_figures.packed_share() == 0.5625
    assert model_figures.PHONE < 14 and 14 * model_figures.packed_share() < model_figures.PHONE


def test_bars_of_perplexity_start_at_the_dense_models():
    html = model_figures.costs(step_of("costs").scene(0), 0)
    values = {name: run.report["evaluation"]["pruned"]["perplexity"] for name, run in model_figures.shipped().items()}
    dense = next(iter(model_figures.shipped().values())).report["evaluation"]["dense"]["perplexity"]
    ratio = (values["ria"] - dense) / (max(values.values()) - dense)
    assert f"width:{ratio:.1%}" in html and f"{dense:.1f}, all weights" in html and "not at 0" in html


def test_the_best_plan_keeps_most_of_the_first_block_and_is_predicted_to_lose_less():
    table = model_figures.sensitivities()
    first, later = ([r for r in table.layers if (r.block == 0) is own] for own in (True, False))
    blocks = {r.block for r in later}

    def lost(rows):
        return sum(r.cells[HALF].loss for r in rows)

    plan = model_figures.planned()
    kept = {b: sum(r.cells[plan.patterns[r.name]].weights for r in table.layers if r.block == b) for b in {0, *blocks}}
    assert max(kept, key=kept.get) == 0
    assert all(lost(first) > lost([r for r in later if r.block == b]) for b in blocks)
    equal = model_figures.uniform()
    assert plan.predicted.bytes <= equal.bytes and plan.predicted.loss < equal.loss
    html = model_figures.plan(step_of("plans").scene(1), 1)
    assert html.count("data-loss") == len(table.layers) and f"{plan.predicted.loss:.3f}" in html


def test_takeaways_are_three_and_say_what_was_measured():
    points = model_figures.takeaways()
    ratio = model_figures.guarantee()
    runs = {name: run.report["evaluation"]["pruned"]["perplexity"] for name, run in model_figures.shipped().items()}
    assert len(points) == 3 and abs(ratio.value - 1) < 0.001  # free, and no better
    assert runs["eggs-ptp-plus"] < runs["ria-cp"] < runs["ria"]
    assert step_of("magnitude").scene(32).judge().error < 0.5  # "far less than half"
    assert f"{ratio.value:.3f}" in points[2] and f"{runs['ria']:.1f}" in points[1]
    page = model_figures.page_to_keep(step_of("takeaways").scene(0), 0)
    front = next(front for front in fronts() if front.model == "tiny-llama")
    pruned = [p for p in front.points if p.pruned and p.bits <= 3.5]
    ratio = min((r for p in pruned if (r := beside_plain(p, front.points))), key=lambda r: r.value)
    assert ratio.low > 1 and "quantising wins" in page and f"{ratio.value:.3f} ×" in page
    assert all(point in page for point in points) and "arxiv.org/abs/2508.09471" in page


def test_the_lesson_is_read_in_ten_minutes():
    words = sum(len(" ".join((s.words, s.question, *(a for a, _ in s.answers))).split()) for s in STEPS)
    assert words / 200 < 8  # at 200 words a minute, which leaves two minutes for clicks


def test_the_challenge_says_what_is_missing_and_gives_stars():
    scene = step_of("challenge").scene(0)
    assert "input 4 is cut off" in figures.challenge(scene, 0)
    assert "group 1 of row 1" in figures.challenge(scene.clicked("1" * 64), 0)
    first, second, third = star_marks()
    assert first < second < third
    own = "".join(str(b) for b in promised(1)[0].int().flatten().tolist())
    assert "☆☆☆" in figures.challenge(scene.clicked(own), 0)  # EGGS-PTP's own mask does not beat itself
    won = scene.clicked("".join(BEST_FOUND))
    assert "★★★" in figures.challenge(won, 0) and "★★★" in measures(won, ("stars",))


def test_a_weight_that_comes_back_has_its_first_value():
    refitted = step_of("re-fitting").scene(1)
    back = refitted.clicked("1" * 64)
    dropped = ~refitted.mask
    assert torch.equal(back.values[dropped], refitted.layer.weight[dropped])
    assert torch.equal(back.values[refitted.mask], refitted.values[refitted.mask])


def test_costs_compare_the_shipped_runs_of_all_methods():
    assert list(model_figures.shipped()) == list(METHODS)


@pytest.mark.parametrize("bits", ["", "1" * 63, "1" * 63 + "2", "<" * 64, "1" * 10_000])
def test_a_mask_that_is_none_is_refused(bits):
    with pytest.raises(EggsError, match="64 zeros and ones"):
        read_mask(bits)
