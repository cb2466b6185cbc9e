"""What does structure cost? The measured curves that ship with the app, of the model in view."""

from dataclasses import dataclass

import gradio as gr
from gradio.blocks import Block

from components.jobs.events import CHEAP, Values
from components.jobs.messages import message
from components.places.runs.structure.figures import structure_figure
from components.places.runs.structure.view import curves_of
from components.places.runs.structure.words import not_measured, structure_facts, structure_reading
from components.state.workspace import Workspace
from components.widgets.heading import panel_heading
from components.widgets.plot import Plot
from eggs_core.errors import EggsError


@dataclass(frozen=True, slots=True)
class StructurePanel:
    """The components that show the curves."""

    sentence: gr.HTML
    figure: Plot
    facts: gr.HTML

    @property
    def outputs(self) -> list[Block]:
        """All of them."""
        return [self.sentence, self.figure, self.facts]

    def draw(self, workspace: Workspace) -> Values:
        """State in; everything that shows the curves out."""
        model = workspace.run.report["model"] if workspace.run else None
        try:
            curves = curves_of(model)
        except EggsError as error:
            return {self.sentence: message(str(error), bad=True)}
        said = structure_reading(curves)
        if model and model != curves[0].model:
            said += not_measured(model, curves[0].model)
        return {self.sentence: said, self.figure: structure_figure(curves), self.facts: structure_facts(curves)}


def create_structure_panel(tab: gr.Tab, state: gr.State) -> None:
    """Fill the place at hand, inside a tab; nothing is read before it is opened."""
    panel_heading("What does structure cost?")
    sentence = gr.HTML(elem_id="structure-reading", padding=False)
    title = "Perplexity against the size of groups, half of the weights kept"
    figure = Plot(elem_id="structure", title=title, said_by="structure-reading", height=360)
    panel = StructurePanel(sentence, figure, gr.HTML(elem_id="structure-facts", padding=False))
    tab.select(panel.draw, state, panel.outputs, **CHEAP)
