"""The page: sidebar, places with their tabs, and the events that link them."""

from functools import partial
from typing import Any

import gradio as gr

from components.address import CALLED, address
from components.api import create_api
from components.jobs.events import CHEAP, EACH, FINISHED, run_by_buttons
from components.parts import Page
from components.places.home.sentence.tab import create_home
from components.places.layers.graph.tab import create_graph_tab
from components.places.layers.mask.tab import create_masks_tab
from components.places.layers.overview.tab import create_overview_tab
from components.places.layers.spectrum.tab import create_spectrum_tab
from components.places.learn.lesson.tab import create_learn_tab
from components.places.plan.painting.tab import InUse, create_plan_tab
from components.places.quality.tab import create_accuracy_tab
from components.places.runs.compare.tab import create_compare_tab
from components.places.runs.front.tab import create_front_panel
from components.places.runs.stored.tab import create_runs_tab
from components.places.runs.structure.tab import create_structure_panel
from components.places.speed.latency.tab import create_latency_tab
from components.scripts import CLOSE_SIDEBAR_ON_PHONES, HEADER, OPEN_MASK, QUERY, SET_ADDRESS, START_PENDING, WHEN_IDLE
from components.sidebar import SHOW_THE_END_OF_A_PATH, create_sidebar
from components.sidebar_values import model_choices, read
from components.state.workspace import Workspace
from components.tab import joined
from components.widgets.context import open_blocks


def create_page() -> None:
    """Fill an open gr.Blocks."""
    state = gr.State(Workspace())  # what a page has whose session was forgotten: nothing, until it is loaded again
    with gr.Sidebar(width=330, elem_id="sidebar"):
        sidebar = create_sidebar()
    gr.HTML(HEADER, elem_id="header", padding=False)
    damaged = gr.HTML("", elem_id="problems", padding=False, visible=False)
    bars: dict[str, gr.Tabs] = {}
    with gr.Tabs(elem_id="tabs", overflow_behavior="wrap") as bars[""]:
        with _place("home"):
            create_home()
        with _place("learn"):
            create_learn_tab(bars[""])
        with _place("layers"), gr.Tabs(elem_id="layers-tabs", overflow_behavior="wrap") as bars["layers"]:
            with gr.Tab("Overview", id="overview"):
                overview = create_overview_tab(state)
            with gr.Tab("Plan", id="plan"):
                in_use = InUse(sidebar.rules, sidebar.plan_note, sidebar.drop_plan)
                plan = create_plan_tab(state, sidebar.inputs, in_use, read)
            with gr.Tab("Mask", id="masks"):
                masks = create_masks_tab(state)
            with gr.Tab("Graph", id="graph"):
                graph = create_graph_tab(state)
            with gr.Tab("Spectrum", id="spectrum"):
                spectrum = create_spectrum_tab(state, sidebar.inputs, read)
        with _place("quality"):
            accuracy = create_accuracy_tab(state)
        with _place("speed"):
            latency = create_latency_tab(state)
        with _place("runs") as place, gr.Tabs(elem_id="runs-tabs", overflow_behavior="wrap") as bars["runs"]:
            runs = gr.Tab("All runs", id="runs")  # filled below, as it draws the others
            compare = gr.Tab("Compare", id="compare")
    hidden: dict[str, Any] = {"visible": "hidden", "show_label": False}
    go_there = gr.Button("Go", elem_id="go", visible="hidden")
    link, gone, pending = (gr.Textbox(elem_id=name, **hidden) for name in ("address", "gone", "pending"))
    few, whole = (gr.Textbox("0", elem_id=f"draw-{name}", **hidden) for name in ("few", "whole"))
    tabs = (overview, plan, masks, graph, spectrum, accuracy, latency)
    page = Page(state, sidebar, damaged, bars, *tabs, link, gone, go_there, pending, few, whole)
    create_compare_tab(compare, state)
    with compare:
        create_structure_panel(compare, state)
        create_front_panel(compare, state)
    create_runs_tab(runs, place, state, joined([page.places, page.all, sidebar.tab]))
    create_api()
    _wire(page)


def _place(name: str) -> gr.Tab:
    return gr.Tab(CALLED[name], id=name)


def _wire(page: Page) -> None:
    state, sidebar, link, graph = page.state, page.sidebar, page.link, page.graph.tab
    root = open_blocks()
    script_only: dict[str, Any] = {"queue": False, "api_visibility": "private"}
    opened = root.load(page.open, None, page.opened, **FINISHED)
    opened.then(None, page.pending, None, js=START_PENDING, **script_only)
    drawn = [opened.then(page.open_rest, state, page.all.outputs, js=WHEN_IDLE, **FINISHED)]
    listed = root.load(lambda: gr.Dropdown(choices=model_choices()), None, page.sidebar.inputs[0], **CHEAP)
    listed.then(None, None, None, js=SHOW_THE_END_OF_A_PATH, **script_only)  # a list that arrives shows the beginning
    link.change(None, link, None, js=SET_ADDRESS, **script_only)
    places, *_ = (bar.select(page.open_tab, state, link, **EACH) for bar in page.bars.values())
    asked = [state, page.plan.budget, *sidebar.inputs]
    places.then(page.plan.follow, asked, page.plan.outputs, **FINISHED)  # it may be seen again
    drawn.append(page.go_there.click(page.go, [state, page.gone], page.drawn_again, js=QUERY, **FINISHED))
    root.load(None, None, None, js=CLOSE_SIDEBAR_ON_PHONES, **script_only)
    run_by_buttons(
        sidebar.start,
        sidebar.stop,
        page.prune,
        [state, sidebar.anew, *sidebar.inputs],
        [sidebar.progress, link, page.few, page.whole],
        stopped=page.stopped,
    )
    for draws, part in ((page.few, page.growing), (page.whole, page.all)):
        drawn.append(draws.change(partial(page.draw, part), state, part.outputs, **FINISHED))
    # The mask first; what other tabs say of the layer follows.
    layer, spectrum = page.masks.layer, page.spectrum.layer
    for model_map in (page.masks.model_map, page.overview.model_map):
        picked = model_map.pick(page.pick_layer, state, layer.outputs, **EACH, postprocess=False)
        picked.then(address, state, link, **CHEAP)
        followed = picked.then(partial(page.draw, graph), state, graph.outputs, **FINISHED)
        drawn.append(followed.then(spectrum.render, state, spectrum.outputs, **CHEAP))
    page.overview.model_map.pick(None, None, None, js=OPEN_MASK, **script_only)
    apart = page.graph.apart.click(page.show_apart, state, page.following.outputs, **FINISHED)
    apart.then(address, state, link, **CHEAP)
    later = page.spectrum.later  # nothing waits for it
    for event in (*drawn, apart):
        event.then(later.render, state, later.outputs, **CHEAP)
    for canvas in (page.masks.canvas, page.masks.other):
        moved = canvas.window(page.move_window, state, graph.outputs, **EACH, postprocess=False)
        moved.then(address, state, link, **CHEAP)
