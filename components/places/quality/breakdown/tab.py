"""Where it breaks: the error that grows from block to block, and what each part costs alone."""

from dataclasses import dataclass

import gradio as gr
from gradio.blocks import Block

from components.jobs.events import Updates, Values, alike, run_by_buttons, start_stop
from components.jobs.messages import bar
from components.jobs.prune import Follow
from components.places.quality.breakdown.figures import cost_chart, drift_chart
from components.places.quality.breakdown.view import MOST_WINDOWS, breakdown, measure_breakdown
from components.places.quality.breakdown.words import breakdown_reading
from components.state.asked import whole_number
from components.state.workspace import Workspace, finished_run
from components.tab import Tab, finished
from components.widgets.heading import panel_heading
from components.widgets.plot import Plot
from components.words.labels import run_label
from components.words.recorded import weights_hint


@dataclass(frozen=True, slots=True)
class Breakdown:
    """The components of this panel that are filled."""

    sentence: gr.HTML
    through: Plot
    blocks: Plot
    projections: Plot

    @property
    def outputs(self) -> list[Block]:
        """All of them."""
        return [self.sentence, self.through, self.blocks, self.projections]

    def measure(self, follow: Follow, workspace: Workspace, most: float) -> Updates:
        """State and windows in; sentence and charts out."""
        run = finished_run(workspace)
        for event in measure_breakdown(follow, run, whole_number(most, "The number of windows")):
            yield {self.sentence: bar(event)}
        yield self.render(workspace)

    def render(self, workspace: Workspace) -> Values:
        """What is known of the run in view."""
        run = finished(workspace)
        found = breakdown(run) if run else None
        if run is None or found is None:
            charts = alike([self.through, self.blocks, self.projections])
            return {self.sentence: weights_hint(run), **charts}
        count, drifts, parts = found
        label = run_label(run)
        return {
            self.sentence: breakdown_reading(run, count, drifts, parts),
            self.through: drift_chart(drifts, label),
            self.blocks: cost_chart([part for part in parts if part.kind == "block"], label),
            self.projections: cost_chart([part for part in parts if part.kind == "projection"], label),
        }


def create_breakdown_panel(state: gr.State) -> Tab:
    """Fill the place at hand."""
    windows = gr.Slider(
        2,
        MOST_WINDOWS,
        16,
        step=1,
        label="Windows",
        elem_id="breakdown-windows",
        info="Of the bundled held-out speeches. Each part is a model of its own that is evaluated on all of them.",
    )
    start, stop = start_stop("Locate the damage", "breakdown")
    sentence, charts = gr.HTML(elem_id="breakdown-reading", padding=False), []
    with gr.Row():
        for title, note, name in (
            ("Through the blocks", "all layers pruned", "drift-chart"),
            ("One block alone", "all others dense", "block-cost"),
            ("One projection alone", "in every block", "projection-cost"),
        ):
            with gr.Column(min_width=320):
                panel_heading(title, note)
                charts.append(Plot(elem_id=name, title=title, said_by="breakdown-reading", height=320))
    panel = Breakdown(sentence, *charts)
    run_by_buttons(start, stop, panel.measure, [state, windows], panel.outputs)
    return Tab(panel.outputs, panel.render)
