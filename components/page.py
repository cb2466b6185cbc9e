"""The page: sidebar, tabs, and the events that link them."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr
from gradio.blocks import Block

from components.address import TABS, address, asked_config, asked_run, restore
from components.api import create_api
from components.jobs.events import CHEAP, EACH, FINISHED, Updates, Values, finish, run_by_buttons
from components.jobs.messages import message, refusal
from components.jobs.prune import Follow, run_job
from components.places.home.overview.tab import create_overview_tab
from components.places.layers.graph.tab import GraphPanel, create_graph_tab
from components.places.layers.mask.tab import MasksPanel, create_masks_tab
from components.places.layers.spectrum.tab import SpectrumPanel, create_spectrum_tab
from components.places.learn.lesson.tab import create_learn_tab
from components.places.plan.painting.tab import InUse, PlanPanel, create_plan_tab
from components.places.quality.tab import create_accuracy_tab
from components.places.runs.compare.tab import create_compare_tab
from components.places.runs.front.tab import create_front_panel
from components.places.runs.stored.tab import create_runs_tab
from components.places.speed.latency.tab import create_latency_tab
from components.sidebar import SHOW_THE_END_OF_A_PATH, Sidebar, create_sidebar
from components.sidebar_values import DEFAULT_CHOICE, model_choices, read
from components.state.asked import number, told, whole_number
from components.state.known_runs import first_run, problems
from components.state.workspace import Workspace, farthest_from_topn
from components.tab import Tab, joined
from components.widgets.assets import ASSETS
from components.widgets.context import open_blocks
from eggs_core.config import make_config
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
WHEN_IDLE = """state => new Promise(done => {
  const idle = window.requestIdleCallback ?? (go => setTimeout(go, 500));
  idle(() => done(state), { timeout: 3000 });
})"""
START_PENDING = "key => { if (key) document.querySelector('#prune').click(); }"
HEADER = (
    f'<div class="brand">{(ASSETS / "logo.svg").read_text(encoding="utf-8")}<div><h1>EGGS Explorer</h1>'
    "<p>Prune a language model to N of every M weights, and see what stays connected.</p></div></div>"
)


@dataclass(frozen=True, slots=True)
class Page:
    """The parts of the page that events link."""

    state: gr.State
    sidebar: Sidebar
    damaged: gr.HTML  # which runs that ship with the app are
    tab_bar: gr.Tabs
    overview: Tab
    plan: PlanPanel
    masks: MasksPanel
    graph: GraphPanel
    spectrum: SpectrumPanel
    accuracy: Tab
    latency: Tab
    link: gr.Textbox
    pending: gr.Textbox
    # Whoever changes one of these has the page drawn: a run under way then fills few outputs itself.
    few: gr.Textbox
    whole: gr.Textbox

    @property
    def tabs(self) -> dict[str, Tab]:
        """The tabs that show the run in view, by their names in an address."""
        return {
            "overview": self.overview,
            "plan": self.plan.tab,
            "masks": self.masks.tab,
            "graph": self.graph.tab,
            "spectrum": self.spectrum.tab,
            "accuracy": self.accuracy,
            "latency": self.latency,
        }

    @property
    def all(self) -> Tab:
        """Everything that shows the run in view."""
        return joined([*self.tabs.values(), Tab([self.link], lambda workspace: {self.link: address(workspace)})])

    @property
    def growing(self) -> Tab:
        """What follows while layers arrive: little, so that drawing does not slow pruning down."""
        return joined([self.overview, self.masks.growing])

    @property
    def following(self) -> Tab:
        """What follows the chosen layer."""
        return joined([self.masks.tab, self.graph.tab, self.spectrum.layer])

    @property
    def opened(self) -> list[Block]:
        """What a visit fills."""
        around = [self.state, self.damaged, self.tab_bar, self.sidebar.progress, self.pending]
        return [*around, *self.sidebar.tab.outputs, *self.all.outputs]

    def open(self, request: gr.Request) -> list[Any]:
        """The run, tab, layer and window that the address names; a run that is not known yet is started."""
        workspace, query = Workspace(), dict(request.query_params)
        sentence, start, asked = "", "", make_config(*DEFAULT_CHOICE)
        run = first_run()
        try:
            wanted = asked_run(query)
            config = wanted.config if wanted else asked_config(query)
            if config:
                asked = config
                start = "" if wanted else config.key()
                workspace.pending = None if wanted else config
            run = wanted or run
        except EggsError as error:
            sentence = refusal(error)
        if run:
            workspace.show(run)
        restore(workspace, query)
        values: Values = {self.state: workspace, self.sidebar.progress: sentence, self.pending: start}
        if found := "".join(message(text, bad=True) for text in problems()):
            values[self.damaged] = gr.HTML(found, visible=True)
        if workspace.tab != "overview":
            values[self.tab_bar] = gr.Tabs(selected=workspace.tab)
        values |= self.sidebar.asked(asked)
        values[self.link] = address(workspace)
        workspace.filled = {"overview", workspace.tab}
        return finish(self.opened, values | self._where(workspace, filled=True).render(workspace))

    def open_rest(self, workspace: Workspace) -> list[Any]:
        """What the tabs hold that nobody saw at once: the browser takes as long for it as for the first view."""
        rest = self._where(workspace, filled=False)
        return finish(self.all.outputs, workspace.drawn(lambda: rest.render(workspace)))

    def _where(self, workspace: Workspace, filled: bool) -> Tab:
        return joined([tab for name, tab in self.tabs.items() if (name in workspace.filled) is filled])

    def open_tab(self, workspace: Workspace, event: gr.EventData) -> str:
        """The address of the tab that a visitor opens."""
        workspace.tab = TABS.get(str(told(event, "value")), "overview")
        return address(workspace) or gr.skip()

    def prune(self, follow: Follow, workspace: Workspace, anew: bool, *values: Any) -> Updates:
        """State, “Compute again” and the sidebar's values in; progress, address and what is to be drawn out."""
        # What the address asks for is run as it says, own texts and all: it may be under way already.
        config, texts = (workspace.pending, {}) if workspace.pending else read(*values)
        workspace.pending = None
        progress, link = self.sidebar.progress, self.link
        yield {progress: message(""), link: address(workspace, config), **self._draws(workspace)}
        drawn = False
        for bar, redraw in run_job(follow, workspace, config, texts, anew):
            if redraw:
                workspace.draws["few" if drawn and not workspace.finished else "whole"] += 1
                drawn = True
            yield {progress: bar, link: address(workspace, config), **self._draws(workspace)}

    def _draws(self, workspace: Workspace) -> Values:
        return {self.few: str(workspace.draws["few"]), self.whole: str(workspace.draws["whole"])}

    def stopped(self, workspace: Workspace) -> Values:
        """What is said when a run is stopped; its layers are drawn once more, as no more follow."""
        done = len(workspace.run.report["layers"]) if workspace.run and not workspace.finished else 0
        text = f"Stopped. The {done} layers finished so far stay visible." if done else "Stopped."
        if not workspace.finished:
            workspace.draws["whole"] += 1
        return {self.sidebar.progress: message(text), **self._draws(workspace)}

    def pick_layer(self, workspace: Workspace, event: gr.EventData) -> list[Any]:
        """The layer that was chosen in the map."""
        layer, name = self.masks.layer, str(told(event, "layer"))
        try:
            if workspace.run is None:
                return finish(layer.outputs, {})
            workspace.run.layer(name)
        except EggsError:
            return finish(layer.outputs, {})
        if not workspace.in_turn("layer", number(told(event, "turn"), "A turn")):
            return finish(layer.outputs, {})
        workspace.open_layer(name)
        return self.draw(layer, workspace)

    def move_window(self, workspace: Workspace, event: gr.EventData) -> list[Any]:
        """The graph of the window that a mask shows."""
        if not workspace.in_turn("window", number(told(event, "turn"), "A turn")):
            return finish(self.graph.outputs, {})
        row, column = (whole_number(told(event, name), "A place") for name in ("row", "column"))
        workspace.place(row, column)
        return self.draw(self.graph.tab, workspace)

    def show_apart(self, workspace: Workspace) -> list[Any]:
        """The layer whose mask differs most from top-N's, on all tabs that follow the chosen layer."""
        if workspace.run and (name := farthest_from_topn(workspace.run)):
            workspace.open_layer(name)
        return self.draw(self.following, workspace)

    @staticmethod
    def draw(tab: Tab, workspace: Workspace) -> list[Any]:
        """A tab's values as they are sent to the page."""
        return workspace.drawn(lambda: finish(tab.outputs, tab.render(workspace)))


def create_page() -> None:
    """Fill an open gr.Blocks."""
    state = gr.State(Workspace())  # what a page has whose session was forgotten: nothing, until it is loaded again
    with gr.Sidebar(width=330, elem_id="sidebar"):
        sidebar = create_sidebar()
    gr.HTML(HEADER, elem_id="header", padding=False)
    damaged = gr.HTML("", elem_id="problems", padding=False, visible=False)
    with gr.Tabs(elem_id="tabs") as tab_bar:
        with gr.Tab("Overview", id="overview"):
            overview = create_overview_tab(state)
        with gr.Tab("Plan", id="plan"):
            in_use = InUse(sidebar.rules, sidebar.plan_note, sidebar.drop_plan)
            plan = create_plan_tab(state, sidebar.inputs, in_use, read)
        with gr.Tab("Masks", id="masks"):
            masks = create_masks_tab(state)
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
    link, pending = (gr.Textbox(visible="hidden", elem_id=n, show_label=False) for n in ("address", "pending"))
    few, whole = (gr.Textbox("0", visible="hidden", elem_id=f"draw-{n}", show_label=False) for n in ("few", "whole"))
    tabs = (overview, plan, masks, graph, spectrum, accuracy, latency)
    page = Page(state, sidebar, damaged, tab_bar, *tabs, link, pending, few, whole)
    create_compare_tab(compare, state)
    with compare:
        create_front_panel(compare)
    create_runs_tab(runs, tab_bar, state, joined([page.all, sidebar.tab]))
    create_api()
    _wire(page)


def _wire(page: Page) -> None:
    state, sidebar, link, graph = page.state, page.sidebar, page.link, page.graph.tab
    root = open_blocks()
    script_only: dict[str, Any] = {"queue": False, "api_visibility": "private"}
    opened = root.load(page.open, None, page.opened, **FINISHED)
    opened.then(None, page.pending, None, js=START_PENDING, **script_only)
    opened.then(page.open_rest, state, page.all.outputs, js=WHEN_IDLE, **FINISHED)
    listed = root.load(lambda: gr.Dropdown(choices=model_choices()), None, page.sidebar.inputs[0], **CHEAP)
    listed.then(None, None, None, js=SHOW_THE_END_OF_A_PATH, **script_only)  # a list that arrives shows the beginning
    link.change(None, link, None, js=SET_ADDRESS, **script_only)
    page.tab_bar.select(page.open_tab, state, link, **EACH)
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
        draws.change(partial(page.draw, part), state, part.outputs, **FINISHED)
    # The mask first; what other tabs say of the layer follows.
    layer, spectrum = page.masks.layer, page.spectrum.layer
    picked = page.masks.model_map.pick(page.pick_layer, state, layer.outputs, **EACH, postprocess=False)
    picked.then(address, state, link, **CHEAP)
    picked.then(partial(page.draw, graph), state, graph.outputs, **FINISHED).then(
        spectrum.render, state, spectrum.outputs, **CHEAP
    )
    apart = page.graph.apart.click(page.show_apart, state, page.following.outputs, **FINISHED)
    apart.then(address, state, link, **CHEAP)
    for canvas in (page.masks.canvas, page.masks.other):
        moved = canvas.window(page.move_window, state, graph.outputs, **EACH, postprocess=False)
        moved.then(address, state, link, **CHEAP)
