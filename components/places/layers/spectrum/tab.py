"""Spectrum: a layer's singular values, the gap of every layer across methods, and the trade-off over β."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.blocks import Block

from components.jobs.events import CHEAP, Updates, Values, run_by_buttons
from components.jobs.messages import bar, message
from components.jobs.prune import Follow
from components.places.layers.spectrum.figures import beta_figures, gap_by_layer
from components.places.layers.spectrum.view import curve_of, curve_work, density, mean_gaps, weighted
from components.places.layers.spectrum.words import beta_reading, curve_facts, gap_reading, weighted_reading
from components.state.workspace import Workspace
from components.tab import Tab, drawn_once, finished
from components.widgets.heading import panel_heading
from components.widgets.plot import Plot
from components.words.experts import means_hint
from components.words.glossary import MEASURES
from components.words.html import escape, measure_hint, reading
from components.words.labels import run_label
from eggs_core.config import PruneConfig
from eggs_core.errors import EggsError
from eggs_core.pruning.beta_curve import BETAS, BetaCurve
from eggs_core.runs.run import Run
from eggs_core.text.sources import Text

SHOWN = ("spectral_gap", "gap_z", "min_in_degree", "orphans")
CURVES = (
    ("perplexity", "Perplexity", "95 % against β = 0 %"),
    ("gap", "Spectral gap"),
    ("score", "Retained score"),
)
NO_CURVE = "No curve for this model and pattern yet: press the button, which prunes and evaluates once for each β."


@dataclass(frozen=True, slots=True)
class SpectrumPanel:
    """The components of this tab that are filled, and what happens to them."""

    spectrum: Plot
    layer_text: gr.HTML
    weighted: gr.HTML
    chart: Plot
    sentence: gr.HTML
    note: gr.HTML
    progress: gr.HTML
    perplexity: Plot
    gap: Plot
    score: Plot
    curve_text: gr.HTML
    facts: gr.HTML
    read: Callable[..., tuple[PruneConfig, dict[str, Text]]]  # what the sidebar's controls describe

    @property
    def layer(self) -> Tab:
        """What follows the chosen layer."""
        return Tab([self.spectrum, self.layer_text, self.weighted], self.draw_layer)

    @property
    def curves(self) -> list[Block]:
        """What a curve over β fills."""
        return [self.perplexity, self.gap, self.score, self.curve_text, self.facts]

    @property
    def tab(self) -> Tab:
        """All but the progress of a measurement."""
        return Tab([*self.layer.outputs, self.sentence, self.chart, self.note, *self.curves], self.render)

    def draw_layer(self, workspace: Workspace) -> Values:
        """The singular values of the chosen layer."""
        return workspace.drawn(lambda: self._layer_now(workspace.still()))

    def _layer_now(self, workspace: Workspace) -> Values:
        run = finished(workspace)
        if run is None or not workspace.layer:
            return self._none(reading("The spectrum appears when the run is finished."))

        def draw() -> Values:
            figure, text = density(workspace)
            return {self.spectrum: figure, self.layer_text: text}

        try:
            shown = drawn_once([self.spectrum, self.layer_text], [run], ("density", workspace.layer), draw)
            return shown | self._weighted(workspace, wait=False)
        except EggsError as error:
            return self._none(reading(escape(error)))

    def _none(self, text: str) -> Values:
        return {self.spectrum: None, self.layer_text: text, self.weighted: ""}

    def _weighted(self, workspace: Workspace, wait: bool) -> Values:
        if finished(workspace) is None or not workspace.layer:
            return {self.weighted: ""}
        return {self.weighted: weighted_reading(workspace.shown_layer, weighted(workspace, wait))}

    @property
    def later(self) -> Tab:
        """What is said of the chosen layer once another process has computed it; nothing else waits for that."""
        return Tab(
            [self.weighted], lambda workspace: workspace.drawn(lambda: self._weighted(workspace.still(), wait=True))
        )

    def render(self, workspace: Workspace) -> Values:
        """The chosen layer, all layers of all methods, and the curve over β."""
        workspace = workspace.still()
        run, gaps = finished(workspace), [self.sentence, self.chart, self.note]
        if run is None:
            nothing = {self.sentence: "", self.chart: None, self.note: ""}
            return self.draw_layer(workspace) | nothing | self._draw_curve(None)
        shown = [run, *workspace.comparable()]
        drawn = drawn_once(gaps, shown, ("gaps", workspace.spectrum), lambda: self._draw_all(workspace, run))
        return self.draw_layer(workspace) | drawn | self._draw_curve(curve_of(workspace))

    def _draw_gaps(self, workspace: Workspace, key: str) -> Values:
        runs = workspace.comparable()
        note = measure_hint(key) + (means_hint(runs[0].report["layers"]) if runs else "")
        return {self.chart: gap_by_layer(runs, key), self.note: note}

    def _draw_all(self, workspace: Workspace, run: Run) -> Values:
        line = gap_reading(run_label(run), run.report["layers"], mean_gaps(workspace.comparable()))
        return {self.sentence: line, **self._draw_gaps(workspace, workspace.spectrum)}

    def _draw_curve(self, curve: BetaCurve | None) -> Values:
        """The three figures over β; a sentence while there is no point."""
        if curve is None or not curve.points:
            figures: list[Block] = [self.perplexity, self.gap, self.score]
            return {**dict.fromkeys(figures), self.curve_text: reading(NO_CURVE), self.facts: ""}

        def draw() -> Values:
            perplexity, gap, score = beta_figures(curve)
            figures: Values = {self.perplexity: perplexity, self.gap: gap, self.score: score}
            return {**figures, self.curve_text: beta_reading(curve), self.facts: curve_facts(curve)}

        return drawn_once(self.curves, [], ("curve", repr(curve)), draw)

    def set_measure(self, workspace: Workspace, key: str) -> Values:
        """Another measure of all layers."""
        if key not in SHOWN:
            raise EggsError("Choose one of the measures.")
        workspace.spectrum = key
        return workspace.drawn(lambda: self._draw_gaps(workspace, workspace.spectrum))

    def sweep(self, follow: Follow, workspace: Workspace, *values: Any) -> Updates:
        """State and the sidebar's values in; progress and the growing curve out."""
        drawn = 0
        for event in follow(curve_work(*self.read(*values))):
            progress, found = event if isinstance(event, tuple) else (event, None)
            curve: Values = {}
            if found and len(found.points) > drawn:
                drawn = len(found.points)
                workspace.own_curve(found)
                curve = self._draw_curve(found)
            yield {self.progress: bar(progress), **curve}
        yield {self.progress: message("Done.")}

    def stopped(self, _workspace: Workspace) -> Values:
        """What is said when a measurement is stopped."""
        return {self.progress: message("Stopped; the points measured so far stay.")}


def create_spectrum_tab(
    state: gr.State, inputs: Sequence[Block], read: Callable[..., tuple[PruneConfig, dict[str, Text]]]
) -> SpectrumPanel:
    """Fill an open gr.Tab; the curve over β is that of what `read` makes of the values of `inputs`."""
    panel_heading("Singular values of the chosen layer")
    spectrum = Plot(elem_id="density-chart", title="Singular values", said_by="density-reading", height=340)
    layer_text = gr.HTML(elem_id="density-reading", padding=False)
    weighted_text = gr.HTML(elem_id="density-weighted", padding=False)
    panel_heading("Every layer, method by method", "a figure for each projection, over the blocks")
    measure = gr.Radio(
        [(MEASURES[m][0], m) for m in SHOWN], value="spectral_gap", label="Measure", elem_id="spectrum-measure"
    )
    chart = Plot(elem_id="gap-chart", title="Every layer, method by method", said_by="spectrum-reading", height=440)
    sentence = gr.HTML(elem_id="spectrum-reading", padding=False)
    note = gr.HTML(elem_id="spectrum-note", padding=False)
    panel_heading("What does connectivity cost? The trade-off over β")
    with gr.Row():
        start = gr.Button(f"Measure it for the sidebar's choices ({len(BETAS)} runs)", elem_id="sweep", size="sm")
        stop = gr.Button("Stop", elem_id="sweep-stop", size="sm", interactive=False)
    progress, plots = gr.HTML("", elem_id="sweep-progress", padding=False), []
    with gr.Row():
        for name, *title in CURVES:
            with gr.Column(min_width=290):
                panel_heading(*title)
                plots.append(Plot(elem_id=f"sweep-{name}", title=title[0], said_by="sweep-reading", height=280))
    curve_text = gr.HTML(elem_id="sweep-reading", padding=False)
    facts = gr.HTML(elem_id="sweep-facts", padding=False)
    perplexity, gap, score = plots
    panel = SpectrumPanel(
        spectrum,
        layer_text,
        weighted_text,
        chart,
        sentence,
        note,
        progress,
        perplexity,
        gap,
        score,
        curve_text,
        facts,
        read,
    )
    measure.input(panel.set_measure, [state, measure], [chart, note], **CHEAP)
    outputs = [progress, *panel.curves]
    run_by_buttons(start, stop, panel.sweep, [state, *inputs], outputs, stopped=panel.stopped)
    return panel
