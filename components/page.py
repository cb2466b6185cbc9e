"""The page: sidebar, tabs, and the events that link them."""

from collections.abc import Iterator

import gradio as gr

from components.address import TABS, address, asked_config, asked_run, restore
from components.api import create_api
from components.jobs.events import CHEAP, EACH, FINISHED, finish, run_by_buttons
from components.jobs.messages import message, refusal
from components.jobs.prune import Follow, run_job
from components.places.home.overview.tab import create_overview_tab
from components.places.layers.graph.tab import create_graph_tab
from components.places.layers.mask.tab import create_masks_tab
from components.places.layers.spectrum.tab import create_spectrum_tab
from components.places.learn.lesson.tab import create_learn_tab
from components.places.quality.tab import create_accuracy_tab
from components.places.runs.compare.tab import create_compare_tab
from components.places.runs.stored.tab import create_runs_tab
from components.places.speed.latency.tab import create_latency_tab
from components.sidebar import create_sidebar
from components.sidebar_values import DEFAULT_CHOICE, controls_of, read
from components.state.asked import number, told, whole_number
from components.state.known_runs import first_run, problems
from components.state.workspace import Workspace
from components.tab import Tab
from components.widgets.assets import ASSETS
from eggs_core.config import PruneConfig, make_config
from eggs_core.errors import EggsError

CLOSE_SIDEBAR_ON_PHONES = (
    "() => { if (window.innerWidth < 768) document.querySelector('.sidebar.open .toggle-button')?.click(); }"
)
SET_ADDRESS = """q => {
  const shown = new URL(location), next = new URLSearchParams(q);
  for (const keep of ['__theme', ...(next.get('tab') === 'learn' ? ['step'] : [])])
    if (shown.searchParams.has(keep)) next.set(keep, shown.searchParams.get(keep));
  history.replaceState(null, '', `${shown.pathname}?${next}${shown.hash}`);
}"""
START_PENDING = "key => { if (key) document.querySelector('#prune').click(); }"
HEADER = (
    f'<div class="brand">{(ASSETS / "logo.svg").read_text(encoding="utf-8")}<div><h1>EGGS Explorer</h1>'
    "<p>Prune a language model to N of every M weights, and see what stays connected.</p></div></div>"
)


def create_page() -> None:
    """Fill an open gr.Blocks."""
    state = gr.State(Workspace())  # what a page has whose session was forgotten: nothing, until it is loaded again
    with gr.Sidebar(width=330, elem_id="sidebar"):
        sidebar = create_sidebar()
    gr.HTML(HEADER, elem_id="header", padding=False)
    if problems():
        gr.HTML("".join(message(text, bad=True) for text in problems()), elem_id="problems", padding=False)
    with gr.Tabs(elem_id="tabs") as tab_bar:
        with gr.Tab("Overview", id="overview"):
            overview = create_overview_tab(state)
        with gr.Tab("Masks", id="masks"):
            masks, model_map, mask_canvases = create_masks_tab(state)
        with gr.Tab("Expander graph", id="graph"):
            graph = create_graph_tab(state)
        with gr.Tab("Spectrum", id="spectrum"):
            spectrum = create_spectrum_tab(state, sidebar.inputs, read)
        with gr.Tab("Accuracy", id="accuracy"):
            accuracy = create_accuracy_tab(state)
        with gr.Tab("Latency & size", id="latency"):
            latency = create_latency_tab(state)
        compare = gr.Tab("Compare", id="compare")
        runs = gr.Tab("Runs", id="runs")  # filled below, as it draws the others
        with gr.Tab("Learn", id="learn"):
            create_learn_tab(tab_bar)
    link = gr.Textbox(visible="hidden", elem_id="address", show_label=False)
    pending = gr.Textbox(visible="hidden", elem_id="pending", show_label=False)
    # Whoever changes one of these has the page drawn: a run under way then fills few outputs itself.
    few, whole = (gr.Textbox("0", visible="hidden", elem_id=f"draw-{n}", show_label=False) for n in ("few", "whole"))

    tabs = [
        overview,
        masks,
        graph,
        spectrum.tab,
        accuracy,
        latency,
        Tab([link], lambda workspace: [address(workspace)]),
    ]
    outputs = [component for tab in tabs for component in tab.outputs]
    part = [*overview.outputs, *masks.outputs[:2]]

    def render(workspace: Workspace) -> list:
        return workspace.drawn(lambda: finish(outputs, [value for tab in tabs for value in tab.render(workspace)]))

    def growing(workspace: Workspace) -> list:
        """While layers arrive only the overview and the map follow, so that drawing does not slow pruning down."""
        return workspace.drawn(lambda: finish(part, [*overview.render(workspace), *masks.growing(workspace)]))

    create_compare_tab(compare)
    create_runs_tab(runs, tab_bar, state, render, outputs)

    def open_page(request: gr.Request) -> list:
        """The run, tab, layer and window that the address names; a run that is not known yet is started."""
        workspace, query = Workspace(), dict(request.query_params)
        said, start, controls = "", "", controls_of(make_config(*DEFAULT_CHOICE))
        run = first_run()
        try:
            config, wanted = asked_config(query), asked_run(query)
            config = PruneConfig.from_dict(wanted.report["config"]) if wanted else config
            if config:
                controls = controls_of(config)
                start = "" if wanted else config.key()
                workspace.pending = None if wanted else config
            run = wanted or run
        except EggsError as error:
            said = refusal(error)
        if run:
            workspace.show(run)
        restore(workspace, query)
        opened = gr.Tabs(selected=workspace.tab) if workspace.tab != "overview" else gr.skip()
        return [workspace, opened, said, start, *finish(sidebar.inputs, controls), *render(workspace)]

    def open_tab(workspace: Workspace, event: gr.EventData) -> str:
        workspace.tab = TABS.get(str(told(event, "value")), "overview")
        return address(workspace) or gr.skip()

    def prune(follow: Follow, workspace: Workspace, anew: bool, *values) -> Iterator[list]:
        """State, “Compute again” and the sidebar's values in; progress, address and what is to be drawn out."""
        # What the address asks for is run as it says, own texts and all: it may be under way already.
        config, texts = (workspace.pending, {}) if workspace.pending else read(*values)
        workspace.pending = None
        yield [message(""), address(workspace, config), *draws(workspace)]
        drawn = False
        for bar, redraw in run_job(follow, workspace, config, texts, anew):
            if redraw:
                workspace.draws["few" if drawn and not workspace.finished else "whole"] += 1
                drawn = True
            yield [bar, address(workspace, config), *draws(workspace)]

    def draws(workspace: Workspace) -> list[str]:
        """Values of `few` and `whole`."""
        return [str(workspace.draws[name]) for name in ("few", "whole")]

    def stopped(workspace: Workspace) -> list:
        done = len(workspace.run.report["layers"]) if workspace.run and not workspace.finished else 0
        text = f"Stopped. The {done} layers finished so far stay visible." if done else "Stopped."
        workspace.draws["whole"] += 1
        return [message(text), gr.skip(), *draws(workspace)]

    def pick_layer(workspace: Workspace, event: gr.EventData) -> list:
        try:
            workspace.run.layer(str(told(event, "layer")))
        except (AttributeError, EggsError):
            return [gr.skip()] * len(masks.outputs[1:])
        if not workspace.in_turn("layer", number(told(event, "turn"), "A turn")):
            return [gr.skip()] * len(masks.outputs[1:])
        workspace.open_layer(str(told(event, "layer")))
        return workspace.drawn(lambda: finish(masks.outputs[1:], masks.render(workspace)[1:]))

    def move_window(workspace: Workspace, event: gr.EventData) -> list:
        row, column = (whole_number(told(event, name), "A place") for name in ("row", "column"))
        if not workspace.in_turn("window", number(told(event, "turn"), "A turn")):
            return [gr.skip()] * len(graph.outputs)
        workspace.row, workspace.column = max(0, row), max(0, column)
        return draw_graph(workspace)

    def draw_graph(workspace: Workspace) -> list:
        return finish(graph.outputs, graph.render(workspace))

    create_api()
    page = gr.context.Context.root_block
    page.load(open_page, None, [state, tab_bar, sidebar.progress, pending, *sidebar.inputs, *outputs], **FINISHED).then(
        None, pending, None, js=START_PENDING, queue=False, api_visibility="private"
    )
    link.change(None, link, None, js=SET_ADDRESS, queue=False, api_visibility="private")
    tab_bar.select(open_tab, state, link, **EACH)
    page.load(None, None, None, js=CLOSE_SIDEBAR_ON_PHONES, queue=False, api_visibility="private")
    run_by_buttons(
        sidebar.start,
        sidebar.stop,
        prune,
        [state, sidebar.anew, *sidebar.inputs],
        [sidebar.progress, link, few, whole],
        stopped=stopped,
    )
    few.change(growing, state, part, **FINISHED)
    whole.change(render, state, outputs, **FINISHED)
    # The mask first; what other tabs say of the layer follows.
    picked = model_map.pick(pick_layer, state, masks.outputs[1:], **EACH, postprocess=False)
    picked.then(address, state, link, **CHEAP)
    picked.then(draw_graph, state, graph.outputs, **FINISHED).then(
        spectrum.render_layer, state, spectrum.layer_outputs, **CHEAP
    )
    for canvas in mask_canvases:
        moved = canvas.window(move_window, state, graph.outputs, **EACH, postprocess=False)
        moved.then(address, state, link, **CHEAP)
