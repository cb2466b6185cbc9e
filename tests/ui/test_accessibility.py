"""No barrier that axe-core finds on any tab, light and dark, wide and narrow; the keyboard's ways through the page."""

from pathlib import Path

import pytest
from actions import TABS, open_section, open_tab, unfold

pytestmark = [pytest.mark.ui, pytest.mark.timeout(1200)]

AXE = Path(__file__).parent.parent / "support" / "axe" / "axe.min.js"  # 4.14.1
RUN = """async within => (await axe.run(within, { resultTypes: ['violations'] })).violations.flatMap(
  rule => rule.nodes.map(n => [rule.id, n.target.join(' '), n.html.slice(0, 160), n.failureSummary.slice(0, 300)]))"""
SECTIONS = ("Zero-shot tasks", "Token by token", "Side by side", "Where it breaks", "Report")
FOLDS = {
    "Overview": ["#expert-measures"],
    "Expander graph": ["#theory"],
    "Latency & size": ["#layers-fold", "#limits-fold", "#gpu-fold"],
}
# What is gradio's own and cannot be mended from here: rule -> what its selector holds. Each must still occur.
GRADIO: dict[str, tuple[str, ...]] = {}


def barriers(page, within: str = "#tabs") -> list[list[str]]:
    return page.evaluate(RUN, within)


@pytest.mark.parametrize(
    ("theme", "width"),
    [
        ("light", 1440),
        ("dark", 390),
        pytest.param("dark", 1440, marks=pytest.mark.slow),
        pytest.param("light", 390, marks=pytest.mark.slow),
    ],
)
def test_no_tab_has_a_barrier(open_page, theme, width):
    page = open_page(width, 900, f"?tab=overview&__theme={theme}")
    page.add_script_tag(content=AXE.read_text(encoding="utf-8"))
    if width < 768:
        page.click("#sidebar .toggle-button")
    unfold(page, "#advanced")
    found = {"page": barriers(page, "html")}
    if width < 768:
        page.click("#sidebar .toggle-button")
    for name in TABS:
        open_tab(page, name)
        for fold in FOLDS.get(name, ()):
            unfold(page, fold)
        found[name] = barriers(page)
        for section in SECTIONS if name == "Accuracy" else ():
            open_section(page, section)
            found[section] = barriers(page)
    open_tab(page, "Home")
    page.wait_for_selector("#home .home-written")
    found["Home"] = barriers(page, "html")
    learn = open_page(width, 900, f"?__theme={theme}&step=expander")
    learn.wait_for_selector("#lesson-extra .lesson-graph")
    learn.add_script_tag(content=AXE.read_text(encoding="utf-8"))
    found["Learn"] = barriers(learn)
    left, used = {}, set()
    for place, rows in found.items():
        for rule, target, *what in rows:
            own = [part for part in GRADIO.get(rule, ()) if part in target]
            used |= {(rule, part) for part in own}
            if not own:
                left.setdefault((rule, target), [place, *what])
    assert not left, "\n".join(f"{rule} at {target}: {what}" for (rule, target), what in left.items())
    assert used == {(rule, part) for rule, parts in GRADIO.items() for part in parts}, "an exception no longer occurs"


def focused(page) -> str:
    return page.evaluate("document.activeElement.textContent.trim()")


def test_the_keyboard_goes_through_the_tabs_and_straight_to_the_results(page):
    page.keyboard.press("Tab")
    assert focused(page) == "Skip to the results"
    assert page.locator("#skip").bounding_box()["y"] >= 0
    page.keyboard.press("Enter")
    assert focused(page) == "Layers"
    for key, name in (("ArrowRight", "Quality"), ("End", "Runs"), ("ArrowRight", "Home"), ("ArrowLeft", "Runs")):
        page.keyboard.press(key)
        page.wait_for_function("n => document.activeElement.textContent.trim() === n", arg=name)
        assert page.locator("#tabs [role=tab][aria-selected=true]").first.inner_text() == name
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
