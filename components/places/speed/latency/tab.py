"""Latency & size: what the pruned model weighs and how fast it runs, why, a race to watch, and files to download."""

from dataclasses import dataclass
from functools import partial

import gradio as gr
from gradio.blocks import Block

from components.charts.sizes import size_bars
from components.charts.speeds import SPEEDS, speed_bars
from components.jobs.events import Updates, Values, alike, run_by_buttons
from components.jobs.messages import bar, message
from components.jobs.prune import Follow
from components.jobs.work import Waiting
from components.places.speed.export.tab import create_export_panel
from components.places.speed.latency.figures import roofline, token_time_bars
from components.places.speed.latency.view import measure_work
from components.places.speed.latency.words import (
    UNMEASURED,
    WAITING,
    gpu_cards,
    latency_reading,
    layer_table,
    layers_reading,
    limit_reading,
    size_reading,
)
from components.places.speed.race.tab import create_race_panel
from components.state.results import speed_here
from components.state.workspace import Workspace
from components.tab import Tab, drawn_once, finished, joined
from components.widgets.context import open_tab
from components.widgets.heading import panel_heading
from components.widgets.plot import Plot
from components.words.html import reading
from components.words.recorded import NOT_MEASURED, made_on
from eggs_core.models.source import without_weights
from eggs_core.runs.measurement import Measurement, cases_of
from eggs_core.runs.run import Run

SPEED_TITLES = {
    "decode_tokens_per_s": ("decode-chart", "Decode", "one token at a time"),
    "prefill_tokens_per_s": ("prefill-chart", "Prefill", "the prompt at once"),
    "first_token_ms": ("first-token-chart", "First token", "what one waits for"),
}


@dataclass(frozen=True, slots=True)
class Speed:
    """The components that a measurement fills, and what a GPU would need."""

    size_text: gr.HTML
    size_chart: Plot
    latency_text: gr.HTML
    speeds: dict[str, Plot]  # by their key in SPEEDS
    layers_text: gr.HTML
    table: gr.HTML
    limit_text: gr.HTML
    roof: Plot
    token: Plot
    gpu: gr.HTML

    @property
    def measured(self) -> list[Block]:
        """What a measurement fills, first what tells how it stands."""
        sizes = [self.size_text, self.size_chart, self.latency_text, *self.speeds.values()]
        return [self.layers_text, self.table, *sizes, self.limit_text, self.roof, self.token]

    @property
    def tab(self) -> Tab:
        """All of it."""
        return Tab([*self.measured, self.gpu], self.render)

    def remeasure(self, follow: Follow, workspace: Workspace, anew: bool = True) -> Updates:
        """State in; what is said of the layers, and everything else that a measurement draws, out."""
        run = finished(workspace)
        if run is None:
            return
        if not anew and (missing := without_weights(run.config.model)):  # nobody asked: no fault
            yield {self.layers_text: message(missing)}
            return
        if anew or not speed_here(run):
            for event in follow(measure_work(run)):
                if isinstance(event, Waiting):
                    yield {self.layers_text: bar(event)}
                else:
                    progress, found = event
                    yield {self.layers_text: bar(progress), self.table: layer_table(found, found.cases)}
        if workspace.run is run:
            yield self.draw(run, speed_here(run))

    def stopped(self, workspace: Workspace) -> Values:
        """What is said when a measurement is stopped."""
        run = finished(workspace)
        if run is None:
            return {self.layers_text: gr.skip()}
        found = speed_here(run)
        sentence = "Not measured to the end; “Measure again” starts anew."
        return {self.layers_text: layers_reading(found) if found else message(sentence)}

    def render(self, workspace: Workspace) -> Values:
        """What is known of the run in view."""
        run = finished(workspace)
        if run is None:
            texts = [self.layers_text, self.table, self.latency_text, self.limit_text, self.gpu]
            charts = [self.size_chart, *self.speeds.values(), self.roof, self.token]
            return {**alike(texts, ""), **alike(charts), self.size_text: reading(WAITING)}
        found = speed_here(run)
        drawn = self.draw(run, found) if found else drawn_once(self.measured, [run], "latency", lambda: self.draw(run))
        return {**drawn, self.gpu: gpu_cards(run)}

    def draw(self, run: Run, found: Measurement | None = None) -> Values:
        """Everything that a measurement changes; without one, the run's own figures."""
        latency = found.generation if found else run.report.get("latency")
        speeds: Values = {chart: latency and speed_bars(latency, kind) for kind, chart in self.speeds.items()}
        day = f", {made_on(run.report)}" if run.report.get("created") else ""
        where = "Measured on this machine." if found else f"Measured when the run was made{day}."
        file_bytes = found.file_bytes if found else None
        return {
            self.size_text: size_reading(run, file_bytes),
            self.size_chart: size_bars(run, file_bytes),
            self.latency_text: latency_reading(latency, where),
            **speeds,
            **(self._limits(found) if found else self._unmeasured(run)),
        }

    def _unmeasured(self, run: Run) -> Values:
        sentence = UNMEASURED if run.report.get("latency") else message(f"{NOT_MEASURED[0].upper()}{NOT_MEASURED[1:]}.")
        limits: Values = {self.limit_text: "", self.roof: None, self.token: None}
        return {self.layers_text: sentence, self.table: layer_table(None, cases_of(run)), **limits}

    def _limits(self, found: Measurement) -> Values:
        return {
            self.layers_text: layers_reading(found),
            self.table: layer_table(found, found.cases),
            self.limit_text: limit_reading(found),
            self.roof: roofline(found) if found.bandwidth else None,
            self.token: token_time_bars(found) if found.bandwidth else None,
        }


def create_latency_tab(state: gr.State) -> Tab:
    """Fill an open gr.Tab; opening it measures on this machine what has not been measured yet."""
    tab = open_tab()
    panel_heading("Why isn’t it smaller?")
    size_text = gr.HTML(elem_id="size-reading", padding=False)
    size_chart = Plot(elem_id="size-chart", title="Bytes by part", said_by="size-reading", height=260)
    panel_heading("How fast is it?")
    latency_text = gr.HTML(elem_id="latency-reading", padding=False)
    speeds = _speed_charts()
    race = create_race_panel(state)
    with gr.Row(elem_classes="panel-row"):
        panel_heading("Layer by layer", "time of one product, dense → packed")
        again = gr.Button("Measure again", size="sm", elem_id="measure-again", scale=0, min_width=140)
        halt = gr.Button("Stop", size="sm", elem_id="measure-stop", scale=0, min_width=80, interactive=False)
    layers_text = gr.HTML(elem_id="layers-reading", padding=False)
    with gr.Accordion("Every layer shape, from one token to many", open=False, elem_id="layers-fold"):
        table = gr.HTML(elem_id="layer-timings", padding=False)
    with gr.Accordion("What could still gain?", open=False, elem_id="limits-fold"):
        limits = _limit_charts()
    with gr.Accordion("On a GPU", open=False, elem_id="gpu-fold"):
        gpu = gr.HTML(elem_id="gpu", padding=False)
    speed = Speed(size_text, size_chart, latency_text, speeds, layers_text, table, *limits, gpu=gpu)
    parts = (speed.tab, race.tab, create_export_panel(state))
    # A race needs the machine for itself, so its start ends a measurement as Stop does.
    run_by_buttons(
        again,
        halt,
        speed.remeasure,
        [state],
        speed.measured,
        stops=(race.start.click,),
        stopped=speed.stopped,
        starts={tab.select: partial(speed.remeasure, anew=False)},
    )

    return joined(parts)


def _speed_charts() -> dict[str, Plot]:
    charts = {}
    with gr.Row():
        for kind in SPEEDS:
            elem_id, title, note = SPEED_TITLES[kind]
            with gr.Column(min_width=280):
                panel_heading(title, note)
                charts[kind] = Plot(elem_id=elem_id, title=title, said_by="latency-reading", height=200)
    return charts


def _limit_charts() -> tuple[gr.HTML, Plot, Plot]:
    text = gr.HTML(elem_id="limit-reading", padding=False)
    with gr.Row():
        with gr.Column(min_width=320):
            panel_heading("Speed under the limit of memory")
            roof = Plot(
                elem_id="roofline", title="Speed under the limit of memory", said_by="limit-reading", height=300
            )
        with gr.Column(min_width=320):
            panel_heading("One token’s time")
            token = Plot(elem_id="token-time", title="One token’s time", said_by="limit-reading", height=300)
    return text, roof, token
