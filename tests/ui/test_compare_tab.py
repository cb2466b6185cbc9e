"""The Compare tab in a real browser: the shipped sweep, filters, another model, a file of one's own, and export."""

import csv

import pytest
from actions import open_tab, pick

from components.places.runs.compare.view import Choice, chosen, open_source
from eggs_core.sweep.results import EXAMPLES

pytestmark = [pytest.mark.ui, pytest.mark.timeout(1200)]

FILE = EXAMPLES / "bundled.json"
NAMES = "s => document.querySelector(s + ' .plot').data.map(t => t.name)"
FIGURES = ("size", "speed", "heat", "forest")


def starts(page, selector: str, text: str) -> None:
    """Wait until a sentence begins like this."""
    page.wait_for_function(
        "([s, t]) => document.querySelector(s)?.textContent.trim().startsWith(t)", arg=[selector, text]
    )


def test_every_figure_is_drawn_and_read_aloud(page):
    open_tab(page, "Compare")
    sweep = open_source("shipped/bundled")
    groups = chosen(sweep, Choice("tiny-llama"))
    for name in FIGURES:
        said = page.inner_text(f"#compare-{name}-reading")
        assert len(said) > 40 and "Learn" in said
    labels = list(dict.fromkeys(group.label for group in groups))
    names = page.evaluate(NAMES, "#compare-size")
    assert names[0] == "Pareto front" and names[1 : 1 + len(labels)] == labels
    assert f"{len(groups)} results of tiny-llama" in page.inner_text("#compare-reading")
    assert "48 × 256 tokens" in page.inner_text("#compare-facts")

    pick(page, "#compare-patterns", "2:4")
    page.wait_for_function("document.querySelector('#compare-heat .plot')?.data[0].x.length === 1")
    page.keyboard.press("Escape")
    pick(page, "#compare-baseline", "SparseGPT")
    starts(page, "#compare-forest-reading", "Against SparseGPT")
    pick(page, "#compare-measure", "orphans")
    starts(page, "#compare-heat-reading", "Orphans")

    pick(page, "#compare-model", "tiny-opt")
    page.wait_for_function("document.querySelector('#compare-reading')?.textContent.includes('results of tiny-opt')")
    page.wait_for_function("document.querySelector('#compare-heat .plot')?.data[0].x.length === 3")


def test_pruned_and_quantised_models_are_drawn_with_the_sentence(page):
    open_tab(page, "Compare")
    for name in ("size", "speed"):
        page.wait_for_function("s => document.querySelector(s)?.dataset.drawn > 0", arg=f"#front-{name} .plot")
    said = page.inner_text("#front-reading")
    assert "bits" in said and ("Pruning never wins here" in said or "Pruning beats" in said)
    names = page.evaluate(NAMES, "#front-size")
    assert names[0] == "beaten by none" and {"pruned", "quantised alone", "llama.cpp", "dense"} <= set(names)
    starts(page, "#front-facts", page.input_value("#front-model input"))


def test_what_structure_costs_is_drawn_with_its_sentence_on_a_phone_too(open_page):
    for width in (1440, 390):
        page = open_page(width=width)
        open_tab(page, "Compare")
        assert {"Wanda", "RIA", "dense"} <= set(page.evaluate(NAMES, "#structure"))
        starts(page, "#structure-reading", "By ")
        starts(page, "#structure-facts", "tiny-llama")
        named = page.get_attribute("#structure .plot", "aria-labelledby")
        assert "structure-reading" in named and page.evaluate("document.documentElement.scrollWidth") <= width


BESIDE = """() => [...document.querySelectorAll('.plot .xtitle')].filter(title => {
  const right = element => element.getBoundingClientRect().right;
  return title.checkVisibility() && right(title) > right(title.closest('.plot')) + 1;
}).map(title => title.textContent)"""


def test_the_titles_of_axes_fit_a_phone(open_page):
    page = open_page(width=390)
    for name in ("Accuracy", "Latency & size", "Compare"):
        open_tab(page, name)
        assert page.locator(".plot .xtitle:visible").count() > 0
        assert page.evaluate(BESIDE) == [], name


def upload(page, file) -> None:
    """Choose a file in the dialogue that the upload button opens."""
    with page.expect_file_chooser() as chooser:
        page.click("#compare-upload")
    chooser.value.set_files(file)


def test_cells_can_be_taken_along_and_a_file_opened(page, tmp_path):
    open_tab(page, "Compare")
    page.click("#compare-export")
    page.wait_for_selector("#compare-file a[download]")
    with page.expect_download() as download:
        page.click("#compare-file a[download]")
    with download.value.path().open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(open_source("shipped/bundled").cells)
    assert {row["status"] for row in rows} <= {"done", "known"}

    mine = tmp_path / "sweep.json"
    mine.write_text(
        FILE.read_text(encoding="utf-8").replace('"name": "bundled"', '"name": "<b>mine</b>"'), encoding="utf-8"
    )
    upload(page, mine)
    starts(page, "#compare-reading", "<b>mine</b>")
    mine.write_text("{}", encoding="utf-8")
    upload(page, mine)
    page.wait_for_selector("#compare-note .bad")
    assert "sweep.json" in page.inner_text("#compare-note") or "another version" in page.inner_text("#compare-note")


def test_all_finished_runs_can_be_compared(page):
    open_tab(page, "Compare")
    pick(page, "#compare-source", "All finished runs, whatever started them")
    starts(page, "#compare-reading", "All finished runs")
    assert page.locator("#compare-reading .bad").count() == 0
