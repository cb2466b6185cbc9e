"""Expander graph: a window of the chosen layer, or all of it in bundles, beside what top-N would have kept."""

import gradio as gr

from components.jobs.events import CHEAP, EACH
from components.places.layers.graph.figures import expansion_figure, mixing_figure
from components.places.layers.graph.view import (
    SIZES,
    TOPN,
    Frame,
    Graph,
    Pair,
    certified,
    chosen_expansion,
    frame_of,
    graph_value,
    graphs,
    pick_set,
    signal_sources,
    spread_of,
    step_of,
)
from components.places.layers.graph.words import (
    beta_cards,
    curve_reading,
    mixing_reading,
    pruned_cards,
    set_reading,
    set_table,
)
from components.state.asked import number, told, whole_number
from components.state.drawings import draw_once
from components.state.results import remember
from components.state.workspace import Workspace
from components.tab import Tab
from components.widgets.canvas import GraphCanvas
from components.widgets.plot import Plot
from components.words.html import escape, reading, term
from components.words.phrases import NO_TOPN
from eggs_core.errors import EggsError
from eggs_core.graph.drawing import LAYOUTS
from eggs_core.graph.expansion import SIDES, expansion_curve
from eggs_core.pruning.one_layer import layer_scores

LEGEND = (
    '<p class="legend"><span><i class="swatch score"></i>kept by both</span>'
    '<span><i class="swatch link"></i>edge that the other graph lacks</span>'
    '<span><i class="swatch orphan"></i>input without any edge in view</span>'
    '<span><i class="swatch ring"></i>member of T</span><span><i class="swatch yolk"></i>signal</span></p>'
)
LEGEND_ALONE = LEGEND.replace("kept by both", f"kept; {NO_TOPN}").replace(
    '<span><i class="swatch link"></i>edge that the other graph lacks</span>', ""
)
SIZE_CHOICES = [(str(n), n) for n in SIZES] + [("whole layer", 0)]
BUTTONS = (("lowest", "Lowest degree"), ("random", "Random"), ("worst", "Worst found"), ("clear", "Clear"))


def create_graph_tab(state: gr.State) -> Tab:
    """Fill an open gr.Tab; window, size, layout, β and the chosen set redraw both graphs."""
    title = gr.HTML(elem_id="graph-reading", padding=False)
    with gr.Row():
        row = gr.Number(0, label="First output", precision=0, minimum=0, elem_id="graph-row", min_width=90)
        column = gr.Number(0, label="First input", precision=0, minimum=0, elem_id="graph-column", min_width=90)
        size = gr.Dropdown(SIZE_CHOICES, value=16, label="Channels a side", elem_id="graph-size", min_width=110)
        kind = gr.Radio(LAYOUTS, value="bipartite", label="Layout", elem_id="graph-layout", min_width=330)
    with gr.Row(equal_height=True):
        beta = gr.Slider(
            0,
            1,
            value=0,
            step=0.1,
            label="β: from top-N (0) to equally connected inputs (1), on the right",
            elem_id="graph-beta",
            min_width=260,
        )
        as_pruned = gr.Button("As pruned", elem_id="graph-as-pruned", size="sm", min_width=110, scale=0)
    cards = gr.HTML(elem_id="beta-cards", padding=False)
    with gr.Row():
        with gr.Column(min_width=300):
            left_title = gr.HTML(elem_id="topn-title", padding=False)
            left = GraphCanvas(elem_id="topn-graph", label="Top-N's graph")
        with gr.Column(min_width=300):
            right_title = gr.HTML(elem_id="mask-title", padding=False)
            right = GraphCanvas(elem_id="mask-graph", label="The method's graph")
    key = gr.HTML(LEGEND, elem_id="graph-legend", padding=False)
    gr.HTML('<h3 class="panel">How far does a set of channels reach?</h3>', padding=False)
    with gr.Row(elem_id="set-controls"):
        side = gr.Radio(SIDES, value="inputs", label="Side of T", elem_id="set-side", min_width=150)
        members = gr.Slider(1, 32, value=4, step=1, label="Channels in T", elem_id="set-size", min_width=150)
        with gr.Column(scale=2, min_width=380):
            with gr.Row():
                buttons = {how: gr.Button(text, elem_id=f"set-{how}", size="sm", min_width=76) for how, text in BUTTONS}
            play = gr.Button("▶ Play the spread of a signal from T", elem_id="set-play", size="sm", variant="primary")
    table = gr.HTML(elem_id="set-table", padding=False)
    set_text = gr.HTML(elem_id="set-reading", padding=False)
    with gr.Row():
        with gr.Column(min_width=320):
            gr.HTML('<h3 class="panel">Sampled sets and the certificate</h3>', padding=False)
            curve = Plot(elem_id="expansion-chart", height=330)
            curve_text = gr.HTML(elem_id="expansion-reading", padding=False)
        with gr.Column(min_width=320):
            gr.HTML('<h3 class="panel">How fast a signal mixes</h3>', padding=False)
            mixing = Plot(elem_id="mixing-chart", height=330)
            mixing_text = gr.HTML(elem_id="mixing-reading", padding=False)

    window = [title, row, column, left_title, left, right_title, right, cards, beta, key]
    below = [table, set_text, curve, curve_text, mixing, mixing_text]
    outputs = [*window, *below]

    def empty(text: str) -> list:
        return [reading(text), 0, 0, "", None, "", None, "", gr.skip(), "", "", "", None, "", None, ""]

    def render(workspace: Workspace, play: bool = False) -> list:
        if workspace.run is None or not workspace.layer:
            return empty("Choose a layer on the Masks tab.")
        try:
            return workspace.drawn(lambda: drawn_now(workspace, play))
        except EggsError as error:
            workspace.graph.beta = None
            return empty(escape(error))

    def drawn_now(workspace: Workspace, play: bool) -> list:
        still = workspace.still()
        view, place = still.graph, (still.layer, still.row, still.column)
        if play or view.beta is not None:  # which needs the model at hand
            values = draw(still, play)
        else:
            key = ("graph", *place, view.size, view.layout, view.side, view.members)
            values = draw_once([still.run], key, lambda: draw(still))
        if view.size and place == (workspace.layer, workspace.row, workspace.column):
            workspace.row, workspace.column = values[1:3]  # a window outside the matrix has moved inside
        return values

    def draw(workspace: Workspace, play: bool = False) -> list:
        pair = graphs(workspace)
        return [*_window(workspace, pair, play), *_below(workspace, pair)]

    def move(workspace: Workspace, first_row: float | None, first_column: float | None) -> list:
        workspace.row, workspace.column = (max(0, whole_number(n, "A channel")) for n in (first_row, first_column))
        return render(workspace)

    def resize(workspace: Workspace, size: int, kind: str) -> list:
        if size not in (0, *SIZES):
            raise EggsError("Choose one of the sizes in the list.")
        workspace.graph.size, workspace.graph.layout = size, kind
        return render(workspace)

    def set_beta(workspace: Workspace, value: float) -> list:
        workspace.graph.beta = number(value, "β")
        values = render(workspace)
        values[outputs.index(beta)] = gr.skip()  # the hand on the slider has the last word
        return values

    def restore(workspace: Workspace) -> list:
        workspace.graph.beta = None
        return render(workspace)

    def choose(workspace: Workspace, event: gr.EventData) -> list:
        """A set picked by hand; both canvases show it already."""
        chosen = str(told(event, "side"))
        turn = number(told(event, "turn"), "A turn")
        if workspace.run is None or chosen not in SIDES or not workspace.in_turn("set", turn):
            return [gr.skip()] * len(below)
        pair = graphs(workspace)
        frame = frame_of(workspace, pair[1].mask)
        nodes = [whole_number(node, "A channel") for node in _listed(told(event, "members"))]
        workspace.graph.side, workspace.graph.members = chosen, tuple(frame.channels(chosen, nodes).tolist())
        return workspace.drawn(lambda: _below(workspace, graphs(workspace)))

    def pick(how: str):
        def handler(workspace: Workspace, chosen: str, count: int) -> list:
            if workspace.run is None or not workspace.layer:
                return render(workspace)
            pair = graphs(workspace)
            frame = frame_of(workspace, pair[1].mask)
            workspace.graph.side, workspace.graph.members = chosen, ()
            if how != "clear":
                wanted = whole_number(count, "The size of T")
                workspace.graph.members = pick_set(workspace, pair[1], frame, how, chosen, wanted)
            return render(workspace)

        return handler

    def start(workspace: Workspace, chosen: str, count: int) -> list:
        """Play from the chosen set, or from one channel of the lowest degree if there is none."""
        if not workspace.graph.members:
            pick("lowest")(workspace, chosen, 1)
        return render(workspace, play=True)

    # Only what a person typed or chose: a control's value that changes while the tab opens must not move the window.
    for event in (row.submit, column.submit, row.blur, column.blur):
        event(move, [state, row, column], outputs, **CHEAP)
    for event in (size.input, kind.input):
        event(resize, [state, size, kind], outputs, **CHEAP)
    beta.input(set_beta, [state, beta], outputs, **CHEAP)
    as_pruned.click(restore, state, outputs, **CHEAP)
    for canvas in (left, right):
        canvas.choose(choose, state, below, **EACH)
    for how, button in buttons.items():
        button.click(pick(how), [state, side, members], outputs, **CHEAP)
    play.click(start, [state, side, members], outputs, **CHEAP)
    return Tab(outputs, render)


def _listed(value: object) -> list:
    if not isinstance(value, list):
        raise EggsError("A set of channels must be a list; reload the page and try again.")
    return value


def _window(workspace: Workspace, pair: Pair, play: bool) -> list:
    """Title, window position, both graphs with their headings, what follows β, and the legend."""
    view, (topn, graph) = workspace.graph, pair
    frame = frame_of(workspace, graph.mask)
    values = [g and graph_value(workspace, g, other, frame, play) for g, other in ((topn, graph), (graph, topn))]
    first = {side: max(frame.first[side], 0) for side in SIDES}
    cards = pruned_cards(workspace.layer_report(), graph.mask.sum(0), topn and (topn.mask.sum(0), topn.sigma2))
    if view.beta is not None:
        report = workspace.run.report
        kind, recorded = report["config"]["score"], report.get("fingerprint")
        source = layer_scores(report["model"], workspace.layer, kind, recorded).source
        cards = beta_cards(step_of(workspace, view.beta), step_of(workspace, 0.0), source)
    heads = [_heading(g, frame) for g in pair]
    slider = gr.Slider(value=view.beta if view.beta is not None else 0)
    return [
        _title(workspace, pair, frame),
        first["outputs"],
        first["inputs"],
        heads[0],
        values[0],
        heads[1],
        values[1],
        cards,
        slider,
        LEGEND if topn else LEGEND_ALONE,
    ]


def _heading(graph: Graph | None, frame: Frame) -> str:
    label, said = TOPN, "not recorded with this run"
    if graph is not None:
        label, said = graph.label, f"{_edges(graph, frame):,} edges in view · gap {1 - graph.sigma2:.3f}"
    return f'<h3 class="panel">{escape(label)}<span>{said}</span></h3>'


def _edges(graph: Graph, frame: Frame) -> int:
    first = {side: max(frame.first[side], 0) for side in SIDES}
    last = {side: first[side] + frame.count[side] * frame.each[side] for side in SIDES}
    return int(graph.mask[first["outputs"] : last["outputs"], first["inputs"] : last["inputs"]].sum())


def _title(workspace: Workspace, pair: Pair, frame: Frame) -> str:
    known = [g for g in pair if g is not None]
    lost = " and ".join(f"{int((g.mask.sum(0) == 0).sum())} under {escape(g.label)}" for g in known)
    fewest = " and ".join(str(int(g.mask.sum(0).min())) for g in known)
    if frame.whole:
        each = ", ".join(f"{frame.each[s]} {s}" for s in SIDES)
        where = f"whole layer in bundles of {each}; the darker a line, the more of its possible connections are kept"
    else:
        ends = {s: f"{s} {frame.first[s]}–{frame.first[s] + frame.count[s] - 1}" for s in SIDES}
        where = f"{ends['outputs']} of {frame.total['outputs']} and {ends['inputs']} of {frame.total['inputs']}"
    apart = [g.label for g in known if g.sigma2 > 1 - 1e-4]
    said = f" {escape(' and '.join(apart))} falls apart: its gap is 0." if apart else ""
    return reading(
        f"<b>{escape(workspace.layer)}</b>, {where}. {term('orphans', 'Orphans')} in the whole layer: {lost}; the "
        f"worst-connected input keeps {fewest} weights.{said}",
        "orphans",
    )


def _below(workspace: Workspace, pair: Pair) -> list:
    """The chosen set's table and sentence, the curve of sampled sets, and mixing."""
    view, graph, known = workspace.graph, pair[1], [g for g in pair if g is not None]
    key = ("curve", graph.key, view.side)
    points = remember(key, lambda: expansion_curve(graph.mask, view.side, certified(graph)))
    rows = [(g.label, chosen_expansion(workspace, g)) for g in known] if view.members else []
    others = graph.mask.shape[0 if view.side == "inputs" else 1]
    sources = signal_sources(workspace, graph)
    spreads = [(g.label, g.sigma2, spread_of(workspace, g, sources)) for g in known]
    origin = "T" if view.members else f"{view.side[:-1]} {sources[0]}, the least connected,"
    return [
        set_table(rows, view.side) if rows else "",
        set_reading(rows, view.side, others),
        expansion_figure(points, graph.label, view.side),
        curve_reading(points, graph.label, view.side),
        mixing_figure(spreads),
        mixing_reading(spreads, origin),
    ]
