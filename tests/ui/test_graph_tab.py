"""The expander graph in a real browser: pick a set, play a signal, slide β; what is drawn is what the core computes."""

import pytest
import torch
from actions import data, open_tab, pick, unfold, wait_data
from PIL import Image

from components.places.layers.graph.view import settle
from components.state.known_runs import first_run
from components.state.workspace import Workspace
from eggs_core.graph.expansion import expansion, lowest_degree_set, spread, worst_set
from eggs_core.graph.measures import certificate_sigma2, count_components
from eggs_core.pattern import NMPattern
from eggs_core.pruning.one_layer import beta_step

pytestmark = [pytest.mark.ui, pytest.mark.timeout(1200)]
# The share of a canvas's pixels on which something is painted that can be seen.
INKED = """s => { const c = document.querySelector(s);
  const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
  let n = 0; for (let i = 3; i < d.length; i += 4) if (d[i] > 8) n++; return 4 * n / d.length; }"""
GRAPH, TOPN = "#mask-graph .graph-view", "#topn-graph .graph-view"


@pytest.fixture
def layer() -> tuple:
    """The run in view at first, its chosen layer, and the window in which the graph opens: its rows and columns."""
    workspace = Workspace()
    workspace.show(first_run())
    settle(workspace)
    row, column = workspace.row, workspace.column
    return workspace.run, workspace.layer, slice(row, row + 8), slice(column, column + 8)


def table_row(page, label: str) -> list[str]:
    return page.locator("#set-table tr", has_text=label).last.inner_text().split("\t")


def test_click_channels_and_see_their_neighbours(page, layer):
    run, name, rows, columns = layer
    open_tab(page, "Expander graph")
    box = page.locator("#mask-graph canvas").bounding_box()

    def at(i):
        return (18 + i * (box["width"] - 36) / 7, 30)

    page.locator("#mask-graph canvas").hover(position={"x": at(3)[0], "y": at(3)[1]})
    wait_data(page, GRAPH, hover=3)
    for count, i in enumerate((3, 7), 1):
        page.locator("#mask-graph canvas").click(position={"x": at(i)[0], "y": at(i)[1]})
        wait_data(page, GRAPH, chosen=count)
    mask = run.mask(name)
    members = columns.start + torch.tensor([3, 7])
    wait_data(page, GRAPH, reached=int(mask[rows, members].any(1).sum()))
    wait_data(page, TOPN, chosen=2, reached=int(run.topn_mask(name)[rows, members].any(1).sum()))
    unfold(page, "#theory")
    whole = expansion(mask, "inputs", members, certificate_sigma2(mask, run.layer(name)["sigma2"]))
    page.wait_for_function("n => document.querySelector('#set-table')?.innerText.includes(n)", arg=f"{whole.ratio:.2f}")
    label = "EGGS-PTP+"
    wanted = [label, "2", str(whole.neighbours), f"{whole.ratio:.2f}", f"≥ {whole.certificate:.2f}"]
    assert table_row(page, label) == wanted
    page.press("#mask-graph canvas", "Escape")
    wait_data(page, GRAPH, chosen=0)


def test_a_channel_picked_while_an_answer_is_under_way_counts(page, layer):
    """The request of the first click is held up until the second click is made."""
    run, name, _, columns = layer
    open_tab(page, "Expander graph")
    unfold(page, "#theory")
    box, held = page.locator("#mask-graph canvas").bounding_box(), []

    def hold(route) -> None:
        if not held and '"members"' in (route.request.post_data or ""):
            held.append(route)
        else:
            route.continue_()

    page.route("**/gradio_api/run/**", hold)
    for count, i in enumerate((3, 7), 1):
        page.locator("#mask-graph canvas").click(position={"x": 18 + i * (box["width"] - 36) / 7, "y": 30})
        wait_data(page, GRAPH, chosen=count)
        page.wait_for_timeout(500)
    assert held, "no request told of the click"
    held[0].continue_()
    mask, members = run.mask(name), columns.start + torch.tensor([3, 7])
    whole = expansion(mask, "inputs", members, certificate_sigma2(mask, run.layer(name)["sigma2"]))
    page.wait_for_function("n => document.querySelector('#set-table')?.innerText.includes(n)", arg=f"{whole.ratio:.2f}")
    page.wait_for_timeout(1000)  # for an answer to the first click to do harm
    assert table_row(page, "EGGS-PTP+")[1:3] == ["2", str(whole.neighbours)]


def test_buttons_choose_sets_of_either_side(page, layer):
    run, name, rows, columns = layer
    mask, inputs, outputs = (
        run.mask(name),
        torch.arange(columns.start, columns.stop),
        torch.arange(rows.start, rows.stop),
    )
    open_tab(page, "Expander graph")
    unfold(page, "#theory")
    page.wait_for_function("document.querySelector('#expansion-chart .plot')?.dataset.drawn > 0")
    page.click("#set-lowest")
    lowest = lowest_degree_set(mask, "inputs", inputs, 4)
    wait_data(page, GRAPH, chosen=4, reached=int(mask[rows, lowest].any(1).sum()))
    page.locator("#set-side label").get_by_text("outputs").click()
    page.click("#set-worst")
    worst = worst_set(mask, "outputs", outputs, 4)
    wait_data(page, GRAPH, chosen=4, reached=int(mask[worst][:, columns].any(0).sum()))
    page.wait_for_function(
        "n => document.querySelector('#set-reading')?.textContent.includes(n)",
        arg=f"{int(mask[worst].any(0).sum())} under EGGS-PTP+",
    )
    page.click("#set-random")
    wait_data(page, GRAPH, chosen=4)
    page.click("#set-clear")
    wait_data(page, GRAPH, chosen=0)


def test_a_signal_spreads_step_by_step_as_in_the_core(page, layer):
    run, name, _, columns = layer
    open_tab(page, "Expander graph")
    unfold(page, "#theory")
    weakest = int(run.mask(name).sum(0).argmin())
    page.wait_for_function(
        "s => document.querySelector('#mixing-reading')?.textContent.includes(s)",
        arg=f"a signal from input {weakest}, the least connected",
    )
    page.click("#set-lowest")
    wait_data(page, GRAPH, chosen=4)
    page.click("#set-play")
    page.wait_for_selector("#mask-graph .player:not([hidden])")
    members = lowest_degree_set(run.mask(name), "inputs", torch.arange(columns.start, columns.stop), 4)
    steps = spread(run.mask(name), "inputs", members, 8)
    # It plays by itself.
    page.wait_for_function("+document.querySelector('#mask-graph .graph-view')?.dataset.step >= 2")
    page.click("#mask-graph [data-act=play]")
    while int(data(page, GRAPH)["step"]) > 1:
        page.click("#mask-graph [data-act=back]")
    assert float(data(page, GRAPH)["uneven"]) == pytest.approx(steps[1].uneven, abs=1e-4)
    page.click("#mask-graph [data-act=next]")
    assert float(data(page, GRAPH)["uneven"]) == pytest.approx(steps[2].uneven, abs=1e-4)
    assert "Step 2 of 8: on the inputs" in page.inner_text("#mask-graph .player-text")
    page.wait_for_function("document.querySelector('#mixing-chart .plot')?.dataset.drawn > 0")


def test_the_slider_goes_from_topn_to_equal_degrees(page, layer):
    run, name, rows, columns = layer
    open_tab(page, "Expander graph")
    degrees = run.mask(name).sum(0)
    stands = f"{100 * degrees.min().item() / degrees.double().mean().item():.0f}"
    page.wait_for_function("n => document.querySelector('#graph-beta input[type=number]')?.value === n", arg=stands)
    for percent in (0, 30, 55, 100):
        page.fill("#graph-beta input[type=number]", str(percent))
        page.press("#graph-beta input[type=number]", "Enter")
        page.wait_for_selector(f"#beta-cards .minis[data-beta='{percent}%']")
        step = beta_step(run.report["model"], name, "ria", NMPattern(2, 4), percent / 100)
        wait_data(page, GRAPH, edges=int(step.mask[rows, columns].sum()), label=f"degree bound, β = {percent}%")
        said = page.inner_text("#beta-cards")
        for figure in (f"{1 - step.sigma2:.4f}", f"{100 * step.retained:.3f} %", f"at least {step.bound} weights"):
            assert figure in said
        assert "<a" not in page.inner_text("#tabs"), "HTML is shown as text"
    assert step.min_in_degree == degrees.double().mean().item()
    page.focus("#graph-beta input[type=range]")
    page.keyboard.press("ArrowLeft")
    page.wait_for_selector("#beta-cards .minis[data-beta='99%']")
    page.click("#graph-as-pruned")
    wait_data(page, GRAPH, edges=int(run.mask(name)[rows, columns].sum()), label="EGGS-PTP+")


def test_a_window_outside_the_matrix_moves_inside(page, layer):
    run, name, _, columns = layer
    most = run.mask(name).shape[0]
    open_tab(page, "Expander graph")
    page.wait_for_function("n => document.querySelector('#graph-column input')?.value === n", arg=str(columns.start))
    page.fill("#graph-row input", "999999")
    page.press("#graph-row input", "Enter")
    page.wait_for_function("n => document.querySelector('#graph-row input')?.value === n", arg=str(most - 8))
    assert f"outputs {most - 8}–{most - 1}" in page.inner_text("#graph-reading")
    wait_data(page, GRAPH, edges=int(run.mask(name)[-8:, columns].sum()))
    page.fill("#graph-row input", "-5")
    page.press("#graph-row input", "Enter")
    page.wait_for_function("document.querySelector('#graph-row input')?.value === '0'")
    assert count_components(run.mask(name)) == 1


def test_the_whole_layer_is_drawn_in_bundles(page, layer):
    run, name, *_ = layer
    open_tab(page, "Expander graph")
    pick(page, "#graph-size", "whole layer")
    bundles = sum(-(-n // -(-n // 48)) for n in run.mask(name).shape)
    wait_data(page, GRAPH, nodes=bundles, orphans=0)
    page.locator("#graph-layout label").get_by_text("circular", exact=True).click()
    unfold(page, "#theory")
    page.click("#set-lowest")
    page.wait_for_function("s => document.querySelector(s)?.dataset.chosen > 0", arg=TOPN)
    for file in ("png", "svg", "csv"):
        with page.expect_download() as download:
            page.click(f"#mask-graph [data-save={file}]")
        assert download.value.suggested_filename == f"graph-EGGS-PTP+.{file}"
        if file == "png":
            alpha = Image.open(download.value.path()).convert("RGBA").getchannel("A")
            assert alpha.getextrema() == (255, 255), "a picture without a ground of its own is illegible elsewhere"
        if file == "svg":
            assert '<rect width="100%"' in download.value.path().read_text(encoding="utf-8")
    assert page.evaluate(INKED, "#topn-graph canvas") > 0.1, "the lines behind the chosen set are gone"
    assert len(download.value.path().read_text().splitlines()) == 1 + int(data(page, GRAPH)["edges"])


def test_a_slider_moved_in_haste_leaves_no_markup_in_sight(page):
    """By keys and by the mouse, faster than the server answers."""
    open_tab(page, "Expander graph")
    page.wait_for_selector("#graph-beta input[type=range]:enabled")
    page.focus("#graph-beta input[type=range]")
    for key in ["ArrowRight"] * 12 + ["ArrowLeft"] * 5 + ["PageUp", "End", "Home", "ArrowRight"]:
        page.keyboard.press(key)
    box = page.locator("#graph-beta input[type=range]").bounding_box()
    for share in (0.2, 0.9, 0.4, 0.6):
        page.mouse.click(box["x"] + share * box["width"], box["y"] + box["height"] / 2)
        assert "<a " not in page.inner_text("body") and "lesson-link" not in page.inner_text("body")
    stands = page.input_value("#graph-beta input[type=number]")
    page.wait_for_selector(f"#beta-cards .minis[data-beta='{stands}%']")
    assert "<a " not in page.inner_text("body") and "class=" not in page.inner_text("body")
