"""Overview: what pruning did to the model: a verdict, four figures, the map of layers, and measures for experts."""

from dataclasses import dataclass

import gradio as gr
from gradio.blocks import Block

from components.charts.layers import layer_chart
from components.jobs.events import CHEAP, Values
from components.places.layers.mask.view import map_value
from components.places.layers.overview.words import measure_reading, unfinished_card, verdict
from components.state.results import speed_here
from components.state.workspace import Workspace
from components.tab import Tab, drawn_once
from components.widgets.canvas import ModelMap
from components.widgets.heading import panel_heading
from components.widgets.plot import Plot
from components.words.experts import means_hint
from components.words.glossary import MEASURES
from components.words.html import measure_hint, reading
from components.words.labels import run_label
from components.words.recorded import facts
from components.words.run import decode_ratio, overview_cards, overview_reading
from eggs_core.errors import EggsError
from eggs_core.report_types import Latency
from eggs_core.runs.run import Run

FIRST_MEASURE = "spectral_gap"
MAPPED = "output_error"  # the measure that the map shows


@dataclass(frozen=True, slots=True)
class Overview:
    """The components of this tab."""

    verdict: gr.HTML
    cards: gr.HTML
    sentence: gr.HTML
    model_map: ModelMap
    measure: gr.Radio
    chart: Plot
    explanation: gr.HTML
    facts: gr.HTML

    @property
    def outputs(self) -> list[Block]:
        """All but the control."""
        return [self.verdict, self.cards, self.sentence, self.model_map, self.chart, self.explanation, self.facts]

    def draw(self, workspace: Workspace, key: str) -> Values:
        """The chart of one measure, and what it shows; raises EggsError for another name."""
        if key not in MEASURES:
            raise EggsError("Choose one of the measures.")
        run = workspace.run
        layers = run.report["layers"] if run else []
        message = measure_reading(layers, key) + measure_hint(key) + means_hint(layers, bars=True)
        return {self.chart: layer_chart(run, key) if run else None, self.explanation: message}

    @property
    def tab(self) -> Tab:
        """All of it."""
        return Tab(self.outputs, self.render)

    def render(self, workspace: Workspace) -> Values:
        """Everything, with the measure that a page opens with."""
        workspace = workspace.still()
        run = workspace.run
        if run is None:
            start = reading("Choose a model and press Prune.")
            nothing: Values = dict.fromkeys([self.verdict, self.sentence, self.explanation, self.facts], "")
            return {self.cards: start, self.model_map: None, self.chart: None, **nothing}
        if workspace.finished and (found := speed_here(run)):
            return self._all(workspace, run, found.generation)
        key = ("overview", FIRST_MEASURE, workspace.finished, workspace.growing)
        return drawn_once(self.outputs, [run], key, lambda: self._all(workspace, run))

    def _all(self, workspace: Workspace, run: Run, here: Latency | None = None) -> Values:
        drawn = self.draw(workspace, FIRST_MEASURE) | {self.model_map: map_value(run, MAPPED, "")}
        if not workspace.finished:
            card = unfinished_card(len(run.report["layers"]), workspace.growing)
            return {self.verdict: "", self.cards: card, self.sentence: "", self.facts: "", **drawn}
        label, latency = run_label(run), here or run.report.get("latency")
        return {
            self.verdict: verdict(run.report, label, latency and decode_ratio(latency), here is not None),
            self.cards: overview_cards(run, here),
            self.sentence: overview_reading(run, label),
            self.facts: facts(run),
            **drawn,
        }


def create_overview_tab(state: gr.State) -> Overview:
    """Fill an open gr.Tab; the measure's choice redraws the chart alone, and the composer links the map."""
    says = gr.HTML(elem_id="verdict", padding=False)
    cards = gr.HTML(elem_id="cards", padding=False)
    sentence = gr.HTML(elem_id="overview-reading", padding=False)
    panel_heading("Where the outputs moved", "output error of every layer; a click opens its mask")
    model_map = ModelMap(elem_id="overview-map")
    with gr.Accordion("Expert measures", open=False, elem_id="expert-measures"):
        choices = [(name, key) for key, (name, _) in MEASURES.items()]
        measure = gr.Radio(choices, value=FIRST_MEASURE, label="Per layer", elem_id="measure")
        chart = Plot(elem_id="layer-chart", title="Layer by layer", said_by="measure-note", height=380)
        explanation = gr.HTML(elem_id="measure-note", padding=False)
    panel = Overview(
        says, cards, sentence, model_map, measure, chart, explanation, gr.HTML(elem_id="facts", padding=False)
    )
    measure.change(panel.draw, [state, measure], [chart, explanation], **CHEAP)
    return panel
