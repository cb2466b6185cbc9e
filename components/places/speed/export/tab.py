"""Download: buttons that write the pruned model as a file."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import gradio as gr

from components.jobs.events import Updates, Values, run_by_buttons, visitor
from components.jobs.messages import bar, message
from components.jobs.prune import Follow
from components.places.speed.export.view import export_work
from components.places.speed.export.words import BUTTONS, USES
from components.state.handed import HANDED
from components.state.workspace import Workspace, finished_run
from components.tab import Tab
from components.widgets.heading import panel_heading
from eggs_core.units import size


@dataclass(frozen=True, slots=True)
class Export:
    """The components of this panel that are filled."""

    note: gr.HTML
    files: gr.File

    def export(self, follow: Follow, workspace: Workspace, kind: str = "packed") -> Updates:
        """State in; the note and the file out."""
        place = HANDED.folder("export", visitor())
        try:
            run, found = finished_run(workspace), None
            for event in follow(export_work(run, kind, place)):
                found = event
                yield {self.note: bar(event)}
            if isinstance(found, Path):
                sentence = message(f"{found.name}: {size(found.stat().st_size)}")
                yield {self.note: sentence, self.files: gr.File(value=str(found), visible=True)}
        finally:
            HANDED.empty(place)

    def render(self, _workspace: Workspace) -> Values:
        """Nothing: a file is another run's."""
        return {self.note: "", self.files: None}


def create_export_panel(state: gr.State) -> Tab:
    """Fill the place at hand."""
    panel_heading("Download")
    with gr.Row():
        buttons = {kind: gr.Button(label, elem_id=f"export-{kind}", min_width=130) for kind, label in BUTTONS.items()}
        stop = gr.Button("Stop", elem_id="export-stop", min_width=130, interactive=False)
    gr.HTML(USES, elem_id="export-uses", padding=False)
    note = gr.HTML(elem_id="export-note", padding=False)
    files = gr.File(label="File", interactive=False, elem_id="export-file", visible=False)
    panel = Export(note, files)
    packed = buttons.pop("packed")
    others = {button.click: partial(panel.export, kind=kind) for kind, button in buttons.items()}
    run_by_buttons(packed, stop, panel.export, [state], [note, files], starts=others)
    return Tab([note, files], panel.render)
