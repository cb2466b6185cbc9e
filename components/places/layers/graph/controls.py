"""The controls of the graphs and of the set T."""

from dataclasses import dataclass

import gradio as gr

from components.places.layers.graph.view import SIZES
from eggs_core.graph.drawing import LAYOUTS
from eggs_core.graph.expansion import SIDES
from eggs_core.registry import OPTIONS

BETA_LABEL = f"{OPTIONS['beta'].label}: 0 is top-N, at 100 all inputs keep equally many"
SIZE_CHOICES = [(str(n), n) for n in SIZES] + [("whole layer", 0)]
PICKS = (("lowest", "Lowest degree"), ("random", "Random"), ("worst", "Worst found"), ("clear", "Clear"))


@dataclass(frozen=True, slots=True)
class WindowControls:
    """What of the layer is drawn, and how."""

    row: gr.Number
    column: gr.Number
    size: gr.Dropdown
    layout: gr.Radio
    beta: gr.Slider
    as_pruned: gr.Button


@dataclass(frozen=True, slots=True)
class SetControls:
    """How the set T is chosen and played."""

    side: gr.Radio
    members: gr.Slider
    picks: dict[str, gr.Button]
    play: gr.Button


def window_controls() -> WindowControls:
    """Build them, in two rows."""
    with gr.Row():
        row = gr.Number(0, label="First output", precision=0, elem_id="graph-row", min_width=90)
        column = gr.Number(0, label="First input", precision=0, elem_id="graph-column", min_width=90)
        size = gr.Dropdown(SIZE_CHOICES, value=8, label="Channels a side", elem_id="graph-size", min_width=110)
        layout = gr.Radio(LAYOUTS, value="bipartite", label="Layout", elem_id="graph-layout", min_width=330)
    with gr.Row(equal_height=True):
        beta = gr.Slider(0, 100, value=0, step=1, label=BETA_LABEL, elem_id="graph-beta", min_width=260)
        as_pruned = gr.Button("As pruned", elem_id="graph-as-pruned", size="sm", min_width=110, scale=0)
    return WindowControls(row, column, size, layout, beta, as_pruned)


def set_controls() -> SetControls:
    """Build them, in one row."""
    with gr.Row(elem_id="set-controls"):
        side = gr.Radio(SIDES, value="inputs", label="Side of T", elem_id="set-side", min_width=150)
        members = gr.Slider(1, 32, value=4, step=1, label="Channels in T", elem_id="set-size", min_width=150)
        with gr.Column(scale=2, min_width=380):
            with gr.Row():
                picks = {how: gr.Button(text, elem_id=f"set-{how}", size="sm", min_width=76) for how, text in PICKS}
            play = gr.Button("▶ Play the spread of a signal from T", elem_id="set-play", size="sm", variant="primary")
    return SetControls(side, members, picks, play)
