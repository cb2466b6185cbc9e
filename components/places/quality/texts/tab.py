"""Perplexity on other texts: a pasted one, a file, or a dataset of the Hub."""

from collections.abc import Iterator
from pathlib import Path

import gradio as gr

from components.jobs.events import CHEAP, run_by_buttons, start_stop
from components.jobs.messages import bar
from components.jobs.prune import Follow
from components.places.quality.texts.view import measure_text, text_rows, texts_reading, texts_table
from components.state.asked import words
from components.state.workspace import Workspace, finished_run
from components.tab import Tab
from eggs_core.errors import EggsError
from eggs_core.limits import limits
from eggs_core.runs.run import Run
from eggs_core.text.datasets import dataset_text
from eggs_core.text.sources import Text

WIKITEXT = "Salesforce/wikitext:wikitext-2-raw-v1"
PASTED, FILE, HUB = "pasted", "file", "hub"
SOURCES = [("Pasted text", PASTED), ("Text file", FILE), ("Hub dataset", HUB)]


def create_texts_panel(state: gr.State) -> Tab:
    """Fill the place at hand."""
    gr.HTML('<h3 class="panel">On another text</h3>', padding=False)
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
        WIKITEXT, label="Dataset, owner/name or owner/name:configuration", elem_id="texts-dataset", visible=False
    )
    start, stop = start_stop("Evaluate on it", "texts")
    sentence = gr.HTML(elem_id="texts-reading", padding=False)
    table = gr.HTML(elem_id="texts-table", padding=False)
    source.change(
        lambda kind: [gr.update(visible=kind == name) for name in (PASTED, FILE, HUB)],
        source,
        [pasted, file, dataset],
        **CHEAP,
    )

    def evaluate(
        follow: Follow, workspace: Workspace, kind: str, text: str, path: str | None, name: str
    ) -> Iterator[list]:
        """State and the four controls in; sentence and table out."""
        run = finished_run(workspace)
        for event in measure_text(follow, run, _text(kind, text, path, name)):
            yield [bar(event), gr.skip()]
        yield render(workspace)

    def drawn(run: Run) -> list:
        return [texts_reading(run), texts_table(run)] if text_rows(run) else ["", ""]

    run_by_buttons(start, stop, evaluate, [state, source, pasted, file, dataset], [sentence, table])

    def render(workspace: Workspace) -> list:
        return drawn(workspace.run) if workspace.run and workspace.finished else ["", ""]

    return Tab([sentence, table], render)


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
