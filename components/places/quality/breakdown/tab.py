"""Where it breaks: controls and pictures of breakdown_view."""

from collections.abc import Iterator

import gradio as gr

from components.jobs.events import run_by_buttons, start_stop
from components.jobs.messages import bar
from components.jobs.prune import Follow
from components.places.quality.breakdown.view import (
    MOST_WINDOWS,
    breakdown,
    breakdown_reading,
    cost_chart,
    drift_chart,
    measure_breakdown,
)
from components.state.asked import whole_number
from components.state.workspace import Workspace, finished_run
from components.tab import Tab
from components.widgets.plot import Plot
from components.words.labels import run_label
from eggs_core.runs.run import Run


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
    start, stop = start_stop("Find out", "breakdown")
    sentence = gr.HTML(elem_id="breakdown-reading", padding=False)
    with gr.Row():
        with gr.Column(min_width=320):
            gr.HTML('<h3 class="panel">Through the blocks <span>all layers pruned</span></h3>', padding=False)
            through = Plot(elem_id="drift-chart", height=320)
        with gr.Column(min_width=320):
            gr.HTML('<h3 class="panel">One block alone <span>all others dense</span></h3>', padding=False)
            blocks = Plot(elem_id="block-cost", height=320)
        with gr.Column(min_width=320):
            gr.HTML('<h3 class="panel">One projection alone <span>in every block</span></h3>', padding=False)
            kinds = Plot(elem_id="projection-cost", height=320)
    outputs = [sentence, through, blocks, kinds]

    def measure(follow: Follow, workspace: Workspace, most: float) -> Iterator[list]:
        """State and windows in; sentence and charts out."""
        run = finished_run(workspace)
        for event in measure_breakdown(follow, run, whole_number(most, "The number of windows")):
            yield [bar(event), *[gr.skip()] * 3]
        yield render(workspace)

    def drawn(run: Run) -> list:
        found = breakdown(run)
        if found is None:
            return ["", None, None, None]
        count, drifts, parts = found
        label = run_label(run)
        charts = [cost_chart([p for p in parts if p.kind == kind], label) for kind in ("block", "projection")]
        return [breakdown_reading(run, count, drifts, parts), drift_chart(drifts, label), *charts]

    run_by_buttons(start, stop, measure, [state, windows], outputs)

    def render(workspace: Workspace) -> list:
        return drawn(workspace.run) if workspace.run and workspace.finished else ["", None, None, None]

    return Tab(outputs, render)
