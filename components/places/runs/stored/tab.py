"""Runs: every finished run, to find, open again, name, compare and take along."""

import tempfile
from pathlib import Path

import gradio as gr

from components.jobs.events import CHEAP, EACH, FINISHED, ONCE
from components.jobs.messages import message, refusal
from components.places.runs.stored.view import as_json, comparison, runs_table, title_of
from components.state.asked import told, words
from components.state.reports import SHIPPED, all_reports, open_run
from components.state.workspace import Workspace
from components.words.html import escape, reading
from eggs_core.errors import EggsError
from eggs_core.limits import hosted
from eggs_core.runs.store import STORE

MOST_COMPARED = 6


def create_runs_tab(tab: gr.Tab, tab_bar: gr.Tabs, state: gr.State, render, outputs: list) -> None:
    """Fill a tab; `render` draws a workspace into `outputs` when a run is opened."""
    with tab:
        _fill(tab, tab_bar, state, render, outputs)


def _fill(tab: gr.Tab, tab_bar: gr.Tabs, state: gr.State, render, outputs: list) -> None:
    sentence = gr.HTML(elem_id="runs-reading", padding=False)
    table = gr.Dataframe(
        elem_id="runs-table",
        interactive=False,
        show_label=False,
        show_search="filter",
        max_height=420,
        column_widths=[110, 70, 140, 70, 110, 100, 130, 90, 170, 160, 170],
    )
    with gr.Row():
        chosen = gr.Dropdown(
            [],
            multiselect=True,
            max_choices=MOST_COMPARED,
            label="Chosen",
            elem_id="runs-chosen",
            scale=4,
            info="Click rows of the table, or search here; several are compared below.",
            min_width=280,
        )
        name = gr.Textbox(
            label="Name of the first", max_length=120, elem_id="runs-name", scale=2, min_width=180, visible=not hosted()
        )
    with gr.Row():
        opened = gr.Button("Open the first", variant="primary", elem_id="runs-open", min_width=120)
        rename = gr.Button("Save its name", elem_id="runs-rename", min_width=120, visible=not hosted())
        export = gr.Button("Export as CSV and JSON", elem_id="runs-export", min_width=160)
    note = gr.HTML(elem_id="runs-note", padding=False)
    compared = gr.HTML(elem_id="runs-compared", padding=False)
    files = gr.File(label="Runs", file_count="multiple", interactive=False, elem_id="runs-files", visible=False)

    def listing(keys: list[str] | None) -> list:
        reports = all_reports()
        here = [key for key in keys or [] if key in {r["key"] for r in reports}]
        choices = [(title_of(report), report["key"]) for report in reports]
        return [_read(reports), runs_table(reports), gr.Dropdown(choices=choices, value=here)]

    def picked(keys: list[str]) -> list:
        by_key = {report["key"]: report for report in all_reports()}
        reports = [by_key[key] for key in keys or [] if key in by_key]
        return [comparison(reports), STORE.label(reports[0]["key"]) if reports else ""]

    def choose(keys: list[str], event: gr.EventData) -> list[str]:
        row = told(event, "row_value")
        if not isinstance(row, list) or not row:
            raise EggsError("Choose a row of the table.")
        key = words(row[-1], "A run's key")
        rest = [k for k in keys or [] if k != key]
        return rest if key in (keys or []) else [*rest, key][-MOST_COMPARED:]

    def show(workspace: Workspace, keys: list[str]) -> list:
        try:
            if not keys:
                raise EggsError("Choose a run first.")
            workspace.show(open_run(keys[0]))
            workspace.tab = "overview"
            return [gr.Tabs(selected="overview"), message(""), *render(workspace)]
        except EggsError as error:
            return [gr.skip(), refusal(error), *[gr.skip()] * len(outputs)]

    def save_name(keys: list[str], text: str) -> list:
        try:
            if not keys:
                raise EggsError("Choose a run first.")
            if hosted():
                raise EggsError("On a public server runs keep no names, as everybody would read them.")
            STORE.set_label(keys[0], words(text, "The name"))
            return [message("Saved."), *listing(keys)]
        except EggsError as error:
            return [refusal(error), *[gr.skip()] * 3]

    def take_along(keys: list[str]) -> list:
        reports = [r for r in all_reports() if not keys or r["key"] in keys]
        try:
            place = Path(tempfile.mkdtemp(prefix="eggs-runs-"))
            runs_table(reports).to_csv(place / "runs.csv", index=False)
            (place / "runs.json").write_text(as_json(reports), encoding="utf-8")
        except OSError as error:
            return [message(f"The files cannot be written: {error.strerror}; free some space.", bad=True), gr.skip()]
        said = f"{len(reports)} runs{'' if keys else ': all, as none is chosen'}."
        return [message(said), gr.File(value=[str(place / "runs.csv"), str(place / "runs.json")], visible=True)]

    tab.select(listing, chosen, [sentence, table, chosen], **CHEAP)
    table.select(choose, chosen, chosen, **EACH)
    chosen.change(picked, chosen, [compared, name], **CHEAP)
    opened.click(show, [state, chosen], [tab_bar, note, *outputs], **FINISHED)
    rename.click(save_name, [chosen, name], [note, sentence, table, chosen], **CHEAP)
    export.click(take_along, chosen, [note, files], **ONCE)


def _read(reports: list[dict]) -> str:
    """How many runs there are, where they lie, and what was damaged."""
    own = [report for report in reports if report["label"] != SHIPPED]
    text = (
        f"{len(reports)} finished runs, {len(own)} of them computed here. A run that is asked for again, by anyone, is "
        "shown from here at once; the address of the page opens it again, tab and layer included."
    )
    damaged = "".join(refusal(EggsError(problem)) for problem in STORE.problems)
    place = "" if hosted() else f'<p class="facts">{escape(STORE.folder)}</p>'
    return reading(text, "costs") + damaged + place
