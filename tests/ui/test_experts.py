"""A mixture's experts in the map of a real browser: a cell opens, an expert is chosen, by mouse and by keyboard."""

import pytest
from actions import open_tab, wait_data

from benchmarks.mixture import mixture_run
from eggs_core.runs.store import STORE

pytestmark = [pytest.mark.ui, pytest.mark.timeout(1200)]
GROUP = '#model-map [data-group="model.layers.{}.mlp.experts.*.{}"]'
SMALL = "#model-map .mm-experts .mm-cell"


@pytest.fixture
def page(open_page):
    """The Masks tab on a run of three blocks of twelve experts."""
    run = mixture_run(3, 12)
    STORE.put(run)  # in the store that the app reads too
    page = open_page(query=f"?run={run.key}&tab=masks")
    page.wait_for_function("document.querySelector('#model-map .model-map')?.dataset.drawn > 0")
    return page


def focused(page) -> str:
    return page.evaluate("document.activeElement.dataset.layer || document.activeElement.dataset.group")


def test_a_cell_opens_into_experts_that_can_be_chosen(page):
    run = mixture_run(3, 12)
    assert page.locator("#model-map [data-layer]").count() == 12
    assert page.locator("#model-map [data-group]").count() == 6
    cell = GROUP.format(1, "down_proj")
    assert "mean of 12 experts, lowest 0." in page.get_attribute(cell, "title")
    page.click(cell)
    assert page.get_attribute(cell, "aria-expanded") == "true"
    assert "Block 2, mlp.experts.*.down_proj" in page.get_attribute("#model-map .mm-experts", "aria-label")
    name = "model.layers.1.mlp.experts.7.down_proj"
    gap = f"{run.layer(name)['spectral_gap']:.3f}"
    assert page.locator(SMALL).count() == 12
    assert page.locator(SMALL).nth(7).get_attribute("title") == f"{name}\nspectral gap: {gap}"
    assert page.locator(SMALL).nth(7).inner_text().split() == ["7", gap]
    page.locator(SMALL).nth(7).click()
    wait_data(page, "#mask-canvas .mask-view", layer=name)
    marked = page.locator("#model-map .on")
    assert [node.get_attribute("aria-current") for node in marked.all()] == ["true", "true"]
    assert name in page.inner_text("#layer-reading")
    page.locator("#map-measure label").get_by_text("output error", exact=True).click()  # it stays open and marked
    page.wait_for_function(f"document.querySelectorAll('{SMALL}')[7].title.includes('output error')")
    assert page.locator(SMALL).nth(7).get_attribute("aria-current") == "true"
    page.click(cell)
    assert page.locator(SMALL).count() == 0 and page.get_attribute(cell, "aria-expanded") == "false"


def test_the_keyboard_opens_chooses_and_closes(page):
    cell = GROUP.format(0, "gate_up_proj")
    page.focus(GROUP.format(0, "down_proj"))
    page.keyboard.press("ArrowUp")
    assert focused(page) == "model.layers.0.mlp.experts.*.gate_up_proj"
    page.keyboard.press("Enter")
    assert page.get_attribute(cell, "aria-expanded") == "true"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Close"
    page.keyboard.press("Tab")
    assert focused(page) == "model.layers.0.mlp.experts.0.gate_up_proj"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    name = "model.layers.0.mlp.experts.1.gate_up_proj"
    wait_data(page, "#mask-canvas .mask-view", layer=name)
    assert focused(page) == name
    page.keyboard.press("Escape")
    assert page.locator(SMALL).count() == 0 and focused(page) == "model.layers.0.mlp.experts.*.gate_up_proj"


def test_the_chosen_expert_is_marked_where_an_address_opens(open_page, page):
    name = "model.layers.2.mlp.experts.5.down_proj"
    again = open_page(query=f"?run={mixture_run(3, 12).key}&tab=masks&layer={name}", width=390)
    wait_data(again, "#mask-canvas .mask-view", layer=name)
    assert again.get_attribute(GROUP.format(2, "down_proj"), "aria-current") == "true"
    again.click(GROUP.format(2, "down_proj"))
    assert again.locator(f"{SMALL}.on").get_attribute("data-layer") == name
    assert again.evaluate("document.documentElement.scrollWidth") <= 390
    open_tab(again, "Overview")
