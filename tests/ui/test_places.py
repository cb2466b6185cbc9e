"""Places, steps and runs in the browser's history."""

import pytest
from actions import open_section, open_tab, tab_button

from components.address import PLACE_OF

pytestmark = pytest.mark.ui

# The run in view is the one that the address names.
SHOWN = "document.querySelector('#facts')?.textContent.includes(new URL(location).searchParams.get('run'))"


def wait_at(page, tab: str) -> None:
    """Wait until a tab is in view and in the address."""
    place = PLACE_OF[tab]
    page.wait_for_function("t => new URL(location).searchParams.get('tab') === t", arg=tab)
    page.wait_for_function("p => document.documentElement.dataset.place === p", arg=place)
    for bar, name in (("#tabs", place), (f"#{place}-tabs", tab)):
        if bar in ("#tabs", "#layers-tabs", "#runs-tabs"):
            button = tab_button(page, bar, name).element_handle()
            page.wait_for_function("b => b.ariaSelected === 'true'", arg=button)


def test_back_and_forward_go_through_places_and_never_out_of_the_app(open_page):
    page = open_page(query="")
    way = [("Masks", "masks"), ("Accuracy", "accuracy"), ("Compare", "compare"), ("Spectrum", "spectrum")]
    for name, tab in way:
        open_tab(page, name)
        wait_at(page, tab)
    page.go_back()
    wait_at(page, "masks")  # Layers as it was left, before its Spectrum was chosen
    for tab in ("compare", "runs", "accuracy", "masks", "overview", "home"):
        page.go_back()
        wait_at(page, tab)
    page.go_forward()
    wait_at(page, "overview")


def test_a_step_of_the_lesson_is_kept_and_gone_back_to(open_page):
    page = open_page(query="?step=orphans")
    page.wait_for_function("places.ready()")
    assert "step=orphans" in page.url and "tab=learn" in page.url
    page.click("#lesson-next")
    page.wait_for_function("!location.search.includes('step=orphans') && location.search.includes('step=')")
    page.go_back()
    page.wait_for_function("document.querySelector('#lesson-steps input:checked').value === 'orphans'")
    assert "step=orphans" in page.url
    open_tab(page, "Overview")
    wait_at(page, "overview")
    assert "step=" not in page.url
    page.go_back()
    page.wait_for_function("location.search.includes('step=orphans')")


def test_a_step_that_the_server_answers_late_does_not_take_the_address_back(open_page):
    page = open_page(query="?step=orphans")
    page.wait_for_function("places.ready()")
    page.evaluate("() => { const own = places.step; places.step = name => { window.late = () => own(name); }; }")
    page.click("#lesson-next")
    page.wait_for_function("window.late !== undefined")
    open_tab(page, "Overview")
    wait_at(page, "overview")
    page.evaluate("late()")
    assert "tab=overview" in page.url and "step=" not in page.url


def test_no_stop_is_shown_and_no_figure_is_titled_before_there_is_one(open_page):
    page = open_page(query="?run=af781be3ebf6b03e&tab=overview")  # its weights do not ship: nothing measures itself
    for name in ("Overview", "Plan", "Spectrum", "Accuracy", "Latency & size"):
        open_tab(page, name, empty=("#plan-canvas .plan",))
        page.wait_for_timeout(500)  # for what a tab begins when it is opened
        assert page.locator("button[id$=stop]:visible").count() == 0, name
        if name == "Spectrum":
            page.get_by_text("No curve for this model and pattern yet").wait_for()
            assert not page.get_by_role("heading", name="Retained score").is_visible()
        if name == "Accuracy":
            open_section(page, "Rotation")
            page.get_by_text("This run was not rotated.").wait_for()
            assert not page.get_by_role("heading", name="Importance kept").is_visible()
    page.locator("#layers-reading").get_by_text("This needs the weights of").wait_for()
    assert page.locator("#layers-reading .bad").count() == 0


def test_going_back_opens_the_run_that_was_in_view(open_page):
    page = open_page()
    keys = []
    for row in (0, 1):
        open_tab(page, "Runs")
        wait_at(page, "runs")
        page.locator("#runs-table .row-open:visible").nth(row).click()
        wait_at(page, "overview")
        page.wait_for_function("k => new URL(location).searchParams.get('run') !== k", arg=keys[-1] if keys else "")
        page.wait_for_function(SHOWN)
        keys.append(page.evaluate("new URL(location).searchParams.get('run')"))
    page.go_back()
    wait_at(page, "runs")
    page.wait_for_function("k => new URL(location).searchParams.get('run') === k", arg=keys[0])
    open_tab(page, "Overview")
    page.wait_for_function("k => document.querySelector('#facts').textContent.includes(k)", arg=keys[0])
