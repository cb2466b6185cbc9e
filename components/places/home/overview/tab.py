"""Overview: what pruning did to the model, in four figures, one sentence and one chart."""

from dataclasses import dataclass

import gradio as gr
from gradio.blocks import Block

from components.charts.layers import layer_chart
from components.jobs.events import CHEAP, Values
from components.places.home.overview.words import measure_reading, unfinished_card
from components.state.results import speed_here
from components.state.workspace import Workspace
from components.tab import Tab, drawn_once
from components.widgets.plot import Plot
from components.words.experts import means_hint
from components.words.glossary import MEASURES
from components.words.html import measure_hint, reading
from components.words.labels import run_label
from components.words.recorded import facts
from components.words.run import overview_cards, overview_reading
from eggs_core.errors import EggsError
from eggs_core.report_types import Latency
from eggs_core.runs.run import Run

FIRST_MEASURE = "spectral_gap"


@dataclass(frozen=True, slots=True)
class Overview:
    """The components of this tab."""

    cards: gr.HTML
    sentence: gr.HTML
    measure: gr.Radio
    chart: Plot
    explanation: gr.HTML
    facts: gr.HTML

    @property
    def outputs(self) -> list[Block]:
        """All but the control."""
        return [self.cards, self.sentence, self.chart, self.explanation, self.facts]

    def draw(self, workspace: Workspace, key: str) -> Values:
        """The chart of one measure, and what it shows; raises EggsError for another name."""
        if key not in MEASURES:
            raise EggsError("Choose one of the measures.")
        run = workspace.run
        layers = run.report["layers"] if run else []
        message = measure_reading(layers, key) + measure_hint(key) + means_hint(layers, bars=True)
        return {self.chart: layer_chart(run, key) if run else None, self.explanation: message}

    def render(self, workspace: Workspace) -> Values:
        """Everything, with the measure that a page opens with."""
        workspace = workspace.still()
        run = workspace.run
        if run is None:
            start = reading("Choose a model and press Prune.")
            return {self.cards: start, self.sentence: "", self.chart: None, self.explanation: "", self.facts: ""}
        if workspace.finished and (found := speed_here(run)):
            return self._all(workspace, run, found.generation)
        key = ("overview", FIRST_MEASURE, workspace.finished, workspace.growing)
        return drawn_once(self.outputs, [run], key, lambda: self._all(workspace, run))

    def _all(self, workspace: Workspace, run: Run, here: Latency | None = None) -> Values:
        chart = self.draw(workspace, FIRST_MEASURE)
        if not workspace.finished:
            card = unfinished_card(len(run.report["layers"]), workspace.growing)
            return {self.cards: card, self.sentence: "", self.facts: "", **chart}
        message = overview_reading(run, run_label(run))
        return {self.cards: overview_cards(run, here), self.sentence: message, self.facts: facts(run), **chart}


def create_overview_tab(state: gr.State) -> Tab:
    """Fill an open gr.Tab; the measure's choice redraws the chart alone."""
    panel = Overview(
        cards=gr.HTML(elem_id="cards", padding=False),
        sentence=gr.HTML(elem_id="overview-reading", padding=False),
        measure=gr.Radio(
            [(name, key) for key, (name, _) in MEASURES.items()],
            value=FIRST_MEASURE,
            label="Per layer",
            elem_id="measure",
        ),
        chart=Plot(elem_id="layer-chart", title="Layer by layer", said_by="measure-note", height=380),
        explanation=gr.HTML(elem_id="measure-note", padding=False),
        facts=gr.HTML(elem_id="facts", padding=False),
    )
    panel.measure.change(panel.draw, [state, panel.measure], [panel.chart, panel.explanation], **CHEAP)
    return Tab(panel.outputs, panel.render)
