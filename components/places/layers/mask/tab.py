"""Masks: the model as a map, and the chosen layer's mask on a canvas, alone or beside another method's."""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from components.jobs.events import CHEAP, EACH, Values, alike
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
from components.places.layers.mask.words import layer_reading, mask_heading, model_summary
from components.state.asked import number, told, whole_number
from components.state.workspace import Workspace
from components.tab import Tab, drawn_once
from components.widgets.canvas import CellDetail, MaskCanvas, ModelMap
from components.widgets.heading import panel_heading
from components.widgets.plot import Plot
from components.words.glossary import MEASURES
from components.words.html import escape, reading
from components.words.labels import run_label
from eggs_core.errors import EggsError

VIEWS = [("side by side", False), ("difference", True)]


@dataclass(frozen=True, slots=True)
class MasksPanel:
    """The components of this tab, and what happens to them."""

    model_map: ModelMap
    summary: gr.HTML
    sentence: gr.HTML
    compare: gr.Dropdown
    view: gr.Radio
    heading: gr.HTML
    canvas: MaskCanvas
    beside: gr.Column
    other_heading: gr.HTML
    other: MaskCanvas
    legend: gr.HTML
    compared: gr.HTML
    degrees: Plot
    degree_text: gr.HTML

    @property
    def growing(self) -> Tab:
        """The map of the model, which follows a run while layers arrive."""
        return Tab([self.model_map, self.summary], self.draw_map)

    @property
    def pictures(self) -> Tab:
        """What the choice of another method changes."""
        first, second = [self.heading, self.canvas], [self.beside, self.other_heading, self.other]
        return Tab([self.compare, *first, *second, self.legend, self.compared], self._pictures)

    @property
    def layer(self) -> Tab:
        """What follows the chosen layer beside the map."""
        return Tab([self.sentence, *self.pictures.outputs, self.degrees, self.degree_text], self.draw_layer)

    @property
    def tab(self) -> Tab:
        """All of it."""
        return Tab([*self.growing.outputs, *self.layer.outputs], self.render)

    def draw_map(self, workspace: Workspace) -> Values:
        """All layers, coloured by the chosen measure."""
        workspace = workspace.still()
        run = workspace.run
        if run is None:
            return {self.model_map: None, self.summary: ""}

        def draw() -> Values:
            summary = model_summary(run.report["layers"], run_label(run))
            return {self.model_map: map_value(run, workspace.measure, workspace.layer), self.summary: summary}

        return drawn_once(self.growing.outputs, [run], ("map", workspace.measure, workspace.layer), draw)

    def draw_layer(self, workspace: Workspace) -> Values:
        """The mask of the chosen layer, alone or beside another method's."""
        workspace = workspace.still()
        shown = [workspace.run, *workspace.comparable()] if workspace.run else []
        key = ("masks", workspace.layer, workspace.compare, workspace.difference, workspace.finished)
        try:
            return drawn_once(self.layer.outputs, shown, key, lambda: self._layer(workspace))
        except EggsError as error:
            texts = [self.heading, self.other_heading, self.legend, self.compared, self.degree_text]
            hidden: Values = {self.beside: gr.Column(visible=False), self.sentence: reading(escape(error))}
            return alike(texts, "") | alike([self.canvas, self.other, self.degrees]) | hidden

    def render(self, workspace: Workspace) -> Values:
        """The map and the chosen layer."""
        return workspace.drawn(lambda: self._all(workspace.still()))

    def _all(self, workspace: Workspace) -> Values:
        return self.draw_map(workspace) | self.draw_layer(workspace)

    def _layer(self, workspace: Workspace) -> Values:
        layer = workspace.layer_report()
        text = layer_reading(layer) if layer else reading("Click a layer in the map.")
        chart, message = degree_chart(workspace)
        return {self.sentence: text, **self._pictures(workspace), self.degrees: chart, self.degree_text: message}

    def _pictures(self, workspace: Workspace) -> Values:
        first, second = mask_values(workspace)
        choices = compare_choices(workspace)
        chosen = workspace.compare if workspace.compare in dict(choices).values() else ""
        return {
            self.compare: gr.Dropdown(choices=choices, value=chosen),
            self.heading: mask_heading(first),
            self.canvas: first,
            self.beside: gr.Column(visible=second is not None),
            self.other_heading: mask_heading(second),
            self.other: second,
            self.legend: legend(workspace),
            self.compared: comparison(workspace),
        }

    def set_measure(self, workspace: Workspace, key: str) -> Values:
        """Another colour of the map."""
        if key not in MEASURES:
            raise EggsError("Choose one of the measures.")
        workspace.measure = key
        return workspace.drawn(lambda: self.draw_map(workspace))

    def set_compare(self, workspace: Workspace, name: str | None, difference: bool) -> Values:
        """Another method beside the one in view, or none."""
        workspace.compare, workspace.difference = name or "", bool(difference)
        values, outputs = workspace.drawn(lambda: self.draw_layer(workspace)), self.pictures.outputs
        return {output: value for output, value in values.items() if output in outputs}


def show_cells(workspace: Workspace, event: gr.EventData) -> dict[str, Any] | None:
    """Weights and scores to hover over, once single weights can be told apart."""
    if not workspace.run or not workspace.finished or number(told(event, "cell"), "A size") < FINEST:
        return gr.skip()
    if not workspace.in_turn("cells", number(told(event, "turn"), "A turn")):
        return gr.skip()
    row, column, rows, columns = (
        whole_number(told(event, name), "A place") for name in ("row", "column", "rows", "columns")
    )
    try:
        return cell_values(workspace, row, column, rows, columns)
    except EggsError:
        return gr.skip()  # the model is not at hand: hovering tells the mask alone


def create_masks_tab(state: gr.State) -> MasksPanel:
    """Fill an open gr.Tab; the composer links other tabs to the map and the canvases."""
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
        with gr.Column(min_width=320, visible=False) as beside:
            other_heading = gr.HTML(elem_id="other-heading", padding=False)
            other = MaskCanvas(elem_id="other-canvas")
    legend_line = gr.HTML(elem_id="mask-legend", padding=False)
    compared = gr.HTML(elem_id="comparison", padding=False)
    panel_heading("Connections per input")
    degrees = Plot(elem_id="degree-chart", title="Connections per input", said_by="degree-reading", height=260)
    degree_text = gr.HTML(elem_id="degree-reading", padding=False)
    detail = CellDetail(elem_id="cell-detail")
    pictures = (compare, view, heading, canvas, beside, other_heading, other, legend_line, compared)
    panel = MasksPanel(model_map, summary, sentence, *pictures, degrees, degree_text)

    measure.input(panel.set_measure, [state, measure], panel.growing.outputs, **CHEAP)
    gr.on([compare.input, view.input], panel.set_compare, [state, compare, view], panel.pictures.outputs, **CHEAP)
    for one in (canvas, other):
        one.window(show_cells, state, detail, **EACH)
    return panel
