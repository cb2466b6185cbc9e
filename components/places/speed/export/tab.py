"""Take it along: buttons that write the pruned model as a file."""

import shutil
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import gradio as gr

from components.jobs.events import Updates, Values, run_by_buttons
from components.jobs.messages import bar, message
from components.jobs.prune import Follow
from components.places.speed.export.view import export_work
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
        place = Path(tempfile.mkdtemp(prefix="eggs-export-"))
        try:
            run, found = finished_run(workspace), None
            for event in follow(export_work(run, kind, place)):
                found = event
                yield {self.note: bar(event)}
            if isinstance(found, Path):
                sentence = message(f"{found.name}: {size(found.stat().st_size)}")
                yield {self.note: sentence, self.files: gr.File(value=str(found), visible=True)}
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def render(self, _workspace: Workspace) -> Values:
        """Nothing: a file is another run's."""
        return {self.note: "", self.files: None}


def create_export_panel(state: gr.State) -> Tab:
    """Fill the place at hand."""
    panel_heading("Take it along")
    with gr.Row():
        packed = gr.Button("Packed file (safetensors)", elem_id="export-packed", min_width=200)
        folder = gr.Button("Hugging Face folder (zip)", elem_id="export-hf", min_width=200)
        masks = gr.Button("Masks (zip)", elem_id="export-masks", min_width=200)
        stop = gr.Button("Stop", elem_id="export-stop", min_width=80, interactive=False)
    note = gr.HTML(elem_id="export-note", padding=False)
    files = gr.File(label="Download", interactive=False, elem_id="export-file", visible=False)
    panel = Export(note, files)
    others = {button.click: partial(panel.export, kind=kind) for button, kind in ((folder, "hf"), (masks, "masks"))}
    run_by_buttons(packed, stop, panel.export, [state], [note, files], starts=others)
    return Tab([note, files], panel.render)
