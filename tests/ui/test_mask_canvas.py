"""Masks in a real browser: colour the map, zoom, hover, compare; what is drawn is what the core computes."""

import pytest
from actions import data, open_tab, pick, tab_button, wait_data

from components.state.known_runs import bundled_runs, first_run
from components.words.glossary import MEASURES
from components.words.labels import run_label
from eggs_core.config import PruneConfig
from eggs_core.pruning.one_layer import layer_scores
from eggs_core.runs.run import Run
from eggs_core.runs.store import STORE

pytestmark = [pytest.mark.ui, pytest.mark.timeout(1200)]
ONE, TWO = "#mask-canvas .mask-view", "#other-canvas .mask-view"
LAYER = "model.layers.0.mlp.down_proj"


@pytest.fixture
def page(open_page):
    """A first visit at a layer of two windows' width, from its corner."""
    return open_page(query=f"?layer={LAYER}")


def hover(page, row: int, column: int, selector: str = "#mask-canvas") -> str:
    """Point at one weight and read what is said of it."""
    view = data(page, f"{selector} .mask-view")
    cell = float(view["cell"])
    page.hover(
        f"{selector} canvas",
        position={"x": 46 + (column - int(view["x"]) + 0.5) * cell, "y": 46 + (row - int(view["y"]) + 0.5) * cell},
    )
    return page.inner_text(f"{selector} .mask-info")


def pixel(page, row: int, column: int, selector: str = "#mask-canvas") -> str:
    """The colour in the middle of one weight's cell, as #rrggbb."""
    return page.evaluate(
        """([s, r, c]) => { const v = document.querySelector(s + ' .mask-view');
        const k = v.querySelector('canvas'), cell = +v.dataset.cell;
        const at = (i, first) => Math.floor((46 + (i - first + 0.4) * cell) * devicePixelRatio);
        const d = k.getContext('2d').getImageData(at(c, +v.dataset.x), at(r, +v.dataset.y), 1, 1).data;
        return '#' + [0, 1, 2].map(i => d[i].toString(16).padStart(2, '0')).join(''); }""",
        [selector, row, column],
    )


def zoom_to_cells(page) -> None:
    page.click("#mask-canvas [data-act=cells]")
    wait_data(page, ONE, cell="14.000", x=0, y=0)


def test_the_map_shows_any_measure(page):
    run = first_run()
    open_tab(page, "Masks")
    for measure in ("gap_z", "min_in_degree", "retained_score", "output_error"):
        name, form = MEASURES[measure]
        page.locator("#map-measure label").get_by_text(name, exact=True).click()
        wanted = [form.format(layer[measure]) for layer in run.report["layers"]]
        page.wait_for_function(
            """wanted => {
            const cells = [...document.querySelectorAll('#model-map [data-layer]')].map(c => c.textContent);
            return cells.length === wanted.length && wanted.every(w => cells.includes(w)); }""",
            arg=wanted,
        )
    assert f"of {len(run.report['layers'])} layers" in page.inner_text("#map-reading")


def test_single_weights_say_why_they_were_kept(page):
    run = first_run()
    open_tab(page, "Masks")
    mask, topn = run.mask(LAYER), run.topn_mask(LAYER)
    found = layer_scores(run.report["model"], LAYER, "ria")
    zoom_to_cells(page)
    wait_data(page, ONE, detail="0 0")
    colours = {}
    for kind, where in (("importance", mask & topn), ("connectivity", mask & ~topn), ("pruned", ~mask)):
        row, column = where[:12, :24].nonzero()[0].tolist()
        colours[kind] = pixel(page, row, column)
        said = hover(page, row, column)
        assert f"output {row}, input {column} (group {column // 4}):" in said
        reason = {"importance": "kept, as top-N", "connectivity": "though top-N", "pruned": ": pruned"}[kind]
        assert reason in said
        scores = found.scores[row, column // 4 * 4 : column // 4 * 4 + 4]
        place = int((scores > found.scores[row, column]).sum()) + 1
        assert f"dense weight {found.weight[row, column]:#.3g}"[:18] in said
        assert f"{place}{['st', 'nd', 'rd', 'th'][place - 1]} of its group" in said
        assert f"keeps {int(mask[:, column].sum())} of {len(mask)} weights" in said
    assert colours == {"importance": "#0072b2", "connectivity": "#e69f00", "pruned": "#eef0f4"}


def test_two_methods_side_by_side_move_together(page):
    run = first_run()
    wanda = next(r for r in bundled_runs() if run_label(r) == "Wanda" and r.report["model"] == run.report["model"])
    open_tab(page, "Masks")
    zoom_to_cells(page)
    pick(page, "#compare", "Wanda")
    wait_data(page, TWO, layer=LAYER, kept=int(wanda.mask(LAYER).sum()), cell="14.000", label="Wanda")
    for _ in range(8):
        page.press("#mask-canvas canvas", "ArrowRight")
    wait_data(page, TWO, x=data(page, ONE)["x"])
    assert int(data(page, TWO)["x"]) > 10
    page.hover("#other-canvas canvas", position={"x": 200, "y": 150})
    page.mouse.wheel(0, -300)
    wait_data(page, ONE, cell=f"{14 * 1.25:.3f}")
    assert data(page, ONE)["x"] == data(page, TWO)["x"]
    agree = (run.mask(LAYER) & wanda.mask(LAYER)).sum() / run.mask(LAYER).sum()
    assert f"agree on {agree:.1%} of the kept weights" in page.inner_text("#comparison")


def test_the_difference_of_two_methods(page):
    run = first_run()
    wanda = next(r for r in bundled_runs() if run_label(r) == "Wanda" and r.report["model"] == run.report["model"])
    open_tab(page, "Masks")
    zoom_to_cells(page)
    pick(page, "#compare", "Wanda")
    page.locator("#compare-view label").get_by_text("difference").click()
    wait_data(page, ONE, difference="true", layer=LAYER)
    assert not page.is_visible("#other-canvas")
    one, two = run.mask(LAYER)[:12, :24], wanda.mask(LAYER)[:12, :24]
    for where, colour in ((one & two, "#9aa3b2"), (one & ~two, "#d55e00"), (~one & two, "#e69f00")):
        row, column = where.nonzero()[0].tolist()
        assert pixel(page, row, column) == colour
    row, column = (one & ~two).nonzero()[0].tolist()
    assert "kept by EGGS-PTP+ only" in hover(page, row, column)


def test_what_is_in_view_can_be_downloaded(page):
    run = first_run()
    open_tab(page, "Masks")
    zoom_to_cells(page)
    with page.expect_download() as download:
        page.click("#mask-canvas [data-save=csv]")
    rows = [line.split(",") for line in download.value.path().read_text().splitlines()[1:]]
    mask = run.mask(LAYER)
    assert len(rows) > 500
    assert all((kind != "pruned") == bool(mask[int(r), int(c)]) for r, c, kind in rows)
    for kind in ("png", "svg"):
        with page.expect_download() as download:
            page.click(f"#degree-chart [data-save={kind}]")
        assert download.value.suggested_filename == f"degree-chart.{kind}"
        assert download.value.path().stat().st_size > 2000


def test_a_run_without_topn_says_so_on_the_masks_and_the_graph(open_page):
    shipped = first_run()
    config = shipped.report["config"] | {"seed": 7}
    report = shipped.report | {"seed": 7, "config": config, "key": PruneConfig.from_dict(config).key()}
    STORE.put(Run(report, shipped.packed_masks, {}, shipped.permutations))  # in the store that the app reads too
    page = open_page(query=f"?run={report['key']}&tab=masks")
    page.wait_for_function("document.querySelector('#mask-canvas .mask-view')?.dataset.drawn > 0")
    assert "top-N was not recorded with this run" in page.inner_text("#mask-legend")
    zoom_to_cells(page)
    kept = shipped.mask(LAYER)[0].tolist()
    for column in (kept.index(True), kept.index(False)):
        assert f": {'kept' if kept[column] else 'pruned'};" in hover(page, 0, column)
    tab_button(page, "#layers-tabs", "graph").click()
    page.wait_for_function("document.querySelector('#mask-graph .graph-view')?.dataset.drawn > 0")
    assert "not recorded with this run" in page.inner_text("#topn-title")
    assert "top-N was not recorded with this run" in page.inner_text("#graph-legend")
