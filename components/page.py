"""The page: sidebar, tabs, and the events that link them."""

import time
from collections.abc import Iterator
from contextlib import closing

import gradio as gr

from components.accuracy_tab import create_accuracy_tab
from components.address import TABS, address, asked_config, asked_run, restore
from components.compare_tab import create_compare_tab
from components.events import CHEAP, HEAVY, SETTLE_SECONDS, WAITING, buttons
from components.graph_tab import create_graph_tab
from components.jobs import message, run_job
from components.latency_tab import create_latency_tab
from components.learn_tab import create_learn_tab
from components.masks_tab import create_masks_tab
from components.overview_tab import create_overview_tab
from components.runs_tab import create_runs_tab
from components.session import Workspace, first_run, problems
from components.sidebar import controls_of, create_sidebar, read
from components.spectrum_tab import create_spectrum_tab
from components.tab import Tab
from components.widgets.assets import ASSETS
from eggs_core.config import PruneConfig
from eggs_core.errors import EggsError

PRUNE = "prune"  # the job's name
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
    state = gr.State(None)
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
            spectrum = create_spectrum_tab(state, sidebar.inputs)
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
    controls = [sidebar.start, sidebar.stop, sidebar.progress]

    def render(workspace: Workspace) -> list:
        return [value for tab in tabs for value in tab.render(workspace)]

    def growing(workspace: Workspace) -> list:
        """While layers arrive only the overview and the map follow, so that drawing does not slow pruning down."""
        if workspace.finished or len(workspace.run.report["layers"]) == 1:
            return render(workspace)
        drawn = [*overview.render(workspace), *masks.growing(workspace)]
        return [*drawn, *[gr.skip()] * (len(outputs) - len(drawn))]

    create_compare_tab(compare)
    create_runs_tab(runs, tab_bar, state, render, outputs)

    def open_page(request: gr.Request) -> list:
        """The run, tab, layer and window that the address names; a run that is not known yet is started."""
        workspace, query = Workspace(), dict(request.query_params)
        said, start, controls = "", "", [gr.skip()] * len(sidebar.inputs)
        run = first_run()
        try:
            config, wanted = asked_config(query), asked_run(query)
            config = PruneConfig.from_dict(wanted.report["config"]) if wanted else config
            if config:
                controls = controls_of(config)
                start = "" if wanted else config.key()
            run = wanted or run
        except EggsError as error:
            said = message(str(error), bad=True)
        if run:
            workspace.show(run)
        restore(workspace, query)
        opened = gr.Tabs(selected=workspace.tab) if workspace.tab != "overview" else gr.skip()
        return [workspace, opened, said, start, *controls, *render(workspace)]

    def open_tab(workspace: Workspace, event: gr.SelectData) -> str:
        workspace.tab = TABS.get(str(event.value), "overview")
        return address(workspace)

    def wait(workspace: Workspace) -> list:
        workspace.begin(PRUNE)
        return [*buttons(True), message(WAITING)]

    def prune(workspace: Workspace, anew: bool, *values) -> Iterator[list]:
        """State, “Compute again” and the sidebar's values in; state, buttons, progress and every tab out."""
        still, token = [gr.skip()] * len(outputs), workspace.jobs.get(PRUNE)
        if token is None:  # stopped while it waited
            return
        try:
            config, texts = read(*values)
            steps = run_job(workspace, config, texts, anew)
            with closing(steps):
                for bar, redraw in steps:
                    if not workspace.goes_on(PRUNE, token):
                        return
                    # The buttons stay as they are: an update still on its way must not undo Stop.
                    yield [workspace, gr.skip(), gr.skip(), bar, *(growing(workspace) if redraw else still)]
            yield [workspace, *buttons(False), gr.skip(), *still]
        except EggsError as error:
            yield [workspace, *buttons(False), message(str(error), bad=True), *still]

    def stopped(workspace: Workspace) -> list:
        workspace.end(PRUNE)
        time.sleep(SETTLE_SECONDS)
        done = len(workspace.run.report["layers"]) if workspace.run and not workspace.finished else 0
        text = f"Stopped. The {done} layers finished so far stay visible." if done else "Stopped."
        return [*buttons(False), message(text), *render(workspace)]

    def pick_layer(workspace: Workspace, event: gr.EventData) -> list:
        try:
            workspace.run.layer(str(event.layer))
        except (AttributeError, EggsError):
            return [gr.skip()] * len(masks.outputs[1:])
        workspace.open_layer(str(event.layer))
        return masks.render(workspace)[1:]

    def move_window(workspace: Workspace, event: gr.EventData) -> list:
        workspace.row, workspace.column = int(event.row), int(event.column)
        return graph.render(workspace)

    page = gr.context.Context.root_block
    page.load(open_page, None, [state, tab_bar, sidebar.progress, pending, *sidebar.inputs, *outputs], **CHEAP).then(
        None, pending, None, js=START_PENDING, queue=False, api_visibility="private"
    )
    link.change(None, link, None, js=SET_ADDRESS, queue=False, api_visibility="private")
    tab_bar.select(open_tab, state, link, **CHEAP)
    page.load(None, None, None, js=CLOSE_SIDEBAR_ON_PHONES, queue=False, api_visibility="private")
    waiting = sidebar.start.click(wait, state, controls, **CHEAP)
    waiting.then(prune, [state, sidebar.anew, *sidebar.inputs], [state, *controls, *outputs], **HEAVY)
    sidebar.stop.click(stopped, state, [*controls, *outputs], **CHEAP)
    # The mask first; what other tabs say of the layer follows.
    picked = model_map.pick(pick_layer, state, masks.outputs[1:], **CHEAP)
    picked.then(address, state, link, **CHEAP)
    picked.then(graph.render, state, graph.outputs, **CHEAP).then(
        spectrum.render_layer, state, spectrum.layer_outputs, **CHEAP
    )
    for canvas in mask_canvases:
        moved = canvas.window(move_window, state, graph.outputs, trigger_mode="always_last", **CHEAP)
        moved.then(address, state, link, **CHEAP)
