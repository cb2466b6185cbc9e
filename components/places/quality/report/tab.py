"""One click for a report that travels: an HTML page by itself, and JSON."""

from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from components.jobs.events import ONCE, Values, visitor
from components.jobs.messages import message, refusal
from components.places.quality.report.page import report_html, report_json
from components.state.handed import HANDED
from components.state.results import Results
from components.state.workspace import Workspace, finished_run
from components.tab import Tab, finished
from components.words.html import escape, reading
from eggs_core.errors import EggsError
from eggs_core.runs.run import Run

INTRODUCTION = reading(
    "A page that opens in any browser without a network, and the same as JSON: configuration, tables, pictures, and "
    "the command that repeats the run. What you have measured under the other headings is in it too."
)


@dataclass(frozen=True, slots=True)
class Report:
    """The components of this panel that are filled."""

    command: gr.HTML
    note: gr.HTML
    files: gr.File

    def build(self, workspace: Workspace) -> Values:
        """State in; the note and the files out."""
        try:
            run, place = finished_run(workspace), HANDED.folder("report", visitor())
            written = write_report(place, run, workspace.comparable(), workspace.texts)
            return {self.note: message(""), self.files: gr.File(value=written, visible=True)}
        except EggsError as error:
            return {self.note: refusal(error)}
        except OSError as error:
            sentence = f"The report cannot be written: {error.strerror}; free some space."
            return {self.note: message(sentence, bad=True)}

    def render(self, workspace: Workspace) -> Values:
        """The command that repeats the run; files are made anew."""
        run = finished(workspace)
        line = run.config.command_line() if run else ""
        command = f'<pre class="command">{escape(line)}</pre>' if run else ""
        return {self.command: command, self.note: "", self.files: gr.File(value=None, visible=False)}


def write_report(place: Path, run: Run, runs: list[Run], texts: Results) -> list[str]:
    """Write a run's report as HTML and as JSON into a folder; returns both files. Raises OSError."""
    name = f"{Path(run.report['model']).name}-{run.report['pattern'].replace(':', 'of')}-{run.key}"
    written = []
    for suffix, text in (
        (".html", report_html(run, runs, texts=texts)),
        (".json", report_json(run, runs, texts=texts)),
    ):
        file = place / f"{name}{suffix}"
        file.write_text(text, encoding="utf-8")
        written.append(str(file))
    return written


def create_report_panel(state: gr.State) -> Tab:
    """Fill the place at hand."""
    gr.HTML(INTRODUCTION, padding=False)
    command = gr.HTML(elem_id="report-command", padding=False)
    make = gr.Button("Make the report", variant="primary", elem_id="report-make", min_width=160)
    note = gr.HTML(elem_id="report-note", padding=False)
    files = gr.File(label="Report", file_count="multiple", interactive=False, elem_id="report-files", visible=False)
    panel = Report(command, note, files)
    make.click(panel.build, state, [note, files], **ONCE)
    return Tab([command, note, files], panel.render)
