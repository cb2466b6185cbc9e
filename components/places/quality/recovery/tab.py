"""Recovery: the run in view learns again, with its curve as it grows, and all methods before and after."""

from dataclasses import dataclass

import gradio as gr
from gradio.blocks import Block

from components.jobs.events import Updates, Values, run_by_buttons, start_stop
from components.jobs.messages import bar, message
from components.jobs.prune import Follow
from components.jobs.work import Waiting
from components.places.quality.recovery.figures import recovery_curve
from components.places.quality.recovery.view import curve_of, recover, recovery_rows
from components.places.quality.recovery.words import recovery_reading, recovery_table
from components.state.asked import number, whole_number
from components.state.workspace import Workspace, finished_run
from components.tab import Tab, finished
from components.widgets.plot import Plot
from components.words.labels import run_label
from components.words.recorded import weights_hint
from eggs_core.registry import OPTIONS

STOPPED = "Stopped. What was learned so far, the best of it too, is kept: Recover goes on from there."


@dataclass(frozen=True, slots=True)
class Recovery:
    """The components of this panel that are filled."""

    sentence: gr.HTML
    curve: Plot
    table: gr.HTML

    @property
    def outputs(self) -> list[Block]:
        """All of them."""
        return [self.sentence, self.curve, self.table]

    def learn(self, follow: Follow, workspace: Workspace, tokens: float | None, rate: float | None) -> Updates:
        """State, tokens and learning rate in; sentence, curve and table out."""
        run = finished_run(workspace)
        # An empty field of a tab that was not open at first is sent as 0.
        wanted = (
            whole_number(tokens, "The number of recovery tokens") or None,
            number(rate, "The learning rate") or None,
        )
        drawn = 0
        for event in recover(follow, workspace, run, *wanted):
            if isinstance(event, Waiting):
                yield {self.sentence: bar(event)}
                continue
            values: Values = {self.sentence: bar(event.progress)}
            if len(event.curve) > drawn:
                drawn = len(event.curve)
                values[self.curve] = recovery_curve(event.curve, run_label(run))
            yield values
            if event.run is not None:
                shown = self.render(workspace)
                yield shown | ({self.sentence: message(event.problem, bad=True)} if event.problem else {})

    def render(self, workspace: Workspace) -> Values:
        """What is known of the run in view and of those beside it."""
        run = finished(workspace)
        if run is None:
            return {self.sentence: weights_hint(None, "Finish a run first."), self.curve: None, self.table: ""}
        rows, points = recovery_rows(workspace), curve_of(workspace)
        return {
            self.sentence: recovery_reading(rows, points),
            self.curve: recovery_curve(points, run_label(run)) if points else None,
            self.table: recovery_table(rows),
        }

    def stopped(self, workspace: Workspace) -> Values:
        """What is said when training is stopped."""
        return {self.sentence: message(STOPPED)}


def create_recovery_panel(state: gr.State) -> Tab:
    """Fill the place at hand."""
    with gr.Row():
        boxes = [
            gr.Number(
                None,
                label=OPTIONS[name].label,
                placeholder=OPTIONS[name].automatic,
                precision=0 if OPTIONS[name].whole else None,
                info=f"{OPTIONS[name].help}. Empty or 0: {OPTIONS[name].automatic}.",
                elem_id=f"recover-{key}",
                min_width=200,
            )
            for key, name in (("tokens", "recovery_tokens"), ("rate", "recovery_rate"))
        ]
    start, stop = start_stop("Recover", "recover")
    panel = Recovery(
        sentence=gr.HTML(elem_id="recover-reading", padding=False),
        curve=Plot(elem_id="recover-curve", title="What recovery learns", said_by="recover-reading", height=300),
        table=gr.HTML(elem_id="recover-table", padding=False),
    )
    run_by_buttons(start, stop, panel.learn, [state, *boxes], panel.outputs, stopped=panel.stopped)
    return Tab(panel.outputs, panel.render)
