"""The Accuracy tab in a real browser: tokens, tasks, texts, writing side by side, where it breaks, and the report."""

import pytest
from actions import data, open_section, open_tab

from components.state.known_runs import bundled_runs, first_run
from eggs_core.evaluation.tokens import compare_tokens
from eggs_core.evaluation.zeroshot import TaskScore, zero_shot
from eggs_core.runs.pruned_models import recover

pytestmark = [pytest.mark.ui, pytest.mark.timeout(1200)]
TEXT = "The Congress of the United States met on Monday, and 12 members spoke of peace and of the public debt."


def quick_run():
    """A shipped run whose model is pruned again in a second, where the usual one takes half a minute."""
    return next(
        run for run in bundled_runs() if (run.report["model"], run.report["method"]) == ("tiny-llama", "magnitude")
    )


@pytest.mark.parametrize(("width", "theme"), [pytest.param(1440, "light", marks=pytest.mark.slow), (390, "dark")])
def test_every_token_is_coloured_by_the_change_of_its_loss(open_page, result, width, theme):
    page = open_page(width=width, query=f"?run={quick_run().key}&__theme={theme}")
    open_tab(page, "Accuracy")
    open_section(page, "Token by token")
    text = " ".join([TEXT] * (1 + (width == 390)))  # another one than before, which is kept and shown
    page.fill("#tokens-input textarea", text)
    page.wait_for_selector("#tokens-view .token[data-change]")  # of the sample, as it ships
    models = result(recover(quick_run()))
    _, wanted = compare_tokens(models.dense.tokenizer, models.dense.model, models.zeros, text)
    page.click("#tokens-start")
    page.wait_for_function(
        "n => document.querySelectorAll('#tokens-view .token[data-change]').length === n", arg=len(wanted)
    )
    page.locator("#tokens-reading").get_by_text("a text of one’s own").wait_for()
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
    open_section(page, "Token by token")
    page.fill("#tokens-input textarea", "")
    page.click("#tokens-start")
    page.get_by_text("fewer than two tokens").wait_for(timeout=240_000)
    page.wait_for_selector("#tokens-start:enabled")


@pytest.mark.slow
def test_tasks_are_answered_and_shown_with_their_error(open_page, result):
    page = open_page()
    open_tab(page, "Accuracy")
    open_section(page, "Zero-shot tasks")
    page.fill("#tasks-limit input[type=number]", "40")
    dense, pruned = scores_of(result(recover(first_run())), 40)
    page.click("#tasks-start")  # until it is done the table holds what ships, of all items
    page.wait_for_function(
        """([dense, pruned]) => [...document.querySelectorAll('#tasks-table tr[data-task=cloze]')].some(
  row => Math.abs(row.dataset.dense - dense) < 1e-6 && Math.abs(row.dataset.pruned - pruned) < 1e-6)""",
        arg=[dense.acc, pruned.acc],
    )
    page.wait_for_function("document.querySelector('#tasks-chart .plot')?.dataset.drawn > 0")
    assert "Guessing would reach 25%" in page.inner_text("#tasks-reading")


def scores_of(models, limit: int) -> list:
    """Dense and pruned scores, computed here rather than on the server."""
    for_each = [zero_shot(m, models.dense.tokenizer, ["cloze"], limit) for m in (models.dense.model, models.zeros)]
    return [next(e for e in events if isinstance(e, TaskScore)) for events in for_each]


def test_a_pasted_text_gets_its_own_row(open_page):
    page = open_page(query=f"?run={quick_run().key}")
    open_tab(page, "Accuracy")
    page.fill("#texts-pasted textarea", "short")
    page.click("#texts-start")
    page.get_by_text("fewer than one window").wait_for(timeout=240_000)
    page.fill("#texts-pasted textarea", "<b>The people</b> ${7*7} of the United States. " * 120)
    page.click("#texts-start:enabled")
    page.wait_for_selector("#texts-table tr[data-sha]:nth-child(2)")
    assert "pasted text" in page.inner_text("#texts-table") and "× " in page.inner_text("#texts-reading")


def test_models_write_side_by_side(open_page):
    page = open_page(width=390, query=f"?run={quick_run().key}")
    open_tab(page, "Accuracy")
    open_section(page, "Side by side")
    page.fill("#writing-tokens input[type=number]", "24")
    page.wait_for_selector("#writing-lanes .lane[data-tokens='64'] mark")  # as it ships
    assert "seed 0; written 20" in page.inner_text("#writing-reading")
    page.click("#writing-start")
    page.wait_for_selector("#writing-lanes .lane[data-tokens='24']")
    page.wait_for_function("document.querySelector('#writing-reading')?.textContent.includes('same chance')")
    lanes = page.evaluate("[...document.querySelectorAll('#writing-lanes .lane')].map(l => ({...l.dataset}))")
    assert [lane["tokens"] for lane in lanes] == ["24", "24"] and lanes[0]["parted"] == "" and lanes[1]["parted"]
    assert page.locator("#writing-lanes mark").count() == 1
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_the_keyboard_keeps_its_place_when_work_starts_and_stops(open_page):
    page = open_page(query=f"?run={quick_run().key}")
    open_tab(page, "Accuracy")
    open_section(page, "Where it breaks")
    page.fill("#breakdown-windows input[type=number]", "64")  # it takes long enough to be stopped
    at = "id => document.activeElement.id === id && !document.activeElement.disabled"
    page.focus("#breakdown-start")
    page.keyboard.press("Enter")
    page.wait_for_function(at, arg="breakdown-stop")
    page.keyboard.press("Enter")
    page.wait_for_function(at, arg="breakdown-start")
    page.locator("#breakdown-reading").get_by_text("Stopped.").wait_for()


@pytest.mark.slow
def test_where_it_breaks_is_measured_and_goes_into_the_report(open_page):
    page = open_page()
    open_tab(page, "Accuracy")
    open_section(page, "Where it breaks")
    page.fill("#breakdown-windows input[type=number]", "2")
    page.click("#breakdown-start")
    for chart in ("drift-chart", "block-cost", "projection-cost"):
        page.wait_for_function("s => document.querySelector(s)?.dataset.drawn > 0", arg=f"#{chart} .plot")
    assert "costs most of all blocks" in page.inner_text("#breakdown-reading")
    open_section(page, "Report")
    assert page.inner_text("#report-command").startswith("python -m eggs_core prune --model tiny-llama")
    page.click("#report-make")
    page.wait_for_selector("#report-files a[href*='/file=']")
    link = page.eval_on_selector_all("#report-files a", "e => e.map(x => x.href).find(h => h.endsWith('.html'))")
    body = page.request.get(link).text()
    page.context.set_offline(True)
    page.set_content(body)
    page.wait_for_function("document.querySelectorAll('.plotly-graph-div .main-svg').length > 8")
    assert "Where it breaks" in page.inner_text("body") and "python -m eggs_core prune" in page.inner_text("pre")
