"""Home: the dial, the texts, the window of weights, and the ways on from there."""

import pytest

from components.places.home.sentence.view import ALL, home
from components.places.home.sentence.words import AS_COMPUTED, VALUES

pytestmark = pytest.mark.ui

CHOOSE = """([name, value]) => {
  const texts = document.querySelector('#home .home-texts'), before = texts.innerHTML;
  document.querySelector(`#home input[name=home-${name}][value="${value}"]`).click();
  return texts.innerHTML !== before;
}"""


def choose(page, name: str, value: str) -> bool:
    """Choose on Home; whether the texts have changed before the browser does anything else."""
    return page.evaluate(CHOOSE, [name, value])


def test_an_empty_address_opens_home_and_its_dial_answers_at_once(open_page):
    page = open_page(query="")
    found = home()
    assert page.evaluate("document.documentElement.dataset.place") == "home"
    assert not page.is_visible("#sidebar") and page.is_visible("#home h2")
    for pattern, method, prompt in (("1:4", "magnitude", 0), ("3:4", "magnitude", 2), ("2:4", "wanda", 4)):
        wanted = {"pattern": pattern, "method": method, "prompt": str(prompt)}
        changed = [choose(page, name, value) for name, value in wanted.items()]
        cell = found["pruned"][pattern][method]
        written = cell["prompts"][prompt]
        assert changed[0] and changed[2]
        assert page.locator("#home mark").count() == len(written["otherwise"])
        assert page.text_content(".home-text.pruned .home-written") == found["prompts"][prompt] + written["text"]
        ratio = cell["bytes"] / found["dense"]["bytes"]
        assert f"− {round(100 * (1 - ratio))} %" in page.inner_text(".home-text.pruned dl")
    again = open_page(query="?" + page.url.partition("?")[2])  # what one sees can be sent to another
    assert again.text_content(".home-text.pruned .home-written") == found["prompts"][prompt] + written["text"]
    page.bring_to_front()
    page.locator("#home mark").first.focus()
    other = written["otherwise"][0][1].strip()
    assert other in page.locator("#home mark:focus .home-other").inner_text()
    assert page.is_visible("#home mark:focus .home-other")
    choose(page, "pattern", "dense")
    assert page.locator(".home-text").count() == 1 and page.locator("#home mark").count() == 0


def test_the_dial_turns_by_keys_and_its_window_of_weights_follows(open_page):
    page = open_page(query="?tab=home")
    tile = home()["tile"]
    page.locator("input[name=home-pattern]:checked").focus()
    for key, pattern in (("ArrowRight", "1:4"), ("ArrowLeft", "2:4")):
        page.keyboard.press(key)
        assert page.input_value("input[name=home-pattern]:checked") == pattern
        mask = tile["masks"][pattern][page.input_value("input[name=home-method]:checked")]
        assert f"{mask.count('1')} of these {len(mask)} weights stay" in page.inner_text(".home-mask-words")
        columns = [mask[i :: tile["columns"]] for i in range(tile["columns"])]
        orphans = sum("1" not in column for column in columns)
        assert (f"{orphans} input" if orphans else "still reaches") in page.inner_text(".home-mask-words")
    page.wait_for_function("document.querySelector('#home canvas').dataset.drawn === '1'")  # still: no motion is wanted


def test_bits_stand_beside_the_pattern_and_what_was_not_computed_is_grey_with_a_reason(open_page):
    page = open_page(query="?tab=home")
    found = home()
    values, pattern, method = next((v, p, m) for v, of in found["rounded"].items() for p, by in of.items() for m in by)
    cell = found["rounded"][values][pattern][method]
    dial = "dense" if pattern == ALL else pattern
    choose(page, "pattern", dial)
    if pattern != ALL:
        choose(page, "method", method)
    assert choose(page, "values", values)
    assert f"to {VALUES[values]} bits" in page.inner_text(".home-title")
    assert page.text_content(".home-text.pruned .home-written") == found["prompts"][1] + cell["prompts"][1]["text"]
    assert f"{round(cell['bytes'] / 1e6)} MB" in page.inner_text(".home-text.pruned dl")
    again = open_page(query="?" + page.url.partition("?")[2])
    assert again.input_value("input[name=home-values]:checked") == values
    there = found["rounded"][values]
    missing = next((p, m) for p in found["pruned"] for m in found["pruned"][p] if m not in there.get(p, {}))
    choose(page, "pattern", missing[0])
    choose(page, "method", missing[1])
    assert page.locator(f"input[name=home-values][value={values}]").is_disabled()
    assert page.input_value("input[name=home-values]:checked") == AS_COMPUTED
    assert VALUES[values] in page.inner_text(".home-why") and missing[0] in page.inner_text(".home-why")


@pytest.mark.parametrize("width", [1440, 390])
def test_home_leads_to_the_lesson_and_to_the_controls(open_page, width):
    page = open_page(width, 900, "")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.get_by_role("button", name="Prune your own").click()
    page.wait_for_function("document.documentElement.dataset.place === 'layers'")
    page.wait_for_selector("#prune:enabled")
    page.wait_for_function("document.querySelector('#prune').getBoundingClientRect().left >= 0")
    page.go_back()
    page.get_by_role("button", name="Show me how").click()
    page.wait_for_selector("#lesson-words")
    assert page.evaluate("document.documentElement.dataset.place") == "learn" and not page.is_visible("#sidebar")
