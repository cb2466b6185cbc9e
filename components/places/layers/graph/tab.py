"""Expander graph: a window of the chosen layer, or all of it in bundles, beside what top-N would have kept."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr
from gradio.blocks import Block

from components.jobs.events import CHEAP, EACH, Values, alike
from components.places.layers.graph.controls import SetControls, WindowControls, set_controls, window_controls
from components.places.layers.graph.figures import expansion_figure, mixing_figure
from components.places.layers.graph.frame import frame_of
from components.places.layers.graph.view import (
    SIZES,
    Pair,
    beta_steps,
    chosen_expansion,
    curve_points,
    elsewhere,
    graph_value,
    graphs,
    pick_set,
    settle,
    share_of_weakest,
    signal_sources,
    spread_of,
)
from components.places.layers.graph.words import (
    LEGEND,
    LEGEND_ALONE,
    beta_cards,
    curve_reading,
    graph_heading,
    mixing_reading,
    origin_of,
    pruned_cards,
    set_reading,
    set_table,
    window_reading,
)
from components.state.asked import number, told, whole_number
from components.state.workspace import Workspace
from components.tab import Tab, drawn_once
from components.widgets.canvas import GraphCanvas
from components.widgets.heading import panel_heading
from components.widgets.plot import Plot
from components.words.html import escape, reading
from components.words.labels import short_name
from eggs_core.errors import EggsError
from eggs_core.graph.expansion import SIDES


@dataclass(frozen=True, slots=True)
class GraphPanel:
    """The components of this tab, and what happens to them."""

    title: gr.HTML
    apart: gr.Button  # leads to where both masks differ most
    window: WindowControls
    cards: gr.HTML
    left_title: gr.HTML
    left: GraphCanvas
    right_title: gr.HTML
    right: GraphCanvas
    legend: gr.HTML
    chosen: SetControls
    table: gr.HTML
    set_text: gr.HTML
    curve: Plot
    curve_text: gr.HTML
    mixing: Plot
    mixing_text: gr.HTML

    @property
    def below(self) -> list[Block]:
        """What follows the chosen set, beside the graphs themselves."""
        return [self.table, self.set_text, self.curve, self.curve_text, self.mixing, self.mixing_text]

    @property
    def outputs(self) -> list[Block]:
        """All that is filled."""
        graphs = [self.left_title, self.left, self.right_title, self.right]
        controls = [self.window.row, self.window.column, self.window.beta]
        return [self.title, self.apart, *controls, *graphs, self.cards, self.legend, *self.below]

    @property
    def tab(self) -> Tab:
        """All of it."""
        return Tab(self.outputs, self.render)

    def empty(self, text: str) -> Values:
        """Nothing but a sentence of HTML; β stays as it is."""
        texts = [self.left_title, self.right_title, self.cards, self.legend]
        texts += [self.table, self.set_text, self.curve_text, self.mixing_text]
        drawn = [self.left, self.right, self.curve, self.mixing]
        zero = alike([self.window.row, self.window.column], 0)
        hidden: Values = {self.apart: gr.Button(visible=False)}
        return {self.title: reading(text), **hidden, **zero, **alike(texts, ""), **alike(drawn)}

    def render(self, workspace: Workspace, play: bool = False) -> Values:
        """The chosen layer; with `play` a signal starts to spread."""
        try:
            return workspace.drawn(lambda: self._render_now(workspace, play))
        except EggsError as error:
            workspace.graph.beta = None
            return self.empty(escape(error))

    def _render_now(self, workspace: Workspace, play: bool) -> Values:
        if workspace.run is None or not workspace.layer:
            return self.empty("Choose a layer in the map of the Mask tab.")
        settle(workspace)
        still = workspace.still()
        view, place = still.graph, (still.layer, still.row, still.column)
        if play or view.beta is not None:  # which needs the model at hand
            values = self._draw(still, play)
        else:
            key = ("graph", still.finished, *place, view.size, view.layout, view.side, view.members)
            values = drawn_once(self.outputs, [still.shown], key, lambda: self._draw(still))
        if view.size and place == (workspace.layer, workspace.row, workspace.column):  # it has moved inside
            workspace.row, workspace.column = values[self.window.row], values[self.window.column]
        return values

    def _draw(self, workspace: Workspace, play: bool = False) -> Values:
        pair = graphs(workspace)
        return self._graphs(workspace, pair, play) | self._sets(workspace, pair)

    def _graphs(self, workspace: Workspace, pair: Pair, play: bool) -> Values:
        """Title, window position, both graphs with their headings, what follows β, and the legend."""
        topn, graph = pair
        beta, frame = workspace.graph.beta, frame_of(workspace, graph.mask)
        cards = pruned_cards(workspace.shown_layer, pair) if beta is None else beta_cards(*beta_steps(workspace, beta))
        other = elsewhere(workspace, pair, frame)
        lead = f"Show where they differ most: {short_name(workspace.shown.layer(other))}" if other else ""
        return {
            self.apart: gr.Button(lead, visible=bool(other)),
            self.title: window_reading(workspace.shown_layer, pair, frame),
            self.window.row: max(frame.first["outputs"], 0),
            self.window.column: max(frame.first["inputs"], 0),
            self.left_title: graph_heading(topn, frame),
            self.left: topn and graph_value(workspace, topn, graph, frame, play),
            self.right_title: graph_heading(graph, frame),
            self.right: graph_value(workspace, graph, topn, frame, play),
            self.cards: cards,
            self.window.beta: gr.Slider(value=round(100 * (share_of_weakest(graph.mask) if beta is None else beta))),
            self.legend: LEGEND if topn else LEGEND_ALONE,
        }

    def _sets(self, workspace: Workspace, pair: Pair) -> Values:
        """The chosen set's table and sentence, the curve of sampled sets, and mixing."""
        view, graph, known = workspace.graph, pair[1], [g for g in pair if g is not None]
        points = curve_points(graph, view.side)
        rows = [(g.label, chosen_expansion(workspace, g)) for g in known] if view.members else []
        sources = signal_sources(workspace, graph)
        spreads = [(g.label, g.sigma2, spread_of(workspace, g, sources)) for g in known]
        return {
            self.table: set_table(rows, view.side) if rows else "",
            self.set_text: set_reading(rows, view.side, graph.mask.shape[0 if view.side == "inputs" else 1]),
            self.curve: expansion_figure(points, graph.label, view.side),
            self.curve_text: curve_reading(points, graph.label, view.side),
            self.mixing: mixing_figure(spreads),
            self.mixing_text: mixing_reading(spreads, origin_of(view, sources)),
        }

    def move(self, workspace: Workspace, row: float | None, column: float | None) -> Values:
        """Put the window's top left corner there."""
        workspace.place(*(whole_number(n, "A channel") for n in (row, column)))
        return self.render(workspace)

    def resize(self, workspace: Workspace, size: int, layout: str) -> Values:
        """Another size or layout."""
        if size not in (0, *SIZES):
            raise EggsError("Choose one of the sizes in the list.")
        workspace.graph.size, workspace.graph.layout = size, layout
        return self.render(workspace)

    def set_beta(self, workspace: Workspace, value: float) -> Values:
        """The exact selection at that β, in per cent, on the right; the hand on the slider has the last word."""
        workspace.graph.beta = min(max(number(value, "β"), 0), 100) / 100
        values = self.render(workspace)
        return {output: value for output, value in values.items() if output is not self.window.beta}

    def restore(self, workspace: Workspace) -> Values:
        """The mask as pruned."""
        workspace.graph.beta = None
        return self.render(workspace)

    def choose(self, workspace: Workspace, event: gr.EventData) -> Values:
        """A set picked by hand; both canvases show it already."""
        side, nodes, turn = str(told(event, "side")), told(event, "members"), number(told(event, "turn"), "A turn")
        if workspace.run is None or side not in SIDES or not workspace.in_turn("set", turn):
            return gr.skip()
        if not isinstance(nodes, list):
            raise EggsError("A set of channels must be a list; reload the page and try again.")
        frame = frame_of(workspace, graphs(workspace)[1].mask)
        members = frame.channels(side, [whole_number(node, "A channel") for node in nodes]).tolist()
        workspace.graph.side, workspace.graph.members = side, tuple(members)
        return workspace.drawn(lambda: self._sets(workspace, graphs(workspace)))

    def pick(self, how: str, workspace: Workspace, side: str, count: int) -> Values:
        """A set that a button chooses, "clear" for none."""
        if workspace.run is None or not workspace.layer:
            return self.render(workspace)
        graph, (workspace.graph.side, workspace.graph.members) = graphs(workspace)[1], (side, ())
        frame = frame_of(workspace, graph.mask)
        if how != "clear":
            workspace.graph.members = pick_set(workspace, graph, frame, how, side, whole_number(count, "The size of T"))
        return self.render(workspace)

    def start(self, workspace: Workspace, side: str) -> Values:
        """Play from the chosen set, else from one channel of the lowest degree."""
        if not workspace.graph.members:
            self.pick("lowest", workspace, side, 1)
        return self.render(workspace, play=True)


def create_graph_tab(state: gr.State) -> GraphPanel:
    """Fill an open gr.Tab, the picture first; the composer links `apart`, which changes what other tabs show too."""
    title = gr.HTML(elem_id="graph-reading", padding=False)
    apart = gr.Button(visible=False, elem_id="graph-apart", size="sm", variant="primary")
    with gr.Row():
        with gr.Column(min_width=300):
            left_title = gr.HTML(elem_id="topn-title", padding=False)
            left = GraphCanvas(elem_id="topn-graph", label="Top-N's graph")
        with gr.Column(min_width=300):
            right_title = gr.HTML(elem_id="mask-title", padding=False)
            right = GraphCanvas(elem_id="mask-graph", label="The method's graph")
    legend = gr.HTML(LEGEND, elem_id="graph-legend", padding=False)
    window = window_controls()
    cards = gr.HTML(elem_id="beta-cards", padding=False)
    with gr.Accordion("How far a set of channels reaches, and how fast a signal mixes", open=False, elem_id="theory"):
        chosen = set_controls()
        table = gr.HTML(elem_id="set-table", padding=False)
        set_text = gr.HTML(elem_id="set-reading", padding=False)
        curves = _curves()
    graphs = (left_title, left, right_title, right)
    panel = GraphPanel(title, apart, window, cards, *graphs, legend, chosen, table, set_text, *curves)
    _wire(panel, state)
    return panel


def _curves() -> tuple[Plot, gr.HTML, Plot, gr.HTML]:
    with gr.Row():
        with gr.Column(min_width=320):
            panel_heading("Sampled sets and the certificate")
            title, said_by = "Neighbours by size of the set", "expansion-reading"
            curve = Plot(elem_id="expansion-chart", title=title, said_by=said_by, height=330)
            curve_text = gr.HTML(elem_id=said_by, padding=False)
        with gr.Column(min_width=320):
            panel_heading("How fast a signal mixes")
            title, said_by = "Distance from even by step", "mixing-reading"
            mixing = Plot(elem_id="mixing-chart", title=title, said_by=said_by, height=330)
            mixing_text = gr.HTML(elem_id=said_by, padding=False)
    return curve, curve_text, mixing, mixing_text


def _wire(panel: GraphPanel, state: gr.State) -> None:
    window, chosen = panel.window, panel.chosen
    on: dict[str, Any] = {"outputs": panel.outputs, **CHEAP}

    # Only what a person typed or chose: a control's value that changes while the tab opens must not move the window.
    for event in (window.row.submit, window.column.submit, window.row.blur, window.column.blur):
        event(panel.move, [state, window.row, window.column], **on)
    for event in (window.size.input, window.layout.input):
        event(panel.resize, [state, window.size, window.layout], **on)
    window.beta.input(panel.set_beta, [state, window.beta], **on)
    window.as_pruned.click(panel.restore, state, **on)
    for canvas in (panel.left, panel.right):
        canvas.choose(panel.choose, state, panel.below, **EACH)
    for how, button in chosen.picks.items():
        button.click(partial(panel.pick, how), [state, chosen.side, chosen.members], **on)
    chosen.play.click(panel.start, [state, chosen.side], **on)
