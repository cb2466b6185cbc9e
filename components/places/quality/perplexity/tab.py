"""Perplexity: every comparable method against the dense model."""

from dataclasses import dataclass

import gradio as gr
from gradio.blocks import Block

from components.jobs.events import Values
from components.places.quality.perplexity.figures import perplexity_forest, window_scatter
from components.places.quality.perplexity.tables import accuracy_table, clear_best
from components.places.quality.perplexity.words import accuracy_reading, forest_reading, scatter_reading
from components.places.quality.tasks.view import task_pairs
from components.state.workspace import Workspace
from components.tab import Tab, drawn_once, finished
from components.widgets.heading import panel_heading
from components.widgets.plot import Plot
from components.words.html import reading
from components.words.labels import run_label
from components.words.recorded import facts
from eggs_core.evaluation.intervals import paired_ratio
from eggs_core.runs.run import Run

TOO_EARLY = "Accuracy is measured when all layers are pruned."


@dataclass(frozen=True, slots=True)
class Perplexity:
    """The components of this panel."""

    sentence: gr.HTML
    table: gr.Dataframe
    forest: Plot
    forest_text: gr.HTML
    scatter: Plot
    scatter_text: gr.HTML
    protocol: gr.HTML

    @property
    def outputs(self) -> list[Block]:
        """All of them."""
        charts = [self.forest, self.forest_text, self.scatter, self.scatter_text]
        return [self.sentence, self.table, *charts, self.protocol]

    def render(self, workspace: Workspace) -> Values:
        """The run in view, beside all that can be compared with it."""
        workspace = workspace.still()
        run = finished(workspace)
        if run is None:
            nothing: Values = {self.forest: None, self.forest_text: "", self.scatter: None, self.scatter_text: ""}
            return {self.sentence: reading(TOO_EARLY), self.table: None, **nothing, self.protocol: ""}
        shown = [run, *workspace.comparable()]
        tasks = tuple(len(task_pairs(one)) for one in shown)  # which are columns of the table
        return drawn_once(self.outputs, shown, ("perplexity", tasks), lambda: self._draw(run, shown[1:]))

    def _draw(self, run: Run, runs: list[Run]) -> Values:
        ratios = {run_label(r): paired_ratio(*losses(r)) for r in runs}
        return {
            self.sentence: accuracy_reading(run, runs, sure=clear_best(runs) is not None),
            self.table: accuracy_table(runs),
            self.forest: perplexity_forest(runs),
            self.forest_text: forest_reading(ratios),
            self.scatter: window_scatter(run),
            self.scatter_text: scatter_reading(*losses(run)),
            self.protocol: facts(run),
        }


def losses(run: Run) -> tuple[list[float], list[float]]:
    """Nats per token of every window, dense and pruned."""
    evaluation = run.report["evaluation"]
    return evaluation["dense"]["window_nats"], evaluation["pruned"]["window_nats"]


def create_perplexity_panel() -> Tab:
    """The table of methods, the forest plot and the windows."""
    sentence = gr.HTML(elem_id="accuracy-reading", padding=False)
    table = gr.Dataframe(elem_id="accuracy-table", interactive=False, show_label=False, wrap=True)
    with gr.Row():
        with gr.Column(min_width=340):
            panel_heading("Perplexity against dense")
            forest = Plot(elem_id="forest", title="Perplexity by method", said_by="forest-reading", height=380)
            forest_text = gr.HTML(elem_id="forest-reading", padding=False)
        with gr.Column(min_width=340):
            panel_heading("Every window of the text")
            scatter = Plot(elem_id="window-scatter", title="Window by window", said_by="scatter-reading", height=380)
            scatter_text = gr.HTML(elem_id="scatter-reading", padding=False)
    protocol = gr.HTML(elem_id="accuracy-protocol", padding=False)
    panel = Perplexity(sentence, table, forest, forest_text, scatter, scatter_text, protocol)
    return Tab(panel.outputs, panel.render)
