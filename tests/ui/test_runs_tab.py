"""Runs and addresses in a real browser: a result outlives its page, a link opens a view, and runs are found again."""

import csv
import io
import json
from urllib.parse import parse_qs, urlsplit

import pytest
from actions import choose, data, open_tab, prune, small_calibration, tab_button, wait_data, wait_done

from components.state.known_runs import bundled_runs, first_run
from components.words.labels import run_label
from eggs_core.registry import METHODS

pytestmark = [pytest.mark.ui, pytest.mark.timeout(1200)]
NOTE = "s => document.querySelector('#method-note').textContent.trim() === s"
HOSTILE = "<img src=x onerror=alert(1)> ${alert(2)}"


def query(page) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(page.url).query).items()}


def wait_query(page, **wanted) -> None:
    """Wait until the address names these values."""
    page.wait_for_function("w => Object.keys(w).every(k => new URL(location).searchParams.get(k) === w[k])", arg=wanted)


CELLS = "[...document.querySelectorAll('#runs-table [data-testid^=cell-]')].filter(cell => cell.checkVisibility())"
CUT = f"""() => {{
  const cut = e => e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).overflowX !== 'visible';
  return {CELLS}.filter(cell => /-[13]$/.test(cell.dataset.testid))
    .filter(cell => [cell, ...cell.querySelectorAll('*')].some(cut)).map(cell => cell.innerText);
}}"""


def test_no_name_in_the_list_of_runs_is_cut_on_a_phone(open_page):
    page = open_page(390, 844, "?tab=runs")
    page.wait_for_function(f"{CELLS}.length > 20")
    assert "SmolLM2-135M-Instruct (Q4_1)" in page.inner_text("#runs-table").replace("\n", " ")
    assert page.evaluate(CUT) == []


def test_a_link_opens_the_same_view(open_page):
    page = open_page(query="?__theme=dark&tab=overview")
    open_tab(page, "Masks")
    page.locator("#model-map [data-layer]").nth(9).click()
    layer = page.locator("#model-map [data-layer]").nth(9).get_attribute("data-layer")
    wait_query(page, tab="masks", layer=layer, run=first_run().key, model="tiny-llama", __theme="dark")
    other = open_page(query=f"?{urlsplit(page.url).query}")
    other.wait_for_function("document.querySelector('#mask-canvas .mask-view')?.dataset.drawn > 0")
    wait_data(other, "#mask-canvas .mask-view", layer=layer)
    assert tab_button(other, "#layers-tabs", "masks").get_attribute("aria-selected") == "true"


@pytest.mark.slow
def test_a_link_to_a_run_that_is_not_known_computes_it(open_page):
    page = open_page(
        query="?model=tiny-opt&pattern=2:8&method=magnitude&calibration_windows=4&calibration_length=64&tab=overview"
    )
    wait_done(page, "tiny-opt", "2:8")
    assert "Magnitude kept 2 of every 8" in page.inner_text("#overview-reading")
    assert page.input_value("#method input") == "Magnitude" and page.input_value("#model input") == "tiny-opt"
    key = query(page)["run"]
    again = open_page(query=f"?run={key}")  # another visitor: from the store, at once
    again.wait_for_function("k => document.querySelector('#facts')?.textContent.includes(k)", arg=key)
    assert again.is_disabled("#stop")
    again.locator("#advanced").get_by_text("Advanced").click()
    assert again.input_value("#windows input") == "4"


def test_a_run_goes_on_when_its_tab_is_closed_and_its_link_leads_back_to_it(open_page):
    page = open_page()
    choose(page, "tiny-opt", "4:8", "RIA + CP")
    small_calibration(page, 8, 64)
    prune(page)
    page.wait_for_selector("#stop:enabled")
    wait_query(page, pattern="4:8", model="tiny-opt")
    page.wait_for_selector("#progress .progress")
    link = urlsplit(page.url).query
    page.reload()  # which nobody is told of as an error
    page.wait_for_function("document.querySelectorAll('#cards .card').length > 0")
    page.close()
    again = open_page(query=f"?{link}")
    wait_done(again, "tiny-opt", "4:8")  # watched to its end, or found done
    assert again.input_value("#method input") == "RIA + CP"
    summary = METHODS["ria-cp"].summary
    again.wait_for_function(NOTE, arg=summary)


@pytest.mark.slow
def test_whoever_has_to_wait_is_told_the_place(open_page):
    pages = [open_page() for _ in range(3)]
    for page, pattern in zip(pages, ("1:4", "3:4", "2:8"), strict=True):
        choose(page, "tiny-llama", pattern, "EGGS-PTP+")
        prune(page)
        page.wait_for_selector("#stop:enabled")
    pages[2].wait_for_function(
        "/[12] jobs? ahead of you(, about .*)?/.test(document.querySelector('#progress')?.textContent)"
    )
    for page in reversed(pages):
        page.bring_to_front()
        page.click("#stop")
        page.wait_for_function("document.querySelector('#progress')?.textContent.includes('Stopped.')")
        page.wait_for_selector("#prune:enabled")


def test_a_damaged_link_opens_the_usual_page_and_says_so(open_page):
    page = open_page(query="?model=tiny-llama&pattern=9:4&run=../../x&tab=nonsense")
    page.wait_for_selector("#progress .bad")
    assert first_run().key in page.inner_text("#facts")


@pytest.mark.parametrize("width", [pytest.param(1440, marks=pytest.mark.slow), 390])
def test_runs_are_listed_named_compared_opened_and_exported(open_page, width):
    page = open_page(width=width)
    if width < 768:
        page.click(".sidebar .toggle-button")
    choose(page, pattern="2:8", method="RIA")
    small_calibration(page)
    prune(page)
    wait_done(page, "tiny-llama", "2:8")
    if width < 768:
        page.click(".sidebar .toggle-button")
    key = query(page)["run"]
    open_tab(page, "Runs")
    page.wait_for_function("n => document.querySelector('#runs-reading')?.textContent.includes('finished runs')", arg=0)
    page.locator("#runs-table [data-testid='cell-0-1']:visible").first.click()  # the newest run comes first
    page.locator("#runs-compared thead").get_by_text(key[:6]).wait_for()
    page.fill("#runs-name input, #runs-name textarea", HOSTILE)
    page.click("#runs-rename")
    page.wait_for_function("document.querySelector('#runs-note')?.textContent.includes('Saved')")
    page.locator("#runs-chosen").get_by_text("alert(1)").first.wait_for()
    page.click("#runs-chosen input")
    page.get_by_role("option").filter(has_text="SparseGPT").first.click()
    page.keyboard.press("Escape")
    page.wait_for_function("document.querySelectorAll('#runs-compared thead th').length === 3")
    assert "another text" not in page.inner_text("#runs-compared")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.click("#runs-export")
    page.wait_for_selector("#runs-files a[href*='/file=']")
    links = page.eval_on_selector_all("#runs-files a", "e => e.map(x => x.href)")
    texts = {link.rpartition(".")[2]: page.request.get(link).text() for link in links if "/file=" in link}
    assert {row["Key"] for row in csv.DictReader(io.StringIO(texts["csv"]))} == {
        r["key"] for r in json.loads(texts["json"])
    }
    choose(page, method="EGGS-PTP+") if width >= 768 else None
    page.locator("#runs-table [data-testid^='cell-0-0'] .row-open:visible").first.click()
    page.wait_for_function("k => document.querySelector('#facts')?.textContent.includes(k)", arg=key)
    assert "RIA kept 2 of every 8" in page.inner_text("#overview-reading")
    page.wait_for_function(NOTE, arg=METHODS["ria"].summary)
    assert page.input_value("#method input") == "RIA"


def test_prune_shows_a_known_run_at_once_and_computes_it_again_if_asked(open_page):
    page = open_page()
    shipped = next(run for run in bundled_runs() if run.report["method"] == "wanda" and "llama" in run.report["model"])
    choose(page, method=run_label(shipped))
    prune(page)
    page.wait_for_function("k => document.querySelector('#facts')?.textContent.includes(k)", arg=shipped.key)
    assert "kept since then" in page.inner_text("#progress")
    assert data(page, "#overview-map .model-map")["drawn"]
