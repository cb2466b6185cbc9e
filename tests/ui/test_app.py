"""What a visitor does, in a real browser: look, prune, stop, open every tab, and type nonsense."""

from pathlib import Path

import pytest
from actions import (
    TABS,
    choose,
    data,
    free_pattern,
    open_tab,
    pick,
    prune,
    refusal,
    small_calibration,
    unfold,
    wait_done,
)

from components.places.layers.graph.view import settle
from components.state.known_runs import first_run
from components.state.workspace import Workspace
from components.words.labels import run_label

pytestmark = [pytest.mark.ui, pytest.mark.timeout(1200)]

SCREENSHOTS = Path(__file__).resolve().parents[2] / "build" / "screenshots"


def window_of(run, layer: str, size: int, mask):
    """What the graph tab shows of a mask until a window is chosen: where it and top-N's differ most."""
    workspace = Workspace(run=run, layer=layer)
    workspace.graph.size = size
    settle(workspace)
    return workspace.window(mask, size)[0]


def colours(page, selector: str) -> int:
    """How many different colours a canvas shows."""
    return page.evaluate(
        """s => { const c = document.querySelector(s);
        const d = new Uint32Array(c.getContext('2d').getImageData(0, 0, c.width, c.height).data.buffer);
        return new Set(d).size; }""",
        selector,
    )


def test_a_first_visit_shows_a_finished_result(page):
    run = first_run()
    evaluation = run.report["evaluation"]
    cards = page.inner_text("#cards")
    for side in ("dense", "pruned"):
        assert f"{evaluation[side]['perplexity']:.1f}" in cards
        assert f"{evaluation[side]['top1']:.1%}" in cards
    facts = page.inner_text("#facts")
    assert facts.startswith(f"{run.report['model']} · {run.report['pattern']} · computed {run.report['created'][:10]}")
    assert run.key in facts
    assert run_label(run) in page.inner_text("#overview-reading")
    unfold(page, "#expert-measures")
    page.wait_for_function("document.querySelectorAll('#layer-chart .scatterlayer .trace').length > 3")
    page.wait_for_selector("#prune:enabled")
    assert page.is_disabled("#stop")


def test_every_tab_opens_and_has_something_to_see(page):
    for name in TABS:
        open_tab(page, name)
    open_tab(page, "Accuracy")
    label = run_label(first_run())
    page.wait_for_function(
        "label => ['Dense', label].every(t => document.querySelector('#accuracy-table')?.innerText.includes(t))",
        arg=label,
    )
    open_tab(page, "Overview")
    assert page.is_visible("#cards .card")


def test_choose_and_prune(page):
    choose(page, "tiny-opt", "1:4", "Wanda")
    assert "keeps 1 of every 4" in page.inner_text("#pattern-note")
    small_calibration(page)
    open_tab(page, "Masks")
    prune(page)
    page.wait_for_selector("#progress .progress")
    page.wait_for_selector("#stop:enabled")
    # Layers of the new model appear while Stop can still be pressed.
    page.wait_for_function(
        """() => { const n = document.querySelectorAll('#model-map [data-layer^="model.decoder.layers"]').length;
        return n > 0 && n < 36 && document.querySelector('#stop:enabled'); }"""
    )
    page.wait_for_function("document.querySelectorAll('#model-map [data-layer]').length === 36")
    page.wait_for_function("document.querySelector('#progress')?.textContent.includes('Done in')")
    open_tab(page, "Overview")
    wait_done(page, "tiny-opt", "1:4")
    assert page.locator("#cards .card").count() == 4
    assert "Wanda kept 1 of every 4 weights in 36 layers" in page.inner_text("#overview-reading")
    assert page.is_disabled("#stop")


def test_stop_keeps_what_is_finished_and_prune_works_again(page):
    open_tab(page, "Masks")
    choose(page, "tiny-opt", "2:4", "EGGS-PTP+")
    small_calibration(page, 16, 128)
    prune(page)
    page.wait_for_function("document.querySelector('#model-map [data-layer^=\"model.decoder\"]')")
    page.click("#stop")
    page.wait_for_function("document.querySelector('#progress')?.textContent.includes('Stopped.')")
    page.wait_for_selector("#prune:enabled")
    page.wait_for_timeout(1500)  # nothing that was on its way may undo the stop
    page.wait_for_selector("#prune:enabled")
    assert page.is_disabled("#stop")
    said = page.inner_text("#progress")
    left = page.locator('#model-map [data-layer^="model.decoder"]').count()
    assert 0 < left < 36
    assert f"The {left} layers finished so far stay visible" in said.replace("1 layer ", "1 layers ")
    open_tab(page, "Overview")
    page.wait_for_function("document.querySelector('#cards')?.textContent.includes('Ended after')")
    open_tab(page, "Masks")
    page.locator("#model-map [data-layer]").first.click()
    page.wait_for_function(
        "document.querySelector('#mask-canvas .mask-view')?.dataset.layer === "
        "(document.querySelector('#model-map [data-layer]')?.dataset.layer ?? 'none yet')"
    )

    choose(page, pattern="3:4", method="Magnitude")
    prune(page)
    page.wait_for_function("document.querySelector('#progress')?.textContent.includes('Done in')")
    open_tab(page, "Overview")
    wait_done(page, "tiny-opt", "3:4")


def test_masks_and_graphs_are_those_of_the_core(page):
    run = first_run()
    by_shape = {tuple(layer["shape"]): layer["name"] for layer in run.report["layers"]}
    open_tab(page, "Masks")
    assert page.locator("#model-map [data-layer]").count() == len(run.report["layers"])
    for name in by_shape.values():
        page.click(f'#model-map [data-layer="{name}"]')
        page.wait_for_function("n => document.querySelector('#mask-canvas .mask-view')?.dataset.layer === n", arg=name)
        mask = run.mask(name)
        shown = data(page, "#mask-canvas .mask-view")
        assert int(shown["kept"]) == int(mask.sum())
        assert int(shown["minDegree"]) == int(mask.sum(0).min())
        assert colours(page, "#mask-canvas canvas") > 3
        page.wait_for_function("n => document.querySelector('#layer-reading')?.textContent.includes(n)", arg=name)

    open_tab(page, "Expander graph")
    for size in (8, 32):
        if size != 8:
            pick(page, "#graph-size", str(size))
        page.wait_for_function(
            "n => document.querySelector('#mask-graph .graph-view')?.dataset.nodes === n", arg=str(2 * size)
        )
        for selector, whole in (("#mask-graph", mask), ("#topn-graph", run.topn_mask(name))):
            window = window_of(run, name, size, whole)
            wanted = {"nodes": 2 * size, "edges": int(window.sum()), "orphans": int((window.sum(0) == 0).sum())}
            page.wait_for_function(
                """([s, w]) => { const d = document.querySelector(s + ' .graph-view')?.dataset ?? {};
                return Object.keys(w).every(k => d[k] === String(w[k])); }""",
                arg=[selector, wanted],
            )
    bars = "document.querySelector('#mask-graph canvas').toDataURL()"
    for kind in ("spectral", "circular"):
        before = page.evaluate(bars)
        page.locator("#graph-layout label").get_by_text(kind, exact=True).click()
        page.wait_for_function(f"before => {bars} !== before", arg=before)
        shown = data(page, "#mask-graph .graph-view")
        assert {k: int(shown[k]) for k in wanted} == {
            **wanted,
            "edges": int(window_of(run, name, 32, mask).sum()),
            "orphans": int((window_of(run, name, 32, mask).sum(0) == 0).sum()),
        }
    assert colours(page, "#mask-graph canvas") > 3


def test_the_window_of_the_mask_is_the_window_of_the_graph(page):
    run = first_run()
    open_tab(page, "Masks")
    name = max(run.report["layers"], key=lambda layer: layer["shape"][1])["name"]
    page.click(f'#model-map [data-layer="{name}"]')
    page.wait_for_function("n => document.querySelector('#mask-canvas .mask-view')?.dataset.layer === n", arg=name)
    page.click("#mask-canvas [data-act=cells]")
    page.wait_for_function("+document.querySelector('#mask-canvas .mask-view')?.dataset.cell === 14")
    for _ in range(20):
        page.press("#mask-canvas canvas", "ArrowRight")
    page.wait_for_function("+document.querySelector('#mask-canvas .mask-view')?.dataset.x > 40")
    column = int(data(page, "#mask-canvas .mask-view")["x"])
    open_tab(page, "Expander graph")
    page.wait_for_function("c => document.querySelector('#graph-column input')?.value === String(c)", arg=column)
    window = run.mask(name)[:8, column : column + 8]
    page.wait_for_function(
        "n => document.querySelector('#mask-graph .graph-view')?.dataset.edges === n", arg=str(int(window.sum()))
    )


def test_a_pattern_that_is_none_is_one_sentence(page):
    free_pattern(page, 1, 64)
    page.wait_for_selector("#pattern-note .bad")
    prune(page)
    assert "Groups hold at most 32 weights" in refusal(page)
    page.fill("#group input", "4")
    page.fill("#keep input", "5")
    page.press("#keep input", "Tab")
    page.wait_for_function("document.querySelector('#pattern-note')?.textContent.includes('5:4')")
    prune(page)
    page.wait_for_function("document.querySelector('#progress')?.textContent.includes('5:4')")
    said = refusal(page)
    assert "cannot exceed M" in said
    assert "5:4" in said
    assert page.locator("#cards .card").count() == 4  # the result in view stays


def test_a_pattern_that_does_not_divide_names_the_layer(page):
    free_pattern(page, 5, 7)
    prune(page)
    said = refusal(page)
    assert "layer model.layers.0.self_attn.q_proj has shape (192, 192)" in said
    assert "5:7" in said
    assert page.locator("#cards .card").count() == 4


def test_an_unknown_model_is_one_sentence_that_offers_the_bundled_ones(page):
    choose(page, "nobody/nothing-at-all")
    prune(page)
    said = refusal(page)
    assert "nobody/nothing-at-all" in said
    assert "tiny-llama and tiny-opt" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("name", ["<img src=x onerror=alert(1)>", "${alert(1)}", "{{value}}<script>alert(1)</script>"])
def test_a_hostile_model_name_is_shown_as_text(page, name):
    page.evaluate("void (window.alert = () => { document.body.dataset.hacked = '1'; })")
    choose(page, name)
    prune(page)
    assert name in refusal(page)
    assert page.locator("#progress img, #progress script").count() == 0
    assert page.evaluate("document.body.dataset.hacked === undefined")


def test_a_calibration_text_that_is_too_short_is_one_sentence(page):
    page.locator("#advanced").get_by_text("Advanced").click()
    pick(page, "#calibration-source", "Text of your own")
    page.fill("#calibration-text textarea", "Far too short a text.")
    prune(page)
    assert "fewer than one window of 256" in refusal(page)


def test_a_dataset_that_cannot_be_is_one_sentence(page):
    page.locator("#advanced").get_by_text("Advanced").click()
    pick(page, "#calibration-source", "Hub dataset")
    page.wait_for_selector("#calibration-text", state="hidden")
    page.fill("#calibration-dataset :is(input, textarea)", "no such: name")
    prune(page)
    assert "is no dataset" in refusal(page)


@pytest.mark.slow
def test_two_visitors_at_once_see_their_own_results(open_page):
    visitors = [(open_page(), "tiny-llama", "1:4", "Magnitude", 42), (open_page(), "tiny-opt", "3:4", "RIA", 36)]
    for page, model, pattern, method, _ in visitors:
        choose(page, model, pattern, method)
        small_calibration(page)
    for page, *_ in visitors:
        prune(page)
    for page, model, pattern, method, layers in visitors:
        page.bring_to_front()
        wait_done(page, model, pattern)
        keep, group = pattern.split(":")
        said = page.inner_text("#overview-reading")
        assert f"{method} kept {keep} of every {group} weights in {layers} layers" in said
        open_tab(page, "Masks")
        assert page.locator("#model-map [data-layer]").count() == layers
        shown = data(page, "#mask-canvas .mask-view")
        assert shown["layer"].startswith("model.decoder." if model == "tiny-opt" else "model.layers.")


SCREENS = [(theme, width) for theme in ("light", "dark") for width in (1440, 1024, 390)]
SOON = [("light", 1440), ("dark", 390)]  # the others are CI's


@pytest.mark.parametrize(
    ("theme", "width"), [pytest.param(*s, marks=[] if s in SOON else [pytest.mark.slow]) for s in SCREENS]
)
def test_every_tab_fits_the_screen(open_page, theme, width):
    """No tab is wider than the screen; the pictures are for people to look at."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page = open_page(width, 900, f"?tab=overview&__theme={theme}")
    assert page.evaluate("document.body.classList.contains('dark')") == (theme == "dark")
    if width < 800:
        page.screenshot(path=SCREENSHOTS / f"{theme}-{width}-first.png")
        if "open" in page.get_attribute("#sidebar", "class").split():
            page.click("#sidebar .toggle-button")
            page.wait_for_function("document.querySelector('#sidebar')?.classList.contains('open') === false")
        assert page.locator(".plot .modebar-btn").count() == 0, "plotly's toolbar would cover a narrow figure's legend"
    for name in TABS:
        open_tab(page, name)
        file = name.lower().replace(" & ", "-").replace(" ", "-")
        page.screenshot(path=SCREENSHOTS / f"{theme}-{width}-{file}.png", full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
