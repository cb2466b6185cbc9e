"""One click for a report that travels: an HTML page by itself, and JSON."""

import tempfile
from pathlib import Path

import gradio as gr

from components.jobs.events import ONCE
from components.jobs.messages import message, refusal
from components.places.quality.report.page import report_html, report_json
from components.state.workspace import Workspace, finished_run
from components.tab import Tab
from components.words.html import escape
from eggs_core.config import PruneConfig
from eggs_core.errors import EggsError


def create_report_panel(state: gr.State) -> Tab:
    """Fill the place at hand."""
    gr.HTML(
        '<p class="reading">A page that opens in any browser without a network, and the same as JSON: configuration, '
        "tables, pictures, and the command that repeats the run. What you have measured under the other headings is "
        "in it too.</p>",
        padding=False,
    )
    command = gr.HTML(elem_id="report-command", padding=False)
    make = gr.Button("Make the report", variant="primary", elem_id="report-make", min_width=160)
    note = gr.HTML(elem_id="report-note", padding=False)
    files = gr.File(label="Report", file_count="multiple", interactive=False, elem_id="report-files", visible=False)

    def build(workspace: Workspace) -> list:
        """State in; the note and the files out."""
        try:
            run, runs = finished_run(workspace), workspace.comparable()
            place = Path(tempfile.mkdtemp(prefix="eggs-report-"))
            name = f"{Path(run.report['model']).name}-{run.report['pattern'].replace(':', 'of')}-{run.key}"
            written = []
            for suffix, text in ((".html", report_html(run, runs)), (".json", report_json(run, runs))):
                written.append(place / f"{name}{suffix}")
                written[-1].write_text(text, encoding="utf-8")
            return [message(""), gr.File(value=[str(file) for file in written], visible=True)]
        except EggsError as error:
            return [refusal(error), gr.skip()]
        except OSError as error:
            return [message(f"The report cannot be written: {error.strerror}; free some space.", bad=True), gr.skip()]

    make.click(build, state, [note, files], **ONCE)

    def render(workspace: Workspace) -> list:
        if workspace.run is None or not workspace.finished:
            return ["", "", gr.File(value=None, visible=False)]
        line = PruneConfig.from_dict(workspace.run.report["config"]).command_line()
        return [f'<pre class="command">{escape(line)}</pre>', "", gr.File(value=None, visible=False)]

    return Tab([command, note, files], render)
