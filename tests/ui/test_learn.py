"""The lesson in a real browser: a click's figures are the core's, questions answer, links open a step."""

import pytest
import torch

from eggs_core.pattern import NMPattern
from eggs_core.toy import judge, suggest, toy_layer

pytestmark = [pytest.mark.ui, pytest.mark.timeout(300)]


@pytest.mark.parametrize("width", [1440, 390])
def test_a_click_is_judged_by_the_core(open_page, width):
    page = open_page(width=width, query="?step=4")
    page.wait_for_selector("#lesson-bench button.kept")
    pattern = NMPattern(2, 4)
    mask = suggest(toy_layer(), pattern, "magnitude")
    page.click('#lesson-bench [data-row="2"][data-col="5"]')
    mask[2, 5] = ~mask[2, 5]
    found = judge(toy_layer(), mask, pattern)
    page.wait_for_selector(f'#lesson-measures [data-error="{found.error:.6f}"][data-gap="{found.gap:.6f}"]')
    assert "no: 1 groups" in page.inner_text("#lesson-measures")
    drawn = page.get_attribute("#lesson-bench .bench", "data-mask")
    assert torch.equal(torch.tensor([b == "1" for b in drawn]).view(8, 8), mask)
    page.get_by_label("32", exact=True).check()
    page.wait_for_selector("#lesson-feedback .good")


def test_steps_change_the_address_and_the_matrix(open_page):
    page = open_page(query="?step=1")
    page.wait_for_selector("#lesson-bench [data-kept='64']")
    page.get_by_label("9. Challenge").check()
    page.wait_for_selector("#lesson-bench .bench-degree.orphan")
    page.wait_for_selector("#lesson-words .katex")
    assert "step=9" in page.url and "EGGS-PTP" in page.inner_text("#lesson-measures")
