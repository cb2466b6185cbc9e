"""The token view in a real browser: a text is compared, a token's predictions show, a new run clears them."""

import pytest
from actions import data, open_tab

from components.session import first_run
from eggs_core.tokens import compare_tokens
from eggs_core.weights import recover

pytestmark = [pytest.mark.ui, pytest.mark.timeout(300)]
TEXT = "The Congress of the United States met on Monday, and 12 members spoke of peace and of the public debt."


@pytest.mark.parametrize(("width", "theme"), [(1440, "light"), (390, "dark")])
def test_every_token_is_coloured_by_the_change_of_its_loss(open_page, width, theme):
    page = open_page(width=width, query=f"?__theme={theme}")
    open_tab(page, "Accuracy")
    page.fill("#tokens-input textarea", TEXT)
    page.click("#tokens-start")
    page.wait_for_selector("#tokens-view .token[data-change]", timeout=240_000)
    *_, models = recover(first_run())
    _, wanted = compare_tokens(models.dense.tokenizer, models.dense.model, models.zeros, TEXT)
    drawn = page.eval_on_selector_all("#tokens-view .token[data-change]", "e => e.map(x => Number(x.dataset.change))")
    assert drawn == pytest.approx([round(c.change, 4) for c in wanted], abs=2e-3)
    page.locator("#tokens-view .token[data-change]").nth(5).focus()
    tip = page.locator("#tokens-view .token-tip:visible")
    assert tip.count() == 1 and "nats" in tip.inner_text() and tip.locator("tbody tr").count() == 5
    page.wait_for_function("document.querySelector('#tokens-kinds .plot')?.dataset.drawn > 0")
    assert "became harder" in page.inner_text("#tokens-reading")
    assert data(page, "#tokens-kinds .plot")


def test_an_empty_text_is_answered_with_a_sentence(open_page):
    page = open_page()
    open_tab(page, "Accuracy")
    page.fill("#tokens-input textarea", "")
    page.click("#tokens-start")
    page.get_by_text("fewer than two tokens").wait_for(timeout=240_000)
    assert page.locator("#tokens-start").is_enabled()
