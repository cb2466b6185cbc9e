"""The sidebar as a hasty visitor meets it: odd numbers, keys, a run from elsewhere, a reload in the middle."""

import pytest
from actions import choose, prune, refusal

pytestmark = [pytest.mark.ui, pytest.mark.timeout(600)]

# N, M, and what is said of them
ODD = [("2", "64", "at most 32"), ("2", "0", "cannot exceed M"), ("5", "4", "cannot exceed M"), ("", "4", "whole")]
MARKUP = """() => { const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
  while (walker.nextNode()) {
    const { textContent: text, parentElement: around } = walker.currentNode;
    if (around.closest('script, style')) continue;
    if (/<\\/?[a-z]+[^>]*>|&(lt|gt|amp|#\\d+);/i.test(text)) found.push(text.trim());
  }
  return found; }"""
LISTS = "[...document.querySelectorAll('[role=listbox]')].filter(list => list.checkVisibility()).length"


def numbers(page, keep: str, group: str) -> None:
    page.fill("#keep input", keep)
    page.fill("#group input", group)
    page.press("#group input", "Tab")


def test_no_number_leaves_prune_grey_and_a_refusal_goes_with_the_number(page):
    choose(page, pattern="other")
    for keep, group, said in [*ODD, ("2.5", "4", "whole numbers")]:
        numbers(page, keep, group)
        page.wait_for_function("s => document.querySelector('#pattern-note .bad')?.textContent.includes(s)", arg=said)
        page.wait_for_function("!document.querySelector('#progress .bad')")
        prune(page)
        assert said in refusal(page)
    numbers(page, "2", "4")
    page.wait_for_function("document.querySelector('#pattern-note')?.textContent.includes('keeps 2 of every 4')")
    page.wait_for_function("!document.querySelector('#progress .bad')")
    page.click("h1")  # Tab led to the next list, which opened
    page.wait_for_function(f"{LISTS} === 0")
    choose(page, method="Wanda")
    prune(page)
    page.wait_for_function(
        "document.querySelector('#facts')?.textContent.includes('8d0acdf0ceb43c78') || "
        "document.querySelector('#progress')?.textContent.includes('Done in')"
    )
    page.wait_for_selector("#prune:enabled")


@pytest.mark.parametrize("field", ["#method", "#values"])
def test_a_list_closes_behind_either_way_of_tab(page, field):
    page.click(f"{field} input")
    page.locator(f"{field} [role=option]").nth(1).wait_for()
    many = page.locator(f"{field} [role=option]").count()
    page.keyboard.down("Shift")
    page.wait_for_timeout(200)
    assert page.locator(f"{field} [role=option]").count() == many  # Shift alone is no letter to search for
    page.keyboard.press("Tab")
    page.keyboard.up("Shift")
    page.wait_for_timeout(400)
    assert not page.locator(f"{field} ul.options").is_visible()
    page.click("h1")
    page.wait_for_timeout(300)
    assert page.evaluate(LISTS) == 0


def test_what_handlers_fill_is_no_markup(page):
    page.locator("#advanced > button").click()
    for method in ("Magnitude", "EGGS-PTP"):
        choose(page, method=method)
    for pattern in ("unstructured (reference)", "4:8"):
        choose(page, pattern=pattern)
    page.wait_for_function("document.querySelector('#pattern-note')?.textContent.includes('4 of every 8')")
    assert page.evaluate(MARKUP) == []


def test_the_sidebar_describes_the_run_that_an_address_opens(open_page):
    page = open_page(query="?run=f9eddfe82a353c2e&tab=overview")  # tiny-opt by Wanda
    page.wait_for_function("document.querySelector('#method input')?.value === 'Wanda'")
    assert page.input_value("#model input") == "tiny-opt"
    assert "activation" in page.inner_text("#method-note")
    assert page.inner_text("#facts").startswith("tiny-opt · 2:4 ·")


def test_an_earlier_run_says_so_and_a_reload_is_no_error(page, visitors):
    choose(page, "tiny-opt", "2:4", "EGGS-PTP+")
    page.locator("#advanced > button").click()
    page.fill("#windows input", "512")  # enough for it to be still running after the reload
    prune(page)
    page.wait_for_selector(".verdict-earlier:visible")
    assert "This is the earlier one" in page.inner_text(".verdict-earlier")
    page.wait_for_function("document.querySelector('#progress')?.textContent.trim()")  # it has reached the server
    page.reload()
    page.wait_for_function("places.ready()")
    page.wait_for_function("document.querySelector('#progress')?.textContent.includes('layer')")
    assert page.locator(".toast-body").count() == 0
    page.click("#stop")
    page.wait_for_function("document.querySelector('#progress')?.textContent.includes('Stopped.')")
    page.wait_for_function("!document.body.innerText.includes('the layers appear below')")
    assert visitors.problems == []
