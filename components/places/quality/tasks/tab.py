"""Zero-shot tasks: what the dense and the pruned model answer rightly."""

from dataclasses import dataclass

import gradio as gr
from gradio.blocks import Block

from components.jobs.events import Updates, Values, run_by_buttons, start_stop
from components.jobs.messages import bar, message
from components.jobs.prune import Follow
from components.places.quality.tasks.figures import task_chart
from components.places.quality.tasks.view import LIMIT, measure_tasks, newest_day, task_pairs
from components.places.quality.tasks.words import task_table, tasks_facts, tasks_reading
from components.state.asked import whole_number, words
from components.state.workspace import Workspace, finished_run
from components.tab import Tab, drawn_once, finished
from components.widgets.plot import Plot
from components.words.labels import run_label
from components.words.recorded import weights_hint
from eggs_core.evaluation.task_file import CLOZE
from eggs_core.evaluation.zeroshot import MISSING, ONLINE, TaskScore, installed
from eggs_core.limits import hosted, limits
from eggs_core.runs.run import Run

CHOICES = [("State of the Union cloze (bundled)", CLOZE), *((f"{name} (Hub)", name) for name in ONLINE)]
NOTE = (
    "The bundled task asks which of four words comes next in speeches that the bundled models never saw. Others are "
    "fetched from the Hub by lm-eval’s name"
)
OWN_FILE = ", or read from the path of a .jsonl file of your own."


@dataclass(frozen=True, slots=True)
class Tasks:
    """The components of this panel that are filled."""

    sentence: gr.HTML
    chart: Plot
    table: gr.HTML

    @property
    def outputs(self) -> list[Block]:
        """All of them."""
        return [self.sentence, self.chart, self.table]

    def answer(self, follow: Follow, workspace: Workspace, chosen: list[str], most: float) -> Updates:
        """State, tasks and limit in; sentence, chart and table out."""
        run = finished_run(workspace)
        tasks = [words(task, "The name of a task") for task in chosen or []]
        for event in measure_tasks(follow, run, tasks, whole_number(most, "The number of items")):
            yield {self.sentence: bar(event)}
        yield self.render(workspace)

    def render(self, workspace: Workspace) -> Values:
        """What is known of the run in view."""
        run = finished(workspace)
        pairs = task_pairs(run) if run else []
        if run is None or not pairs:
            line = weights_hint(run) if installed() else message(MISSING, bad=True)
            return {self.sentence: line, self.chart: None, self.table: ""}
        key = "tasks", *((pruned.task, pruned.items) for _, pruned in pairs)
        day = newest_day(run)
        return drawn_once(self.outputs, [run], (*key, day), lambda: self._draw(run, pairs, day))

    def _draw(self, run: Run, pairs: list[tuple[TaskScore, TaskScore]], day: str) -> Values:
        label = run_label(run)
        return {
            self.sentence: tasks_reading(run, pairs) + tasks_facts(day),
            self.chart: task_chart(pairs, label),
            self.table: task_table(pairs, label),
        }


def create_tasks_panel(state: gr.State) -> Tab:
    """Fill the place at hand."""
    with gr.Row():
        choice = gr.Dropdown(
            CHOICES,
            value=[CLOZE],
            multiselect=True,
            allow_custom_value=not hosted(),
            label="Tasks",
            info=NOTE + ("." if hosted() else OWN_FILE),
            elem_id="tasks-choice",
            scale=3,
            min_width=260,
        )
        limit = gr.Slider(
            20,
            limits().items,
            LIMIT,
            step=20,
            label="Items",
            elem_id="tasks-limit",
            scale=2,
            min_width=200,
            info="The first so many of each task.",
        )
    start, stop = start_stop("Run tasks", "tasks")
    panel = Tasks(
        sentence=gr.HTML(elem_id="tasks-reading", padding=False),
        chart=Plot(elem_id="tasks-chart", title="Accuracy by task", said_by="tasks-reading", height=260),
        table=gr.HTML(elem_id="tasks-table", padding=False),
    )
    run_by_buttons(start, stop, panel.answer, [state, choice, limit], panel.outputs)
    return Tab(panel.outputs, panel.render)
