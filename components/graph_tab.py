"""Expander graph: a window of the chosen layer's mask as a bipartite graph, beside what top-N would have kept."""

import gradio as gr
import torch

from components.session import Workspace, run_label
from components.tab import Tab
from components.text import escape, reading, term
from components.widgets.canvas import GraphCanvas
from eggs_core.graph import LAYOUTS, layout, window_graph

SIZES = (8, 16, 32, 64)


def graph_value(mask: torch.Tensor, other: torch.Tensor, row: int, column: int, degrees, kind: str) -> dict:
    """What the graph canvas draws: a window of a mask, with edges that `other` lacks marked."""
    positions = layout(window_graph(mask, row, column), kind)
    rows, columns = mask.shape
    in_degrees, out_degrees = degrees
    return {
        "inputs": [[column + c, *positions["in", column + c], in_degrees[column + c]] for c in range(columns)],
        "outputs": [[row + r, *positions["out", row + r], out_degrees[row + r]] for r in range(rows)],
        "edges": [[c, r, int(not other[r, c])] for r, c in mask.nonzero().tolist()],
        "square": kind != "bipartite",
    }


def create_graph_tab(state: gr.State) -> Tab:
    """Fill an open gr.Tab; window, size and layout redraw both graphs."""
    title = gr.HTML(elem_id="graph-reading", padding=False)
    with gr.Row():
        row = gr.Number(0, label="First output", precision=0, minimum=0, elem_id="graph-row", min_width=110)
        column = gr.Number(0, label="First input", precision=0, minimum=0, elem_id="graph-column", min_width=110)
        size = gr.Radio(SIZES, value=16, label="Channels on each side", elem_id="graph-size", min_width=200)
        kind = gr.Radio(LAYOUTS, value="bipartite", label="Layout", elem_id="graph-layout", min_width=200)
    with gr.Row():
        with gr.Column(min_width=320):
            topn_title = gr.HTML(elem_id="topn-title", padding=False)
            topn_graph = GraphCanvas(elem_id="topn-graph")
        with gr.Column(min_width=320):
            mask_title = gr.HTML(elem_id="mask-title", padding=False)
            mask_graph = GraphCanvas(elem_id="mask-graph")
    gr.HTML(
        '<p class="legend"><span><i class="swatch score"></i>kept by both</span>'
        '<span><i class="swatch link"></i>edge that the other selection lacks</span>'
        '<span><i class="swatch orphan"></i>input without any edge in the window</span></p>',
        padding=False,
    )

    def draw(workspace: Workspace, size: int = 16, kind: str = "bipartite") -> list:
        run = workspace.run
        if run is None or not workspace.layer:
            return [reading("Choose a layer on the Masks tab."), 0, 0, "", None, "", None]
        mask, topn = run.mask(workspace.layer), run.topn_mask(workspace.layer)
        window, first_row, first_column = workspace.window(mask, size)
        other, _, _ = workspace.window(topn, size)
        values = [
            graph_value(a, b, first_row, first_column, (m.sum(0).tolist(), m.sum(1).tolist()), kind)
            for a, b, m in ((other, window, topn), (window, other, mask))
        ]
        lost = [int((w.sum(0) == 0).sum()) for w in (other, window)]
        label = escape(run_label(run))
        text = reading(
            f"<b>{escape(workspace.layer)}</b>, outputs {first_row}–{first_row + window.shape[0] - 1} and inputs "
            f"{first_column}–{first_column + window.shape[1] - 1}. In this window {lost[0]} inputs have no edge under "
            f"top-N and {lost[1]} under {label}; in the whole layer {int((topn.sum(0) == 0).sum())} and "
            f"{int((mask.sum(0) == 0).sum())} are {term('orphans')}, and the worst-connected input keeps "
            f"{int(topn.sum(0).min())} and {int(mask.sum(0).min())} weights."
        )
        heading = lambda name, m: f'<h3 class="panel">{name}<span>{int(m.sum())} edges</span></h3>'  # noqa: E731
        return [text, first_row, first_column, heading("top-N by the same score", other), values[0],
                heading(label, window), values[1]]  # fmt: skip

    outputs = [title, row, column, topn_title, topn_graph, mask_title, mask_graph]

    def move(workspace: Workspace, first_row: float | None, first_column: float | None, size: int, kind: str) -> list:
        workspace.row, workspace.column = int(first_row or 0), int(first_column or 0)
        return draw(workspace, size, kind)

    # Only what a person typed or chose: a control's value that changes while the tab opens must not move the window.
    for event in (row.submit, column.submit, row.blur, column.blur, size.input, kind.input):
        event(
            move, [state, row, column, size, kind], outputs, queue=False, show_progress="hidden",
            trigger_mode="always_last", api_visibility="private",
        )  # fmt: skip
    return Tab(outputs, draw)
