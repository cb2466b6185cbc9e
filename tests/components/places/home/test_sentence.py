"""What Home shows: the file that ships, and the frame around it."""

import itertools

from components.places.home.sentence.view import FILE, home, methods
from components.places.home.sentence.words import AS_COMPUTED, PATTERNS, VALUES, about, frame
from components.places.learn.lesson.steps import STEPS
from components.widgets.assets import home_texts
from eggs_core.models.source import BUNDLED
from eggs_core.pattern import NMPattern
from eggs_core.registry import METHODS


def test_the_file_is_small_and_says_what_it_was_computed_with():
    found = home()
    assert FILE.stat().st_size < 300_000
    for said in (found["about"]["model"], found["about"]["created"][:10], found["tile"]["layer"], "greedy"):
        assert said in about(found)
    assert len(found["prompts"]) == 5 and set(found["pruned"]) <= set(PATTERNS)
    assert home_texts().text.startswith("const homeTexts = {")


def test_home_promises_the_time_that_the_lesson_promises():
    assert "(10 min)" in frame(home()) and "It takes ten minutes" in STEPS[0].words


def cells(found) -> list[dict]:
    """All that was computed: as the model's own values, and rounded."""
    return [cell for of in (found["pruned"], *found["rounded"].values()) for by in of.values() for cell in by.values()]


def test_marks_stand_at_tokens_of_the_dense_text_and_say_something_else():
    found = home()
    for of in found["pruned"].values():
        assert set(of) <= set(METHODS) and "magnitude" in of
    for cell in cells(found):
        assert cell["perplexity"] > found["dense"]["perplexity"] * 0.9 and cell["bytes"] < found["dense"]["bytes"]
        for pieces, written in zip(found["dense"]["texts"], cell["prompts"], strict=True):
            places = [place for place, _ in written["otherwise"]]
            assert places == sorted(set(places)) and all(0 <= place < len(pieces) for place in places)
            assert all(pieces[place] != other for place, other in written["otherwise"])


def test_fewer_bits_are_smaller_and_cost_more():
    """Of every pattern and method that has both; and quantisation alone is there."""
    found, seen = home(), 0
    assert set(found["rounded"]) <= set(VALUES) - {AS_COMPUTED}
    by_bits = sorted(found["rounded"].items(), key=lambda item: int(VALUES[item[0]]))
    for (_, fewer), (_, more) in itertools.combinations(by_bits, 2):
        for pattern in fewer.keys() & more.keys():
            for method in fewer[pattern].keys() & more[pattern].keys():
                one, other = fewer[pattern][method], more[pattern][method]
                assert one["bytes"] < other["bytes"] and one["perplexity"] > other["perplexity"] * 0.99
                seen += 1
    assert seen


def test_more_weights_gone_means_more_tokens_chosen_otherwise():
    """By magnitude, over all prompts: 3:4 before 2:4 before 1:4."""
    counts = [
        sum(len(written["otherwise"]) for written in home()["pruned"][pattern]["magnitude"]["prompts"])
        for pattern in ("3:4", "2:4", "1:4")
    ]
    assert counts == sorted(counts) and counts[0] < counts[-1]


def test_the_window_of_weights_keeps_what_its_pattern_says():
    tile = home()["tile"]
    assert tile["model"] in BUNDLED and len(tile["weights"]) == tile["rows"] * tile["columns"]
    for name, masks in tile["masks"].items():
        pattern = NMPattern.parse(name)
        for method, mask in masks.items():
            groups = [mask[i : i + pattern.group] for i in range(0, len(mask), pattern.group)]
            assert len(mask) == len(tile["weights"]) and set(mask) == {"0", "1"}
            if METHODS[method].permutation == "none":  # else the groups are made of columns that lie elsewhere
                assert all(group.count("1") == pattern.keep for group in groups)


def test_every_choice_has_a_control_and_one_of_each_is_chosen():
    found, html = home(), frame(home())
    assert html.count(" checked") == 4
    groups = (("pattern", PATTERNS), ("method", methods(found)), ("prompt", map(str, range(5))), ("values", VALUES))
    for name, values in groups:
        assert all(f'name="home-{name}" value="{value}"' in html for value in values)
