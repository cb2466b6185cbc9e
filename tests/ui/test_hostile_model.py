"""A model whose tokens and name are HTML, on every tab of a real browser: nothing of it runs."""

import json
import shutil

import pytest
from actions import TABS, open_section, open_tab

from eggs_core.assets import ASSETS

pytestmark = [pytest.mark.ui, pytest.mark.timeout(1200)]
EVIL = "<img src=x onerror=alert(1)>"
TOKENS = {"Ġthe": "<imgĠsrc=xĠonerror=alert(1)>", "Ġof": "${alert(2)}", "Ġto": "</span><script>alert(3)</script>"}


@pytest.fixture
def hostile_model(tmp_path):
    """The bundled model, with its most frequent tokens renamed: " the" is now an image with a handler."""
    folder = tmp_path / EVIL
    shutil.copytree(ASSETS / "models" / "tiny-llama", folder)
    file = folder / "tokenizer.json"
    tokenizer = json.loads(file.read_text(encoding="utf-8"))
    model = tokenizer["model"]
    # A renamed token can be predicted but no longer be merged from its parts, nor be a part itself.
    model["merges"] = [(a, b) for a, b in model["merges"] if not {a, b, a + b} & set(TOKENS)]
    model["vocab"] = {TOKENS.get(token, token): number for token, number in model["vocab"].items()}
    file.write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")
    return str(folder)


@pytest.mark.slow
def test_hostile_tokens_are_shown_as_text_on_every_tab(open_page, hostile_model):
    page = open_page(query="?step=${alert(4)}&run=<script>alert(5)</script>&layer=../../etc/passwd&tab=<b>")
    open_tab(page, "Overview")
    page.fill("#model input", hostile_model)
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Advanced").click()
    page.fill("#windows input", "4")
    page.fill("#length input", "64")
    page.click("#method input")
    page.get_by_role("option", name="Magnitude", exact=True).click()
    page.click("#prune")
    page.wait_for_function("document.querySelector('#progress')?.innerText.startsWith('Done in')")
    assert EVIL in page.inner_text(".facts:visible >> nth=0")
    for tab in TABS:
        open_tab(page, tab, empty=("#compare-forest .plot",))  # one run alone differs from nothing
    open_tab(page, "Accuracy")
    open_section(page, "Token by token")
    page.fill("#tokens-input textarea", f"The people of the United States {EVIL} ${{alert(6)}} of the Congress.")
    page.click("#tokens-start")
    page.wait_for_selector("#tokens-view .token[data-change]")
    assert EVIL in page.locator("#tokens-view .token-tip").all_text_contents().__str__()
    open_section(page, "Side by side")
    page.fill("#writing-tokens input[type=number]", "24")
    page.fill("#writing-prompt textarea", f"{EVIL} ${{alert(7)}}")
    page.click("#writing-start")
    page.wait_for_function("document.querySelector('#writing-reading')?.textContent.includes('same chance')")
    assert EVIL in page.inner_text("#writing-lanes")
    assert page.locator("img[src=x]").count() == 0
