"""The parts of the page that events link, and what these do."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import gradio as gr
from gradio.blocks import Block

from components.address import PLACE_OF, address, asked_config, asked_run, opened_tab, restore
from components.jobs.events import Updates, Values, finish
from components.jobs.messages import message, refusal
from components.jobs.prune import Follow, run_job
from components.places.layers.graph.tab import GraphPanel
from components.places.layers.mask.tab import MasksPanel
from components.places.layers.overview.tab import Overview as OverviewPanel
from components.places.layers.spectrum.tab import SpectrumPanel
from components.places.plan.painting.tab import PlanPanel
from components.sidebar import Sidebar
from components.sidebar_values import DEFAULT_CHOICE, read
from components.state.asked import number, told, whole_number, words
from components.state.known_runs import first_run, problems
from components.state.workspace import Workspace, farthest_from_topn
from components.tab import Tab, joined
from eggs_core.config import make_config
from eggs_core.errors import EggsError

MOST_ADDRESS = 8000  # characters that are read of one


@dataclass(frozen=True, slots=True)
class Page:
    """The parts of the page that events link."""

    state: gr.State
    sidebar: Sidebar
    damaged: gr.HTML  # which runs that ship with the app are
    bars: dict[str, gr.Tabs]  # of the places, "", and of the tabs in a place
    overview: OverviewPanel
    plan: PlanPanel
    masks: MasksPanel
    graph: GraphPanel
    spectrum: SpectrumPanel
    accuracy: Tab
    latency: Tab
    link: gr.Textbox
    gone: gr.Textbox  # the address that the browser went back to, or forward
    go_there: gr.Button  # which the browser presses then
    pending: gr.Textbox
    # Whoever changes one of these has the page drawn: a run under way then fills few outputs itself.
    few: gr.Textbox
    whole: gr.Textbox

    @property
    def tabs(self) -> dict[str, Tab]:
        """The tabs that show the run in view, by their names in an address."""
        return {
            "overview": self.overview.tab,
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
        return joined([self.overview.tab, self.masks.growing])

    @property
    def following(self) -> Tab:
        """What follows the chosen layer."""
        return joined([self.masks.tab, self.graph.tab, self.spectrum.layer])

    @property
    def opened(self) -> list[Block]:
        """What a visit fills."""
        around = [self.state, self.damaged, *self.bars.values(), self.sidebar.progress, self.pending]
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
        values |= self.places.render(workspace)
        values |= self.sidebar.asked(asked)
        values[self.link] = address(workspace)
        workspace.filled = {workspace.tab}
        return finish(self.opened, values | self._where(workspace, filled=True).render(workspace))

    def open_rest(self, workspace: Workspace) -> list[Any]:
        """What the tabs hold that nobody saw at once: the browser takes as long for it as for the first view."""
        rest = self._where(workspace, filled=False)
        return finish(self.all.outputs, workspace.drawn(lambda: rest.render(workspace)))

    def _where(self, workspace: Workspace, filled: bool) -> Tab:
        return joined([tab for name, tab in self.tabs.items() if (name in workspace.filled) is filled])

    @property
    def places(self) -> Tab:
        """The place and the tab in it that are in view."""

        def render(workspace: Workspace) -> Values:
            place = PLACE_OF[workspace.tab]
            values: Values = {self.bars[""]: gr.Tabs(selected=place)}
            return values | ({self.bars[place]: gr.Tabs(selected=workspace.tab)} if place in self.bars else {})

        return Tab([*self.bars.values()], render)

    def open_tab(self, workspace: Workspace, event: gr.EventData) -> str:
        """The address of the place or tab that a visitor opens."""
        workspace.tab = opened_tab(workspace, str(told(event, "value")))
        return address(workspace) or gr.skip()

    def go(self, workspace: Workspace, query: str) -> list[Any]:
        """Another run, layer and window, to which the browser's history leads; while a run is under way none."""
        asked = dict(parse_qsl(words(query, "An address")[:MOST_ADDRESS]))
        if workspace.growing or not (run := asked_run(asked)):
            return finish(self.drawn_again, {})
        workspace.show(run)
        restore(workspace, asked)
        values: Values = {self.link: address(workspace)}
        return finish(self.drawn_again, values | joined([self.all, self.sidebar.tab]).render(workspace))

    @property
    def drawn_again(self) -> list[Block]:
        """What another run fills."""
        return [*self.all.outputs, *self.sidebar.tab.outputs]

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
