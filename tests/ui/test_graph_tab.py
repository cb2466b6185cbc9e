"""The expander graph in a real browser: pick a set, play a signal, slide β; what is drawn is what the core computes."""

import pytest
import torch
from actions import data, open_tab, pick, wait_data

from components.state.known_runs import first_run
from components.state.workspace import Workspace
from eggs_core.graph.expansion import expansion, lowest_degree_set, spread, worst_set
from eggs_core.graph.measures import certificate_sigma2, count_components
from eggs_core.pattern import NMPattern
from eggs_core.pruning.one_layer import beta_step

pytestmark = [pytest.mark.ui, pytest.mark.timeout(1200)]
GRAPH, TOPN = "#mask-graph .graph-view", "#topn-graph .graph-view"


@pytest.fixture
def layer() -> tuple:
    """The run in view at first, and its chosen layer."""
    workspace = Workspace()
    workspace.show(first_run())
    return workspace.run, workspace.layer


def table_row(page, label: str) -> list[str]:
    return page.locator("#set-table tr", has_text=label).last.inner_text().split("\t")


def test_click_channels_and_see_their_neighbours(page, layer):
    run, name = layer
    open_tab(page, "Expander graph")
    box = page.locator("#mask-graph canvas").bounding_box()

    def at(i):
        return (18 + i * (box["width"] - 36) / 15, 30)

    page.locator("#mask-graph canvas").hover(position={"x": at(3)[0], "y": at(3)[1]})
    wait_data(page, GRAPH, hover=3)
    for count, i in enumerate((3, 7), 1):
        page.locator("#mask-graph canvas").click(position={"x": at(i)[0], "y": at(i)[1]})
        wait_data(page, GRAPH, chosen=count)
    mask = run.mask(name)
    members = torch.tensor([3, 7])
    wait_data(page, GRAPH, reached=int(mask[:16, members].any(1).sum()))
    wait_data(page, TOPN, chosen=2, reached=int(run.topn_mask(name)[:16, members].any(1).sum()))
    whole = expansion(mask, "inputs", members, certificate_sigma2(mask, run.layer(name)["sigma2"]))
    page.wait_for_function("n => document.querySelector('#set-table').innerText.includes(n)", arg=f"{whole.ratio:.2f}")
    label = "EGGS-PTP+"
    wanted = [label, "2", str(whole.neighbours), f"{whole.ratio:.2f}", f"≥ {whole.certificate:.2f}"]
    assert table_row(page, label) == wanted
    page.press("#mask-graph canvas", "Escape")
    wait_data(page, GRAPH, chosen=0)


def test_a_channel_picked_while_an_answer_is_under_way_counts(page, layer):
    """The request of the first click is held up until the second click is made."""
    run, name = layer
    open_tab(page, "Expander graph")
    box, held = page.locator("#mask-graph canvas").bounding_box(), []

    def hold(route) -> None:
        if not held and '"members"' in (route.request.post_data or ""):
            held.append(route)
        else:
            route.continue_()

    page.route("**/gradio_api/run/**", hold)
    for count, i in enumerate((3, 7), 1):
        page.locator("#mask-graph canvas").click(position={"x": 18 + i * (box["width"] - 36) / 15, "y": 30})
        wait_data(page, GRAPH, chosen=count)
        page.wait_for_timeout(500)
    assert held, "no request told of the click"
    held[0].continue_()
    mask, members = run.mask(name), torch.tensor([3, 7])
    whole = expansion(mask, "inputs", members, certificate_sigma2(mask, run.layer(name)["sigma2"]))
    page.wait_for_function("n => document.querySelector('#set-table').innerText.includes(n)", arg=f"{whole.ratio:.2f}")
    page.wait_for_timeout(1000)  # for an answer to the first click to do harm
    assert table_row(page, "EGGS-PTP+")[1:3] == ["2", str(whole.neighbours)]


def test_buttons_choose_sets_of_either_side(page, layer):
    run, name = layer
    mask = run.mask(name)
    open_tab(page, "Expander graph")
    page.wait_for_function("document.querySelector('#expansion-chart .plot')?.dataset.drawn > 0")
    page.click("#set-lowest")
    lowest = lowest_degree_set(mask, "inputs", torch.arange(16), 4)
    wait_data(page, GRAPH, chosen=4, reached=int(mask[:16, lowest].any(1).sum()))
    page.locator("#set-side label").get_by_text("outputs").click()
    page.click("#set-worst")
    worst = worst_set(mask, "outputs", torch.arange(16), 4)
    wait_data(page, GRAPH, chosen=4, reached=int(mask[worst][:, :16].any(0).sum()))
    page.wait_for_function(
        "n => document.querySelector('#set-reading').textContent.includes(n)",
        arg=f"{int(mask[worst].any(0).sum())} under EGGS-PTP+",
    )
    page.click("#set-random")
    wait_data(page, GRAPH, chosen=4)
    page.click("#set-clear")
    wait_data(page, GRAPH, chosen=0)


def test_a_signal_spreads_step_by_step_as_in_the_core(page, layer):
    run, name = layer
    open_tab(page, "Expander graph")
    weakest = int(run.mask(name).sum(0).argmin())
    page.wait_for_function(
        "s => document.querySelector('#mixing-reading').textContent.includes(s)",
        arg=f"a signal from input {weakest}, the least connected",
    )
    page.click("#set-lowest")
    wait_data(page, GRAPH, chosen=4)
    page.click("#set-play")
    page.wait_for_selector("#mask-graph .player:not([hidden])")
    members = lowest_degree_set(run.mask(name), "inputs", torch.arange(16), 4)
    steps = spread(run.mask(name), "inputs", members, 8)
    page.wait_for_function("+document.querySelector('#mask-graph .graph-view').dataset.step >= 2")  # it plays by itself
    page.click("#mask-graph [data-act=play]")
    while int(data(page, GRAPH)["step"]) > 1:
        page.click("#mask-graph [data-act=back]")
    assert float(data(page, GRAPH)["uneven"]) == pytest.approx(steps[1].uneven, abs=1e-4)
    page.click("#mask-graph [data-act=next]")
    assert float(data(page, GRAPH)["uneven"]) == pytest.approx(steps[2].uneven, abs=1e-4)
    assert "Step 2 of 8: on the inputs" in page.inner_text("#mask-graph .player-text")
    page.wait_for_function("document.querySelector('#mixing-chart .plot')?.dataset.drawn > 0")


def test_the_slider_goes_from_topn_to_equal_degrees(page, layer):
    run, name = layer
    open_tab(page, "Expander graph")
    pick(page, "#graph-size", "32")
    wait_data(page, GRAPH, nodes=64)
    page.focus("#graph-beta input[type=range]")
    for k in range(1, 11):
        page.keyboard.press("ArrowRight")
        page.wait_for_selector(f"#beta-cards .minis[data-beta='{k / 10:g}']")
        step = beta_step(run.report["model"], name, "ria", NMPattern(2, 4), k / 10)
        wait_data(page, GRAPH, edges=int(step.mask[:32, :32].sum()))
        said = page.inner_text("#beta-cards")
        for figure in (f"{1 - step.sigma2:.4f}", f"{100 * step.retained:.3f} %", f"at least {step.bound} weights"):
            assert figure in said
    assert step.min_in_degree == 96
    page.click("#graph-as-pruned")
    wait_data(page, GRAPH, edges=int(run.mask(name)[:32, :32].sum()), label="EGGS-PTP+")


def test_a_window_outside_the_matrix_moves_inside(page, layer):
    run, name = layer
    rows = run.mask(name).shape[0]
    open_tab(page, "Expander graph")
    page.fill("#graph-row input", "999999")
    page.press("#graph-row input", "Enter")
    page.wait_for_function("n => document.querySelector('#graph-row input').value === n", arg=str(rows - 16))
    assert f"outputs {rows - 16}–{rows - 1}" in page.inner_text("#graph-reading")
    wait_data(page, GRAPH, edges=int(run.mask(name)[-16:, :16].sum()))
    assert count_components(run.mask(name)) == 1


def test_the_whole_layer_is_drawn_in_bundles(page, layer):
    run, name = layer
    open_tab(page, "Expander graph")
    pick(page, "#graph-size", "whole layer")
    bundles = sum(-(-n // -(-n // 48)) for n in run.mask(name).shape)
    wait_data(page, GRAPH, nodes=bundles, orphans=0)
    for file in ("png", "svg", "csv"):
        with page.expect_download() as download:
            page.click(f"#mask-graph [data-save={file}]")
        assert download.value.suggested_filename == f"graph-EGGS-PTP+.{file}"
    assert len(download.value.path().read_text().splitlines()) == 1 + int(data(page, GRAPH)["edges"])
