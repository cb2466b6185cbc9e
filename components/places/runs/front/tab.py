"""Prune or quantise: the measured front that ships with the app."""

from contextlib import suppress
from dataclasses import dataclass

import gradio as gr
from gradio.blocks import Block

from components.jobs.events import CHEAP, Values
from components.jobs.messages import message
from components.places.runs.front.figures import bytes_figure, speed_figure
from components.places.runs.front.view import front_named, front_of, models
from components.places.runs.front.words import front_facts, front_reading
from components.state.workspace import Workspace
from components.widgets.heading import panel_heading
from components.widgets.plot import Plot
from eggs_core.errors import EggsError


@dataclass(frozen=True, slots=True)
class FrontPanel:
    """The components that show a front."""

    model: gr.Dropdown
    sentence: gr.HTML
    size: Plot
    speed: Plot
    facts: gr.HTML
    opened_on: gr.State  # the model in view when the tab was opened the last time

    @property
    def outputs(self) -> list[Block]:
        """All of them."""
        return [self.model, self.sentence, self.size, self.speed, self.facts]

    def open(self, workspace: Workspace, model: str | None, before: str) -> Values:
        """The front of the model in view, where there is one and that model was not in view the last time."""
        in_view = workspace.run.report["model"] if workspace.run else ""
        if in_view != before:
            with suppress(EggsError):  # which drawing says
                model = front_of(in_view) or model
        return {**self.draw(model), self.opened_on: in_view}

    def draw(self, model: str | None) -> Values:
        """A model's name in; everything that shows its front out."""
        try:
            front, names = front_named(model), models()
        except EggsError as error:
            return {self.sentence: message(str(error), bad=True)}
        return {
            self.model: gr.Dropdown(choices=names, value=front.model),
            self.sentence: front_reading(front),
            self.size: bytes_figure(front),
            self.speed: speed_figure(front),
            self.facts: front_facts(front),
        }


def create_front_panel(tab: gr.Tab, state: gr.State) -> FrontPanel:
    """Fill the place at hand, inside a tab; nothing is read before it is opened."""
    panel_heading("Prune or quantise?")
    model = gr.Dropdown([], label="Model", elem_id="front-model", filterable=False)
    sentence = gr.HTML(elem_id="front-reading", padding=False)
    with gr.Row():
        with gr.Column(min_width=340):
            size = _plot("front-size", "Perplexity against bytes, pruned or quantised")
        with gr.Column(min_width=340):
            speed = _plot("front-speed", "Perplexity against tokens a second")
    panel = FrontPanel(model, sentence, size, speed, gr.HTML(elem_id="front-facts", padding=False), gr.State(""))
    tab.select(panel.open, [state, model, panel.opened_on], [*panel.outputs, panel.opened_on], **CHEAP)
    model.input(panel.draw, model, panel.outputs, **CHEAP)
    return panel


def _plot(elem_id: str, title: str) -> Plot:
    return Plot(elem_id=elem_id, title=title, said_by="front-reading", height=430)
