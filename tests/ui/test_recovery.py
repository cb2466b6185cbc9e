"""Recovery in a real browser: in the Accuracy tab, with its curve, and from the sidebar's fold."""

import pytest
from actions import choose, data, open_section, open_tab, pick, prune, small_calibration, unfold, wait_done
from test_accuracy_tab import quick_run

pytestmark = [pytest.mark.ui, pytest.mark.timeout(600)]


def test_a_run_is_recovered_and_both_perplexities_stand_side_by_side(open_page):
    page = open_page(query=f"?run={quick_run().key}")
    open_tab(page, "Accuracy")
    open_section(page, "Recovery")
    page.wait_for_selector("#recover-table tr")
    page.fill("#recover-tokens input", "4096")
    page.click("#recover-start")
    page.wait_for_function("document.querySelector('#recover-curve .plot')?.dataset.drawn > 0")
    page.wait_for_selector("#recover-table tr[data-recovered='1']")
    row = page.locator("#recover-table tr[data-recovered='1']")
    name, dense, pruned, recovered, words = row.locator("th, td").all_inner_texts()
    assert name == "Magnitude" and words == "4,096 tokens"
    assert float(dense) < float(recovered) < float(pruned)
    assert "of the rise given back" in page.inner_text("#recover-reading")
    assert int(data(page, "#recover-curve .plot")["drawn"]) >= 1
    page.wait_for_selector("#recover-start:enabled")


def test_the_sidebar_recovers_after_pruning(open_page):
    page = open_page()
    choose(page, method="Magnitude")
    small_calibration(page)
    unfold(page, "#recovery-fold")
    pick(page, "#recovery", "distil")
    page.fill("#recovery_tokens input", "1024")
    page.press("#recovery_tokens input", "Tab")
    prune(page)
    wait_done(page, "tiny-llama", "2:4")
    open_tab(page, "Accuracy")
    open_section(page, "Recovery")
    page.wait_for_selector("#recover-table tr[data-recovered='1']")
    assert "recovery=distil" in page.url and "recovery_tokens=1024" in page.url
