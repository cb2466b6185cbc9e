"""The model's field suggests, filters as one types, shows a path by its end, and without the Hub refuses at once."""

import pytest
from actions import choose

pytestmark = [pytest.mark.ui, pytest.mark.timeout(600)]


def type_model(page, text: str) -> None:
    page.fill("#model input", "")
    page.locator("#model input").press_sequentially(text)


@pytest.mark.parametrize("width", [1440, 390])
def test_a_suggestion_is_found_picked_and_refused_without_the_hub(open_page, width):
    page = open_page(width)
    if width < 768:
        page.locator(".sidebar .toggle-button").first.click()
    page.click("#model input")
    page.get_by_role("option", name="needs the internet").first.wait_for()
    type_model(page, "qwen2.5-0")
    page.wait_for_function("document.querySelectorAll('[role=option]').length === 1")
    page.get_by_role("option").click()
    assert page.input_value("#model input").startswith("Qwen/Qwen2.5-0.5B · 494")
    page.click("#prune")
    page.wait_for_function(
        "document.querySelector('#progress')?.innerText.includes(`cannot be reached, so 'Qwen/Qwen2.5-0.5B' cannot`)"
    )


def test_lists_close_behind_the_focus(page):
    for field in ("#model", "#method"):
        page.click(f"{field} input")
        page.locator(f"{field} [role=option]").first.wait_for()
        page.keyboard.press("Tab")
        page.wait_for_function("s => document.querySelectorAll(s).length === 0", arg=f"{field} [role=option]")
        page.wait_for_timeout(300)  # for a list that opens again
        assert page.locator(f"{field} [role=option]").count() == 0


PATH = "/home/somebody/a/long/path/to/models/on/another/disk/SmolLM2-135M-Instruct.gguf"
AT_ITS_END = """() => { const field = document.querySelector('#model input');
  return field.scrollLeft + field.clientWidth >= field.scrollWidth - 1; }"""


def test_a_long_path_is_shown_by_its_end(page):
    type_model(page, PATH)
    page.press("#model input", "Enter")
    page.locator("#model input").blur()
    page.wait_for_function(AT_ITS_END)
    assert page.get_attribute("#model input", "title") == PATH


def test_a_name_that_the_field_cuts_stands_whole_beneath_it(open_page):
    page = open_page(query="?run=af781be3ebf6b03e&tab=overview")  # of SmolLM2-135M, which ships
    page.wait_for_function("document.querySelector('#model')?.dataset.whole?.endsWith('SmolLM2-135M-Instruct (Q4_1)')")
    shown = page.evaluate("getComputedStyle(document.querySelector('#model'), '::after').content")
    assert "SmolLM2-135M-Instruct" in shown
    choose(page, model="tiny-llama")
    page.wait_for_function("!('whole' in document.querySelector('#model').dataset)")


def test_a_long_path_in_an_address_is_shown_by_its_end(open_page):
    page = open_page(query=f"?model={PATH}&pattern=2:4&method=wanda")
    page.wait_for_selector("#progress .bad")  # there is no such file
    page.wait_for_function("p => document.querySelector('#model input')?.title === p", arg=PATH)
    page.wait_for_timeout(500)  # for the list of suggestions to arrive
    assert page.evaluate(AT_ITS_END)
