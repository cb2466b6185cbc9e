"""Compare: a sweep's Pareto fronts, its map over pattern and method, and which differences are beyond chance."""

import tempfile
from pathlib import Path

import gradio as gr

from components.jobs.events import CHEAP, ONCE
from components.jobs.messages import message
from components.places.runs.compare.figures import MEASURES
from components.places.runs.compare.view import (
    NOTHING,
    Choice,
    cell_table,
    chosen,
    facts,
    group_table,
    heat,
    models_of,
    open_source,
    options_of,
    overview,
    pareto,
    significance,
    sources,
)
from components.widgets.plot import Plot
from components.words.html import reading
from eggs_core.errors import EggsError
from eggs_core.sweep.results import Sweep, load_sweep

FIRST_BASELINES = ("Wanda", "RIA", "Magnitude")  # what others are compared with until the visitor chooses
HINT = (
    "A sweep runs a grid of models × patterns × methods × β × seeds: <code>python -m eggs_core sweep grid.yaml</code>, "
    "on this machine or a cluster. Finished ones appear here; a sweep.json from elsewhere can be opened too."
)


def create_compare_tab(tab: gr.Tab) -> None:
    """Fill a tab; nothing is read before it is opened."""
    with tab:
        _fill(tab)


def _fill(tab: gr.Tab) -> None:
    own = gr.State(None)  # the sweep that this visitor opened from a file
    with gr.Row(elem_classes="panel-row"):
        source = gr.Dropdown([], label="Sweep", elem_id="compare-source", scale=3, min_width=280)
        model = gr.Dropdown([], label="Model", elem_id="compare-model", scale=2, min_width=180)
        upload = gr.UploadButton(
            "Open a sweep.json", file_types=[".json"], elem_id="compare-upload", min_width=160, scale=1
        )
    with gr.Row():
        many = {"multiselect": True, "min_width": 180}
        patterns = gr.Dropdown([], label="Patterns", info="none: all", elem_id="compare-patterns", **many)
        methods = gr.Dropdown([], label="Methods", info="none: all", elem_id="compare-methods", scale=2, **many)
        seeds = gr.Dropdown([], label="Seeds", info="none: all", elem_id="compare-seeds", **many)
    sentence = gr.HTML(f'<p class="hint">{HINT}</p>', elem_id="compare-reading", padding=False)
    with gr.Row():
        with gr.Column(min_width=340):
            gr.HTML('<h3 class="panel">Perplexity against size</h3>', padding=False)
            size = Plot(elem_id="compare-size", height=430)
            size_text = gr.HTML(elem_id="compare-size-reading", padding=False)
        with gr.Column(min_width=340):
            gr.HTML('<h3 class="panel">Perplexity against time</h3>', padding=False)
            speed = Plot(elem_id="compare-speed", height=430)
            speed_text = gr.HTML(elem_id="compare-speed-reading", padding=False)
    with gr.Row():
        with gr.Column(min_width=340):
            gr.HTML('<h3 class="panel">Pattern × method</h3>', padding=False)
            measure = gr.Dropdown(
                [(title, name) for name, (title, *_) in MEASURES.items()],
                value="ratio",
                label="Measure",
                elem_id="compare-measure",
            )
            heat_map = Plot(elem_id="compare-heat", height=380)
            heat_text = gr.HTML(elem_id="compare-heat-reading", padding=False)
        with gr.Column(min_width=340):
            gr.HTML('<h3 class="panel">Is the difference more than chance?</h3>', padding=False)
            baseline = gr.Dropdown([], label="Against", elem_id="compare-baseline")
            forest = Plot(elem_id="compare-forest", height=380)
            forest_text = gr.HTML(elem_id="compare-forest-reading", padding=False)
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

    filters = [model, patterns, methods, seeds]
    drawn = [sentence, size, size_text, speed, speed_text, heat_map, heat_text, forest, forest_text, table, protocol]
    controls = [source, own, *filters, baseline, measure]

    def opened(key: str | None, mine: Sweep | None) -> Sweep:
        if mine is not None and key == mine.name:
            return mine
        if not key:
            raise EggsError("Choose a sweep.")
        return open_source(key)

    def draw(key, mine, name, shown_patterns, shown_methods, shown_seeds, against, key_measure) -> list:
        try:
            sweep = opened(key, mine)
            if name not in models_of(sweep):
                return _empty(reading("No cell of this sweep is finished yet."))
            choice = Choice(
                name,
                tuple(shown_patterns or ()),
                tuple(shown_methods or ()),
                tuple(shown_seeds or ()),
                against or "",
                key_measure,
            )
            found = chosen(sweep, choice)
            if not found:
                return _empty(reading(NOTHING))
            everything = chosen(sweep, Choice(name, seeds=choice.seeds))
            return [
                overview(sweep, found, choice),
                *pareto(sweep, found, choice),
                *heat(sweep, found, choice),
                *significance(found, everything, choice),
                group_table(sweep, found, choice),
                facts(sweep, choice),
            ]
        except EggsError as error:
            return _empty(message(str(error), bad=True))

    def _empty(said: str) -> list:
        return [said, None, "", None, "", None, "", None, "", None, ""]

    def narrowed(sweep: Sweep, name: str) -> list:
        """Filters and baseline for a model."""
        found_patterns, labels, found_seeds = options_of(sweep, name)
        first = next((label for label in FIRST_BASELINES if label in labels), labels[0] if labels else None)
        return [
            gr.Dropdown(choices=found_patterns, value=[]),
            gr.Dropdown(choices=labels, value=[]),
            gr.Dropdown(choices=found_seeds, value=[]),
            gr.Dropdown(choices=labels, value=first),
        ]

    def choose(key: str | None, mine: Sweep | None) -> list:
        """A sweep's models, and the filters of the first."""
        try:
            sweep = opened(key, mine)
        except EggsError:  # `draw` says what is wrong
            return [gr.Dropdown(choices=[], value=None), *[gr.skip()] * 4]
        names = models_of(sweep)
        first = names[0] if names else None
        return [gr.Dropdown(choices=names, value=first), *(narrowed(sweep, first) if first else [gr.skip()] * 4)]

    def choose_model(key: str | None, mine: Sweep | None, name: str | None) -> list:
        try:
            return narrowed(opened(key, mine), name)
        except EggsError:
            return [gr.skip()] * 4

    def listing(key: str | None, mine: Sweep | None) -> list:
        known = sources() + ([(f"{mine.name}: from your file", mine.name)] if mine is not None else [])
        keys = [k for _, k in known]
        return gr.Dropdown(choices=known, value=key if key in keys else keys[0])

    def read(path: str | None) -> list:
        if not path:
            return [gr.skip(), gr.skip(), message("Choose a file.", bad=True)]
        try:
            mine = load_sweep(Path(path))
        except EggsError as error:
            text = str(error).replace(str(path), Path(path).name)
            return [gr.skip(), gr.skip(), message(text, bad=True)]
        known = [*sources(), (f"{mine.name}: from your file", mine.name)]
        return [mine, gr.Dropdown(choices=known, value=mine.name), message(f"{mine.name} is open.")]

    def take_along(key: str | None, mine: Sweep | None) -> list:
        try:
            sweep = opened(key, mine)
            place = Path(tempfile.mkdtemp(prefix="eggs-sweep-")) / "sweep.csv"
            cell_table(sweep).to_csv(place, index=False)
        except (EggsError, OSError) as error:
            return [message(f"The file cannot be written: {error}", bad=True), gr.skip()]
        return [message(f"{len(sweep.cells)} cells."), gr.File(value=str(place), visible=True)]

    follow = [model, patterns, methods, seeds, baseline]
    tab.select(listing, [source, own], source, **CHEAP).then(choose, [source, own], follow, **CHEAP).then(
        draw, controls, drawn, **CHEAP
    )
    source.input(choose, [source, own], follow, **CHEAP).then(draw, controls, drawn, **CHEAP)
    model.input(choose_model, [source, own, model], follow[1:], **CHEAP).then(draw, controls, drawn, **CHEAP)
    chosen_by_hand = [control.input for control in (patterns, methods, seeds, baseline, measure)]
    gr.on(chosen_by_hand, draw, controls, drawn, **CHEAP)
    upload.upload(read, upload, [own, source, note], **CHEAP).then(choose, [source, own], follow, **CHEAP).then(
        draw, controls, drawn, **CHEAP
    )
    export.click(take_along, [source, own], [note, files], **ONCE)
