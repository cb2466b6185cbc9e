"""Masks: the model as a map, and the chosen layer's mask on a canvas, alone or beside another method's."""

import gradio as gr

from components.jobs.events import CHEAP, EACH
from components.places.layers.mask.view import (
    FINEST,
    cell_values,
    compare_choices,
    comparison,
    degree_chart,
    legend,
    map_value,
    mask_values,
)
from components.places.layers.mask.words import layer_reading, model_summary
from components.state.asked import number, told, whole_number
from components.state.drawings import draw_once
from components.state.workspace import Workspace
from components.tab import Tab
from components.widgets.canvas import CellDetail, MaskCanvas, ModelMap
from components.widgets.plot import Plot
from components.words.glossary import MEASURES
from components.words.html import escape, reading
from components.words.labels import run_label
from eggs_core.errors import EggsError

VIEWS = [("side by side", False), ("difference", True)]


def create_masks_tab(state: gr.State) -> tuple[Tab, ModelMap, tuple[MaskCanvas, MaskCanvas]]:
    """Fill an open gr.Tab; the map and the canvases are handed out so that the composer can link other tabs to them."""
    measure = gr.Radio(
        [(name, key) for key, (name, _) in MEASURES.items()],
        value="spectral_gap",
        label="Colour of the map",
        elem_id="map-measure",
    )
    model_map = ModelMap(elem_id="model-map")
    summary = gr.HTML(elem_id="map-reading", padding=False)
    sentence = gr.HTML(elem_id="layer-reading", padding=False)
    with gr.Row():
        compare = gr.Dropdown([("nothing", "")], value="", label="Compare with", elem_id="compare", min_width=200)
        view = gr.Radio(VIEWS, value=False, label="Show the two", elem_id="compare-view", min_width=260)
    with gr.Row():
        with gr.Column(min_width=320):
            heading = gr.HTML(elem_id="mask-heading", padding=False)
            canvas = MaskCanvas(elem_id="mask-canvas")
        with gr.Column(min_width=320, visible=False) as column:
            other_heading = gr.HTML(elem_id="other-heading", padding=False)
            other = MaskCanvas(elem_id="other-canvas")
    key = gr.HTML(elem_id="mask-legend", padding=False)
    compared_text = gr.HTML(elem_id="comparison", padding=False)
    gr.HTML('<h3 class="panel">Connections per input</h3>', padding=False)
    degrees = Plot(elem_id="degree-chart", height=260)
    degree_text = gr.HTML(elem_id="degree-reading", padding=False)
    detail = CellDetail(elem_id="cell-detail")

    pictures = [compare, heading, canvas, column, other_heading, other, key, compared_text]
    outputs = [model_map, summary, sentence, *pictures, degrees, degree_text]

    def draw_map(workspace: Workspace) -> list:
        workspace = workspace.still()
        if not workspace.run:
            return [None, ""]
        return draw_once([workspace.run], ("map", workspace.measure, workspace.layer), lambda: model(workspace))

    def model(workspace: Workspace) -> list:
        value = map_value(workspace.run, workspace.measure, workspace.layer)
        return [value, model_summary(workspace.run.report["layers"], run_label(workspace.run))]

    def draw(workspace: Workspace) -> list:
        first, second = mask_values(workspace)
        titles = [f'<h3 class="panel">{escape(v["label"] if v else "")}</h3>' for v in (first, second)]
        if first and first["difference"]:
            titles[0] = f'<h3 class="panel">{escape(" against ".join(first["names"]))}</h3>'
        choices = compare_choices(workspace)
        chosen = workspace.compare if workspace.compare in dict(choices).values() else ""
        return [
            gr.Dropdown(choices=choices, value=chosen),
            titles[0],
            first,
            gr.Column(visible=second is not None),
            titles[1],
            second,
            legend(workspace),
            comparison(workspace),
        ]

    def draw_layer(workspace: Workspace) -> list:
        layer = workspace.layer_report()
        text = layer_reading(layer) if layer else reading("Click a layer in the map.")
        return [text, *draw(workspace), *degree_chart(workspace)]

    def render(workspace: Workspace) -> list:
        return workspace.drawn(lambda: drawn_now(workspace.still()))

    def drawn_now(workspace: Workspace) -> list:
        shown = [workspace.run, *workspace.comparable()] if workspace.run else []
        key = ("masks", workspace.layer, workspace.compare, workspace.difference, workspace.finished)
        try:
            return [*draw_map(workspace), *draw_once(shown, key, lambda: draw_layer(workspace))]
        except EggsError as error:
            blank = [gr.skip(), "", None, gr.Column(visible=False), "", None, "", ""]
            return [*draw_map(workspace), reading(escape(error)), *blank, None, ""]

    def set_measure(workspace: Workspace, key: str) -> list:
        if key not in MEASURES:
            raise EggsError("Choose one of the measures.")
        workspace.measure = key
        return workspace.drawn(lambda: draw_map(workspace))

    def set_compare(workspace: Workspace, name: str | None, difference: bool) -> list:
        workspace.compare, workspace.difference = name or "", bool(difference)
        return render(workspace)[3 : 3 + len(pictures)]

    def show_cells(workspace: Workspace, event: gr.EventData) -> dict | None:
        """Weights and scores to hover over, once single weights can be told apart."""
        if not workspace.run or not workspace.finished or number(told(event, "cell"), "A size") < FINEST:
            return gr.skip()
        place = [whole_number(told(event, name), "A place") for name in ("row", "column", "rows", "columns")]
        if not workspace.in_turn("cells", number(told(event, "turn"), "A turn")):
            return gr.skip()
        try:
            return cell_values(workspace, *place)
        except EggsError:
            return gr.skip()  # the model is not at hand: hovering tells the mask alone

    measure.input(set_measure, [state, measure], [model_map, summary], **CHEAP)
    for control in (compare, view):
        control.input(set_compare, [state, compare, view], pictures, **CHEAP)
    for one in (canvas, other):
        one.window(show_cells, state, detail, **EACH)
    return Tab(outputs, render, draw_map), model_map, (canvas, other)
