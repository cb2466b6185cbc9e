"""Runs: every finished run, to find, open again, name, compare and export."""

import time
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.blocks import Block

from components.jobs.events import CHEAP, EACH, FINISHED, ONCE, Values, finish, visitor
from components.jobs.messages import message, refusal
from components.places.runs.stored.view import as_json, listed_table, runs_table
from components.places.runs.stored.words import comparison, runs_reading, title_of
from components.state.asked import told, words
from components.state.handed import HANDED
from components.state.reports import all_reports, open_run
from components.state.workspace import Workspace
from components.tab import Tab
from eggs_core.errors import EggsError
from eggs_core.limits import hosted
from eggs_core.runs.store import STORE

MOST_COMPARED = 6
# Gradio names the field by a title alone, which is not read everywhere.
NAME_THE_FILTER = """() => { let tries = 20; const name = () => {
  const field = document.querySelector('#runs-table .search-input');
  if (field) field.setAttribute('aria-label', 'Filter the table'); else if (tries--) setTimeout(name, 100);
}; name(); }"""


@dataclass(frozen=True, slots=True)
class Stored:
    """The components of this tab, and the page that opens a run."""

    sentence: gr.HTML
    table: gr.Dataframe
    chosen: gr.Dropdown
    wanted: gr.Textbox  # the key of the run to be opened, and when that was asked for
    name: gr.Textbox
    note: gr.HTML
    compared: gr.HTML
    files: gr.File
    page: Tab

    @property
    def opened(self) -> list[Block]:
        """What opening a run fills."""
        return [self.note, *self.page.outputs]

    def listing(self, workspace: Workspace, keys: list[str] | None) -> Values:
        """All runs; those chosen stay chosen."""
        reports = all_reports(workspace.own)
        known = {report["key"]: title_of(report) for report in reports}
        choices = [(title, key) for key, title in known.items()]
        chosen = gr.Dropdown(choices=choices, value=[key for key in keys or [] if key in known], multiselect=True)
        line = runs_reading(reports, STORE.problems, "" if hosted() else str(STORE.folder))
        return {self.sentence: line, self.table: listed_table(reports), self.chosen: chosen}

    def compare(self, workspace: Workspace, keys: list[str]) -> Values:
        """The chosen runs beside each other, and the name of the first."""
        by_key = {report["key"]: report for report in all_reports(workspace.own)}
        reports = [by_key[key] for key in keys or [] if key in by_key]
        return {
            self.compared: comparison(reports),
            self.name: STORE.label(reports[0]["key"]) if reports else "",
        }

    def show(self, workspace: Workspace, wanted: str) -> list[Any]:
        """Open a run on the whole page; the values have gone through `finish`."""
        try:
            workspace.show(open_run(words(wanted, "A run's key").partition(" ")[0]))
            workspace.tab = "overview"
            return finish(self.opened, {self.note: message(""), **self.page.render(workspace)})
        except EggsError as error:
            return finish(self.opened, {self.note: refusal(error)})

    def save_name(self, workspace: Workspace, keys: list[str], text: str) -> Values:
        """Give the first of the chosen runs a name."""
        try:
            if not keys:
                raise EggsError("Choose a run first.")
            if hosted():
                raise EggsError("On a public server runs keep no names, as everybody would read them.")
            STORE.set_label(keys[0], words(text, "The name"))
            return {self.note: message("Saved."), **self.listing(workspace, keys)}
        except EggsError as error:
            return {self.note: refusal(error)}

    def export(self, workspace: Workspace, keys: list[str]) -> Values:
        """The chosen runs, or all, as CSV and JSON."""
        reports = [r for r in all_reports(workspace.own) if not keys or r["key"] in keys]
        try:
            place = HANDED.folder("runs", visitor())
            runs_table(reports).to_csv(place / "runs.csv", index=False)
            (place / "runs.json").write_text(as_json(reports), encoding="utf-8")
        except EggsError as error:
            return {self.note: refusal(error)}
        except OSError as error:
            line = f"The files cannot be written: {error.strerror}; free some space."
            return {self.note: message(line, bad=True)}
        files = gr.File(value=[str(place / "runs.csv"), str(place / "runs.json")], visible=True)
        return {
            self.note: message(f"{len(reports)} runs{'' if keys else ': all, as none is chosen'}."),
            self.files: files,
        }


def click_row(keys: list[str], event: gr.EventData) -> tuple[Any, Any]:
    """The chosen runs after a click on a row, one more or one less; a click on its button opens the run instead."""
    row, place = told(event, "row_value"), told(event, "index")
    if not isinstance(row, list) or not row or not isinstance(place, list) or len(place) != 2:
        raise EggsError("Choose a row of the table.")
    key = words(row[-1], "A run's key")
    if place[1] == 0:
        return gr.skip(), f"{key} {time.monotonic_ns()}"
    rest = [k for k in keys or [] if k != key]
    return rest if key in (keys or []) else [*rest, key][-MOST_COMPARED:], gr.skip()


def create_runs_tab(tab: gr.Tab, place: gr.Tab, state: gr.State, page: Tab) -> None:
    """Fill a tab of a place, which lists anew when either is opened; `page` is what a run fills that is opened."""
    with tab:
        sentence = gr.HTML(elem_id="runs-reading", padding=False)
        columns: dict[str, Any] = {"datatype": ["html", *["str"] * 11]}
        table = gr.Dataframe(
            elem_id="runs-table",
            interactive=False,
            show_label=False,
            show_search="filter",
            max_height=420,
            **columns,
            wrap=True,
            column_widths=[70, 150, 60, 150, 70, 110, 100, 130, 90, 170, 160, 170],
        )
        with gr.Row():
            chosen, name = _choice()
        with gr.Row():
            rename = gr.Button("Save its name", elem_id="runs-rename", min_width=120, visible=not hosted())
            export = gr.Button("Export as CSV and JSON", elem_id="runs-export", min_width=160)
        note = gr.HTML(elem_id="runs-note", padding=False)
        compared = gr.HTML(elem_id="runs-compared", padding=False)
        files = gr.File(label="Runs", file_count="multiple", interactive=False, elem_id="runs-files", visible=False)
        wanted = gr.Textbox(visible="hidden", elem_id="runs-wanted", show_label=False)
    panel = Stored(sentence, table, chosen, wanted, name, note, compared, files, page)
    opened = [tab.select, place.select]
    listed = gr.on(opened, panel.listing, [state, chosen], [sentence, table, chosen], **CHEAP)
    listed.then(None, None, None, js=NAME_THE_FILTER, queue=False, api_visibility="private")
    table.select(click_row, chosen, [chosen, wanted], **EACH)
    chosen.change(panel.compare, [state, chosen], [compared, name], **CHEAP)
    wanted.change(panel.show, [state, wanted], panel.opened, **FINISHED)
    rename.click(panel.save_name, [state, chosen, name], [note, sentence, table, chosen], **CHEAP)
    export.click(panel.export, [state, chosen], [note, files], **ONCE)


def _choice() -> tuple[gr.Dropdown, gr.Textbox]:
    chosen = gr.Dropdown(
        [],
        multiselect=True,
        max_choices=MOST_COMPARED,
        label="Chosen",
        elem_id="runs-chosen",
        scale=4,
        info="To compare: click rows of the table, or search here.",
        min_width=280,
    )
    name = gr.Textbox(
        label="Name of the first", max_length=120, elem_id="runs-name", scale=2, min_width=180, visible=not hosted()
    )
    return chosen, name
