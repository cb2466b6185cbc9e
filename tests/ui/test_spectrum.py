"""Spectrum in a real browser: a layer's singular values, and the curve over β, shipped and measured anew."""

import json
from statistics import median

import pytest
from actions import choose, open_tab, small_calibration
from PIL import Image

from components.places.layers.spectrum.view import bins_of
from components.state.known_runs import first_run
from components.state.workspace import Workspace
from eggs_core.graph.spectrum import singular_density
from eggs_core.pruning.beta_curve import CURVES, load_curve

pytestmark = [pytest.mark.ui, pytest.mark.timeout(1200)]
MEASURE = """() => {                      // as plotly does for each label of each axis
  const label = document.querySelector('#density-chart .xtick text');
  const place = document.querySelector('#js-plotly-tester');
  for (let i = 0; i < 20; i++) {
    const copy = place.appendChild(label.cloneNode(true));
    copy.getBoundingClientRect();
    copy.remove();
  }
}"""
TRACES = "s => document.querySelector(s + ' .plot').data.map(t => ({name: t.name, x: t.x, y: t.y}))"


def drawn(page, selector: str) -> None:
    page.wait_for_function("s => document.querySelector(s + ' .plot')?.dataset.drawn > 0", arg=selector)


def test_the_density_and_its_marks_are_those_of_the_layer(page):
    workspace = Workspace()
    workspace.show(first_run())
    layer = workspace.layer_report()
    open_tab(page, "Spectrum")
    drawn(page, "#density-chart")
    traces = page.evaluate(TRACES, "#density-chart")
    bins = bins_of(layer)
    density = singular_density(workspace.run.mask(workspace.layer), bins)
    assert [y / bins for y in traces[0]["y"]] == pytest.approx(density.shares.tolist(), abs=1e-6)
    shown = page.evaluate("document.querySelector('#density-chart .plot').layout.xaxis.range[1]")
    assert layer["sigma2"] < shown < 1.02
    names = {t["name"]: t for t in traces}
    assert names[f"σ₂ = {layer['sigma2']:.3f}"]["x"][0] == pytest.approx(layer["sigma2"])
    assert f"Ramanujan edge = {layer['sigma2'] + layer['ramanujan_margin']:.3f}" in names
    said = page.inner_text("#density-reading")
    assert workspace.layer in said and "stay connected" in said
    page.wait_for_function("document.querySelector('#density-weighted')?.textContent.includes('weighted by the sizes')")


def test_a_label_that_is_measured_makes_the_browser_look_at_no_other_element(page):
    """A rule of the style sheet on what elements hold makes it look at the whole page, for every label."""
    open_tab(page, "Spectrum")
    drawn(page, "#density-chart")
    browser = page.context.browser
    browser.start_tracing(page=page, categories=["devtools.timeline"])
    page.evaluate(MEASURE)
    events = json.loads(browser.stop_tracing())["traceEvents"]
    looked_at = [e["args"]["elementCount"] for e in events if "elementCount" in e.get("args", {})]
    assert len(looked_at) >= 20 and median(looked_at) < 20


def test_another_layer_brings_another_spectrum(page):
    open_tab(page, "Spectrum")
    drawn(page, "#density-chart")
    open_tab(page, "Masks")
    page.click('#model-map [data-layer="model.layers.2.self_attn.q_proj"]')
    open_tab(page, "Spectrum")
    page.wait_for_function(
        "document.querySelector('#density-reading')?.textContent.includes('model.layers.2.self_attn.q_proj')"
    )


def test_the_curve_that_ships_is_drawn_as_it_was_measured(page):
    curve = load_curve(CURVES / "tiny-llama-2of4-ria.json")
    open_tab(page, "Spectrum")
    drawn(page, "#sweep-gap")
    traces = page.evaluate(TRACES, "#sweep-perplexity") + page.evaluate(TRACES, "#sweep-gap")
    assert traces[0]["x"] == [p.beta for p in curve.points]
    assert traces[0]["y"] == pytest.approx([p.perplexity for p in curve.points])
    assert traces[1]["y"] == pytest.approx([p.mean_gap for p in curve.points])
    assert f"to {curve.points[-1].min_in_degree} kept weights" in page.inner_text("#sweep-reading")
    with page.expect_download() as download:
        page.click("#sweep-gap [data-save=png]")
    assert Image.open(download.value.path()).convert("RGBA").getchannel("A").getextrema() == (255, 255)
    hide = page.locator("#sweep-gap .plot-legend").get_by_role("button", name="smallest")
    hide.click()
    page.wait_for_function("document.querySelector('#sweep-gap .plot')?.data[1].visible === 'legendonly'")
    hide.click()
    with page.expect_download() as download:
        page.click("#sweep-gap [data-save=csv]")
    assert len(download.value.path().read_text().splitlines()) == 1 + 2 * len(curve.points)


@pytest.mark.slow
def test_a_curve_is_measured_point_by_point_and_can_be_stopped(page):
    choose(page, pattern="1:4", method="RIA")
    small_calibration(page)
    open_tab(page, "Spectrum")
    page.click("#sweep")
    page.wait_for_selector("#sweep-progress .progress")
    page.wait_for_function("document.querySelector('#sweep-perplexity .plot')?.data?.[0].y.length < 6")
    page.click("#sweep-stop")
    page.wait_for_function("document.querySelector('#sweep-progress')?.textContent.includes('Stopped')")
    page.wait_for_selector("#sweep:enabled")
    points = page.evaluate(TRACES, "#sweep-perplexity")[0]
    assert points["x"][0] == 0 and len(points["y"]) < 6 and points["y"][0] > 30
    assert "tiny-llama · 1:4 · ria · degree" in page.inner_text("#sweep-facts")


def test_sparsegpt_has_no_beta_to_vary(page):
    choose(page, method="SparseGPT")
    open_tab(page, "Spectrum")
    page.click("#sweep")
    page.wait_for_selector("#sweep-progress .bad")
    assert "β cannot steer it" in page.inner_text("#sweep-progress")
    page.wait_for_selector("#sweep:enabled")
