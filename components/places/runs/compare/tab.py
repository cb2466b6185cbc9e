"""Compare: a sweep's Pareto fronts, its map over pattern and method, and which differences are beyond chance."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.blocks import Block

from components.jobs.events import CHEAP, ONCE, Values, alike, visitor
from components.jobs.messages import message
from components.places.runs.compare.controls import Chosen, Controls, create_controls
from components.places.runs.compare.figures import LEGEND
from components.places.runs.compare.tables import cell_table, group_table
from components.places.runs.compare.view import (
    Choice,
    chosen,
    heat,
    models_of,
    significance,
    size_front,
    speed_front,
)
from components.places.runs.compare.words import NOTHING, absent, facts, overview
from components.state.handed import HANDED
from components.state.workspace import Workspace
from components.widgets.heading import panel_heading
from components.widgets.plot import Plot
from components.words.html import hint, reading
from eggs_core.errors import EggsError
from eggs_core.sweep.results import Sweep

HINT = (
    "A sweep runs a grid of models × patterns × methods × β × seeds: <code>python -m eggs_core sweep grid.yaml</code>, "
    "on this machine or a cluster. Finished ones appear here; a sweep.json from elsewhere can be opened too."
)


@dataclass(frozen=True, slots=True)
class Panel:
    """A figure and the sentence that reads it."""

    figure: Plot
    text: gr.HTML


@dataclass(frozen=True, slots=True)
class Compare:
    """The components of this tab that show a sweep."""

    controls: Controls
    sentence: gr.HTML
    size: Panel
    speed: Panel
    heat: Panel
    forest: Panel
    table: gr.Dataframe
    note: gr.HTML
    files: gr.File
    protocol: gr.HTML

    @property
    def panels(self) -> list[Panel]:
        """All figures with their sentences."""
        return [self.size, self.speed, self.heat, self.forest]

    @property
    def drawn(self) -> list[Block]:
        """What a choice draws anew."""
        parts = [part for panel in self.panels for part in (panel.figure, panel.text)]
        return [self.sentence, *parts, self.table, self.protocol]

    def draw(self, workspace: Workspace, *values: Any) -> Values:
        """State and the controls' values in; everything that shows the sweep out."""
        asked = Chosen(*values)
        try:
            sweep = asked.sweep()
            if asked.model not in models_of(sweep):
                return self._empty(reading("No cell of this sweep is finished yet."))
            choice = asked.choice()
            found = chosen(sweep, choice)
            shown = self._draw(sweep, choice, found) if found else self._empty(reading(NOTHING))
            if workspace.run and (model := workspace.run.report["model"]) not in models_of(sweep):
                shown[self.sentence] += absent(model, models_of(sweep))
            return shown
        except EggsError as error:
            return self._empty(message(str(error), bad=True))

    def _draw(self, sweep: Sweep, choice: Choice, found: list) -> Values:
        everything = chosen(sweep, Choice(choice.model, seeds=choice.seeds))
        figures = {
            self.size: size_front(sweep, found, choice),
            self.speed: speed_front(sweep, found, choice),
            self.heat: heat(sweep, found, choice),
            self.forest: significance(found, everything, choice),
        }
        drawn: Values = {panel.figure: figure for panel, (figure, _) in figures.items()}
        drawn |= {panel.text: text for panel, (_, text) in figures.items()}
        return {
            self.sentence: overview(sweep, found, choice.model),
            **drawn,
            self.table: group_table(found, sweep.dense[choice.model]["perplexity"]),
            self.protocol: facts(sweep, choice.model),
        }

    def _empty(self, line: str) -> Values:
        figures, texts = alike(panel.figure for panel in self.panels), alike((panel.text for panel in self.panels), "")
        return {self.sentence: line, **figures, **texts, self.table: None, self.protocol: ""}

    def read(self, path: str | None) -> Values:
        """A sweep from the visitor's own file, which is then in view."""
        if not path:
            return {self.note: message("Choose a file.", bad=True)}
        try:
            values, line = self.controls.open_file(Path(path))
        except EggsError as error:
            return {self.note: message(str(error).replace(path, Path(path).name), bad=True)}
        return {**values, self.note: message(line)}

    def export(self, key: str | None, mine: Sweep | None) -> Values:
        """Every cell of the sweep as CSV."""
        try:
            sweep = Chosen(key, mine).sweep()
            place = HANDED.folder("sweep", visitor()) / "sweep.csv"
            cell_table(sweep).to_csv(place, index=False)
        except (EggsError, OSError) as error:
            return {self.note: message(f"The file cannot be written: {error}", bad=True)}
        return {self.note: message(f"{len(sweep.cells)} cells."), self.files: gr.File(value=str(place), visible=True)}


def create_compare_tab(tab: gr.Tab, state: gr.State) -> None:
    """Fill a tab; nothing is read before it is opened."""
    with tab:
        controls = create_controls()
        sentence = gr.HTML(hint(HINT), elem_id="compare-reading", padding=False)
        gr.HTML(f'<div id="{LEGEND}" class="plot-legend" role="group" aria-label="Legend"></div>', padding=False)
        with gr.Row():
            size, speed = (
                _panel(f"Perplexity against {what}", name) for what, name in (("size", "size"), ("time", "speed"))
            )
        with gr.Row():
            heat_map = _panel("Pattern × method", "heat", 380, controls.measure)
            forest = _panel("Is the difference more than chance?", "forest", 380, controls.baseline)
        table = gr.Dataframe(
            elem_id="compare-table",
            interactive=False,
            show_label=False,
            max_height=420,
            column_widths=[70, 190, 70, 100, 75, 85, 150, 110, 120, 120, 75, 90],
        )
        with gr.Row():
            export = gr.Button("Export all cells as CSV", elem_id="compare-export", min_width=180, scale=0)
        note = gr.HTML(elem_id="compare-note", padding=False)
        files = gr.File(label="Cells", interactive=False, elem_id="compare-file", visible=False)
        protocol = gr.HTML(elem_id="compare-facts", padding=False)
    panel = Compare(controls, sentence, size, speed, heat_map, forest, table, note, files, protocol)
    _wire(panel, tab, state)
    export.click(panel.export, [controls.source, controls.own], [note, files], **ONCE)


def _panel(title: str, name: str, height: int = 430, control: gr.Dropdown | None = None) -> Panel:
    with gr.Column(min_width=340):
        panel_heading(title)
        if control is not None:
            control.render()
        said_by = f"compare-{name}-reading"
        figure = Plot(elem_id=f"compare-{name}", title=title, said_by=said_by, height=height)
        return Panel(figure, gr.HTML(elem_id=said_by, padding=False))


def _wire(panel: Compare, tab: gr.Tab, state: gr.State) -> None:
    """Whatever changes the choice draws the sweep; a sweep or a model brings filters of its own first."""
    c = panel.controls
    source, follow, drawn = [c.source, c.own], [c.model, *c.filters, c.baseline], [state, *c.inputs]

    def draw(after: Any) -> None:
        after.then(panel.draw, drawn, panel.drawn, **CHEAP)

    draw(tab.select(c.open, [state, *source, c.opened_on], c.opening, **CHEAP))
    draw(c.source.input(c.choose, source, follow, **CHEAP))
    draw(c.model.input(c.choose_model, [*source, c.model], [*c.filters, c.baseline], **CHEAP))
    gr.on([control.input for control in (*c.filters, c.baseline, c.measure)], panel.draw, drawn, panel.drawn, **CHEAP)
    opened = c.upload.upload(panel.read, c.upload, [c.own, c.source, panel.note], **CHEAP)
    draw(opened.then(c.choose, source, follow, **CHEAP))
