"""The lesson in a real browser: a click's figures are the core's, questions answer, links open a step."""

import pytest
import torch
from actions import TABS, open_tab

from components.places.learn.lesson.steps import KEYS, STEPS
from eggs_core.graph.expansion import spread
from eggs_core.pattern import NMPattern
from eggs_core.pruning.toy_layer import judge, suggest, toy_layer

pytestmark = [pytest.mark.ui, pytest.mark.timeout(1200)]


@pytest.mark.parametrize("width", [1440, 1024, 390])
def test_a_click_is_judged_by_the_core(open_page, width):
    page = open_page(width=width, query="?step=by-hand")
    page.wait_for_selector("#lesson-bench button.kept")
    cut = "cells => cells.filter(cell => cell.scrollWidth > cell.clientWidth + 1).length"
    assert page.eval_on_selector_all("#lesson-bench button", cut) == 0, "a weight needs room to be read"
    pattern = NMPattern(2, 4)
    mask = suggest(toy_layer(), pattern, "magnitude")
    mask[-2:] = True
    assert page.locator("#lesson-bench td.broken").count() == 16
    page.click('#lesson-bench [data-row="2"][data-col="5"]')
    mask[2, 5] = ~mask[2, 5]
    found = judge(toy_layer(), mask, pattern)
    page.wait_for_selector(f'#lesson-measures [data-error="{found.error:.6f}"][data-gap="{found.gap:.6f}"]')
    assert "no, 5 off" in page.inner_text("#lesson-measures")
    drawn = page.get_attribute("#lesson-bench .bench", "data-mask")
    assert torch.equal(torch.tensor([b == "1" for b in drawn]).view(8, 8), mask)
    page.locator("#lesson").get_by_label("32", exact=True).check()
    page.wait_for_selector("#lesson-feedback .good")


def test_steps_change_the_address_and_the_matrix(open_page):
    page = open_page(query="?step=weights")
    page.wait_for_selector("#lesson-bench [data-kept='64']")
    page.locator("#lesson").get_by_label("16. Challenge").check()
    page.wait_for_selector("#lesson-bench .bench-degree.orphan")
    page.wait_for_selector("#lesson-words .katex")
    assert "step=challenge" in page.url and "☆☆☆" in page.inner_text("#lesson-measures")


def test_the_signal_passes_an_orphan_by_until_it_gets_an_edge(open_page):
    page = open_page(query="?step=expander")

    def share(side, i):
        return page.get_attribute(f"#lesson-extra .{side}[data-channel='{i}']", "data-share")

    page.get_by_text("After 1 step the").wait_for()
    amounts = spread(suggest(toy_layer(), NMPattern(2, 4), "ria"), "inputs", torch.tensor([0]), 1)[1].amounts
    for output in range(8):
        assert share("outputs", output + 1) == f"{amounts[output].item():.0%}"
    number = page.locator("#lesson-slider input[type=number]")
    number.fill("2")
    number.press("Tab")
    page.get_by_text("After 2 steps").wait_for()
    assert share("inputs", 4) == "0%"
    page.click('#lesson-bench [data-row="1"][data-col="3"]')  # output 2, which the first step reached
    channel = "#lesson-extra .inputs[data-channel='4']"
    page.wait_for_function("s => (document.querySelector(s)?.dataset.share ?? '0%') !== '0%'", arg=channel)
    assert "none" in page.inner_text("#lesson-measures")
    page.click("#lesson-anew")
    page.get_by_text("After 1 step the").wait_for()
    page.wait_for_selector("#lesson-bench .bench-degree.orphan")


def test_a_wrong_answer_is_told_why_and_a_right_one_is_ticked(open_page):
    page = open_page(query="?step=order")
    step = STEPS[KEYS.index("order")]
    for answer, words in reversed(step.answers):
        page.locator("#lesson").get_by_label(answer, exact=True).check()
        page.locator("#lesson-feedback").get_by_text(words).wait_for()
    page.locator("#lesson").get_by_label("12. Order ✓").wait_for()
    assert page.locator("#lesson").get_by_label("12. Order ✓").is_checked()
    page.locator("#lesson").get_by_label("regrouped", exact=True).check()
    page.wait_for_function("(document.querySelector('#lesson-bench th:nth-child(2)')?.innerText ?? '1') !== '1'")


def test_full_screen_shows_the_lesson_alone_and_a_remote_turns_its_pages(open_page):
    page = open_page(query="?step=eggs")
    page.wait_for_selector("#lesson-bench .marked")
    page.click("#lesson-slides")
    page.wait_for_function("document.fullscreenElement?.id === 'lesson'")
    page.keyboard.press("PageDown")
    page.get_by_role("heading", name="Degree bound", exact=True).wait_for()
    page.click("#lesson-slides")
    page.wait_for_function("!document.fullscreenElement")
    page.keyboard.press("PageDown")
    page.wait_for_timeout(300)
    assert page.get_by_role("heading", name="Degree bound", exact=True).is_visible()


def test_the_teachers_page_has_an_address(open_page):
    page = open_page(query="?step=teachers")
    page.get_by_role("heading", name="Plan: 45 minutes").wait_for()
    page.get_by_text("6¹⁶").wait_for()


def test_next_goes_through_every_step(open_page):
    page = open_page(query="?step=why-prune")
    page.get_by_role("heading", name="Why prune", exact=True).wait_for()
    for step in STEPS[1:]:
        page.click("#lesson-next")
        page.get_by_role("heading", name=step.name, exact=True).wait_for()
        assert page.locator("#lesson").get_by_label(step.right, exact=True).is_visible()
    page.wait_for_function("key => location.search.includes(key)", arg=STEPS[-1].key)
    assert page.locator(".lesson-keep li").count() == 3 and page.is_visible("#lesson-print")


PARTS = ["words", "slider", "choice", "bench", "measures", "question", "next"]
BELOW = """names => [...names.map(name => `#lesson-${name}`), '#lesson .lesson-svg'].filter(selector => {
  const part = document.querySelector(selector);
  return part?.checkVisibility() && part.getBoundingClientRect().bottom > innerHeight;
})"""


@pytest.mark.parametrize(("width", "height"), [(1440, 900), (1024, 768)])
def test_what_one_reads_touches_and_sees_change_is_on_one_screen(open_page, width, height):
    page = open_page(width, height, "?step=why-prune")
    page.get_by_role("heading", name="Why prune", exact=True).wait_for()
    for step in STEPS[1:]:
        page.click("#lesson-next")
        page.get_by_role("heading", name=step.name, exact=True).wait_for()
        page.wait_for_timeout(200)  # for what follows the words
        assert page.evaluate(BELOW, PARTS) == [], step.name
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


OVERLAP = """() => {
  const boxes = s => [...document.querySelectorAll(s)].filter(e => e.checkVisibility());
  const seen = s => boxes(s).map(e => e.getBoundingClientRect());
  return seen('#lesson-steps label').flatMap(a => seen('#lesson-buttons button').filter(b =>
    a.right > b.left + 1 && a.left < b.right - 1 && a.bottom > b.top + 1 && a.top < b.bottom - 1)).length;
}"""


@pytest.mark.parametrize("width", [1440, 1024, 1000])
def test_no_button_lies_on_the_steps(open_page, width):
    page = open_page(width, 768, f"?step={KEYS[-1]}")  # which has the most buttons
    page.wait_for_selector("#lesson-print")
    page.locator("#lesson-steps label").nth(16).focus()
    assert page.evaluate(OVERLAP) == 0


def test_the_lessons_buttons_end_where_its_content_ends(open_page):
    page = open_page(1440, 900, "?step=magnitude")
    page.get_by_role("heading", name="Magnitude", exact=True).wait_for()
    right = "s => Math.round(document.querySelector(s).getBoundingClientRect().right)"
    assert abs(page.evaluate(right, "#lesson-slides") - page.evaluate(right, "#lesson-figure")) <= 1


def test_no_empty_control_is_seen_before_the_step_has_come(open_page):
    page = open_page()
    page.wait_for_function("document.documentElement.dataset.lesson")
    page.evaluate("delete document.documentElement.dataset.lesson")  # as it is until the server has answered
    open_tab(page, "Learn")
    page.wait_for_selector("#lesson-steps")
    assert not page.is_visible("#lesson-slider") and not page.is_visible("#lesson-question")


def test_a_prediction_comes_before_the_figure(open_page):
    page = open_page(query="?step=magnitude")
    page.wait_for_selector("#lesson-bench [data-kept='64']")
    number = page.locator("#lesson-slider input[type=number]")
    assert number.is_disabled()
    page.locator("#lesson").get_by_label("about a half", exact=True).check()
    page.wait_for_selector("#lesson-bench [data-kept='32']")
    page.wait_for_selector("#lesson-feedback .wrong")
    assert number.input_value() == "32" and number.is_enabled()


def test_a_weight_and_its_line_light_each_other(open_page):
    page = open_page(query="?step=orphans")
    line = page.locator("#lesson-extra .edge").first
    line.wait_for()
    place = f'[data-row="{line.get_attribute("data-row")}"][data-col="{line.get_attribute("data-col")}"]'
    page.hover(f"#lesson-bench button{place}")
    page.wait_for_selector(f"#lesson-extra .edge.lit{place}", state="attached")
    assert page.locator("#lesson-extra .edge.lit").count() == 1
    other = page.locator(f"#lesson-extra .edge:not({place})").first
    other.locator("line").first.dispatch_event("pointerover")
    row, column = (other.get_attribute(f"data-{name}") for name in ("row", "col"))
    page.wait_for_selector(f'#lesson-bench button.lit[data-row="{row}"][data-col="{column}"]')
    assert page.locator("#lesson-bench button.lit").count() == 1


def test_a_mask_is_edited_by_keys_alone(open_page):
    page = open_page(query="?step=by-hand")
    page.focus('#lesson-bench [data-row="0"][data-col="0"]')
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    cell = '#lesson-bench [data-row="1"][data-col="1"]'
    before, pressed = (
        page.get_attribute("#lesson-measures .minis", "data-gap"),
        page.get_attribute(cell, "aria-pressed"),
    )
    page.keyboard.press("Space")
    page.wait_for_function(
        "b => (document.querySelector('#lesson-measures .minis')?.dataset.gap ?? b) !== b", arg=before, timeout=20_000
    )
    assert page.get_attribute(cell, "aria-pressed") == {"true": "false", "false": "true"}[pressed]


@pytest.mark.slow
def test_every_tab_links_to_the_lesson(open_page):
    page = open_page()
    for tab in TABS:
        open_tab(page, tab)
        links = page.locator(".lesson-link:visible")
        links.first.wait_for()
        steps = {link.get_attribute("href").removeprefix("?step=") for link in links.all()}
        assert steps <= set(KEYS), f"{tab} links to {steps}"


FOCUS = """() => {
  const at = document.activeElement, box = at.getBoundingClientRect();
  const seen = at.checkVisibility() && box.bottom > 0 && box.top < innerHeight;
  return { name: at.id || at.tagName.toLowerCase(), seen };
}"""


def focused(page) -> str:
    """What has the focus, once that stands still; it is neither lost nor out of sight."""
    page.wait_for_timeout(150)
    page.wait_for_function("document.activeElement !== document.body && !document.activeElement.disabled")
    found = page.evaluate(FOCUS)
    assert found["seen"], found
    return found["name"]


def tab_to(page, selector: str) -> None:
    """Press Tab until the focus is there."""
    for _ in range(80):
        page.keyboard.press("Tab")
        if page.evaluate("s => document.activeElement.matches(s)", selector):
            return
    raise AssertionError(f"Tab never comes to {selector}")


def test_the_keyboard_alone_goes_through_the_lesson(open_page):
    page = open_page(query=f"?step={KEYS[0]}")
    page.get_by_role("heading", name=STEPS[0].name, exact=True).wait_for()
    tab_to(page, "#lesson-question input")
    page.keyboard.press("Space")
    page.wait_for_selector("#lesson-feedback :is(.good, .bad), #lesson-feedback p")
    focused(page)
    tab_to(page, "#lesson-next")
    for step in STEPS[1:]:
        page.keyboard.press("Enter")
        page.get_by_role("heading", name=step.name, exact=True).wait_for()
        assert focused(page) == ("h2" if step is STEPS[-1] else "lesson-next"), step.name
    page.keyboard.press("Shift+Tab")  # to what stands before the heading, not to the beginning of the page
    assert page.evaluate("document.activeElement.closest('#lesson') !== null")
    tab_to(page, "#lesson-back")
    for step in reversed(STEPS[:-1]):
        page.keyboard.press("Enter")
        page.get_by_role("heading", name=step.name, exact=True).wait_for()
        assert focused(page) == ("h2" if step is STEPS[0] else "lesson-back"), step.name


def test_an_answer_and_a_new_start_leave_the_focus_where_it_is(open_page):
    page = open_page(query="?step=magnitude")  # whose slider waits for the answer
    page.get_by_role("heading", name="Magnitude", exact=True).wait_for()
    tab_to(page, "#lesson-question input")
    page.keyboard.press("Space")
    page.wait_for_selector("#lesson-slider input[type=number]:enabled")
    assert focused(page) and page.evaluate("document.activeElement.closest('#lesson-question') !== null")
    tab_to(page, "#lesson-anew")
    page.keyboard.press("Enter")
    assert focused(page) == "lesson-anew"
