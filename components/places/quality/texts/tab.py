"""Perplexity on other texts: a pasted one, a file, or a dataset of the Hub."""

from dataclasses import dataclass
from pathlib import Path

import gradio as gr
from gradio.blocks import Block

from components.jobs.events import CHEAP, Updates, Values, run_by_buttons, start_stop
from components.jobs.messages import bar
from components.jobs.prune import Follow
from components.places.quality.texts.view import measure_text, text_rows
from components.places.quality.texts.words import texts_reading, texts_table
from components.state.asked import words
from components.state.workspace import Workspace, finished_run
from components.tab import Tab, finished
from components.widgets.heading import panel_heading
from components.words.recorded import weights_hint
from eggs_core.errors import EggsError
from eggs_core.limits import limits
from eggs_core.text.datasets import dataset_text
from eggs_core.text.sources import Text

WIKITEXT = "Salesforce/wikitext:wikitext-2-raw-v1"
PASTED, FILE, HUB = "pasted", "file", "hub"
SOURCES = [("Pasted text", PASTED), ("Text file", FILE), ("Hub dataset", HUB)]


@dataclass(frozen=True, slots=True)
class Texts:
    """The components of this panel: where a text comes from, and what is filled."""

    pasted: gr.Textbox
    file: gr.File
    dataset: gr.Textbox
    sentence: gr.HTML
    table: gr.HTML

    @property
    def outputs(self) -> list[Block]:
        """What is filled."""
        return [self.sentence, self.table]

    def show_source(self, kind: str) -> Values:
        """One of the three sources."""
        boxes = {PASTED: self.pasted, FILE: self.file, HUB: self.dataset}
        return {box: gr.update(visible=kind == name) for name, box in boxes.items()}

    def evaluate(
        self, follow: Follow, workspace: Workspace, kind: str, text: str, path: str | None, name: str
    ) -> Updates:
        """State and the four controls in; sentence and table out."""
        run = finished_run(workspace)
        for event in measure_text(follow, run, _text(kind, text, path, name), workspace.texts):
            yield {self.sentence: bar(event)}
        yield self.render(workspace)

    def render(self, workspace: Workspace) -> Values:
        """What is known of the run in view."""
        run = finished(workspace)
        rows = text_rows(run, workspace.texts) if run else []
        if run is None or not rows:
            return {self.sentence: weights_hint(run), self.table: ""}
        return {self.sentence: texts_reading(run, rows), self.table: texts_table(run, rows)}


def create_texts_panel(state: gr.State) -> Tab:
    """Fill the place at hand."""
    panel_heading("On another text")
    source = gr.Radio(SOURCES, value=PASTED, label="Text from", elem_id="texts-source")
    pasted = gr.Textbox(
        label="Text",
        lines=4,
        max_length=limits().characters,
        elem_id="texts-pasted",
        placeholder="Paste some paragraphs…",
    )
    file = gr.File(label="Plain text, UTF-8", file_types=[".txt", ".md"], elem_id="texts-file", visible=False)
    dataset = gr.Textbox(
        WIKITEXT, label="Dataset, owner/name:configuration:split#column", elem_id="texts-dataset", visible=False
    )
    start, stop = start_stop("Evaluate on it", "texts")
    sentence = gr.HTML(elem_id="texts-reading", padding=False)
    table = gr.HTML(elem_id="texts-table", padding=False)
    panel = Texts(pasted, file, dataset, sentence, table)
    source.change(panel.show_source, source, [pasted, file, dataset], **CHEAP)
    run_by_buttons(start, stop, panel.evaluate, [state, source, pasted, file, dataset], panel.outputs)
    return Tab(panel.outputs, panel.render)


def _text(kind: str, pasted: str, path: str | None, name: str) -> Text:
    """The text that the controls describe; raises EggsError if there is none."""
    if kind == HUB:
        return dataset_text(words(name, "The dataset").strip())
    if kind == FILE:
        if not path:
            raise EggsError("Choose a text file first.")
        try:
            return Text(Path(path).name, Path(path).read_text(encoding="utf-8-sig"))
        except (OSError, ValueError) as error:
            raise EggsError("The file is not UTF-8 text; convert it first.") from error
    if not words(pasted, "The text").strip():
        raise EggsError("Paste some paragraphs first.")
    return Text("pasted text", pasted)
