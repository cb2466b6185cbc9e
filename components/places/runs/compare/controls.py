"""What of which sweep is in view: the controls of the Compare tab."""

from dataclasses import dataclass
from pathlib import Path

import gradio as gr
from gradio.blocks import Block

from components.jobs.events import Values
from components.places.runs.compare.figures import MEASURES
from components.places.runs.compare.view import (
    Choice,
    first_baseline,
    models_of,
    open_source,
    options_of,
    source_with,
    sources,
)
from components.state.workspace import Workspace
from eggs_core.errors import EggsError
from eggs_core.runs.model_card import shown_name
from eggs_core.sweep.results import Sweep, load_sweep


@dataclass(frozen=True, slots=True)
class Chosen:
    """The values of the controls, in the order of `Controls.inputs`."""

    source: str | None
    own: Sweep | None  # that the visitor opened from a file
    model: str | None = None
    patterns: list[str] | None = None
    methods: list[str] | None = None
    seeds: list[int] | None = None
    baseline: str | None = None
    measure: str = "ratio"

    def sweep(self) -> Sweep:
        """The chosen sweep; raises EggsError for one that is gone."""
        if self.own is not None and self.source == self.own.name:
            return self.own
        if not self.source:
            raise EggsError("Choose a sweep.")
        return open_source(self.source)

    def choice(self) -> Choice:
        """What of it is in view."""
        patterns, methods = tuple(self.patterns or ()), tuple(self.methods or ())
        return Choice(self.model or "", patterns, methods, tuple(self.seeds or ()), self.baseline or "", self.measure)


@dataclass(frozen=True, slots=True)
class Controls:
    """The components behind `Chosen`; `baseline` and `measure` are placed beside the figures that follow them."""

    source: gr.Dropdown
    own: gr.State
    opened_on: gr.State  # the model in view when the tab was opened the last time
    model: gr.Dropdown
    upload: gr.UploadButton
    patterns: gr.Dropdown
    methods: gr.Dropdown
    seeds: gr.Dropdown
    baseline: gr.Dropdown
    measure: gr.Dropdown

    @property
    def filters(self) -> list[gr.Dropdown]:
        """What narrows a model's results down."""
        return [self.patterns, self.methods, self.seeds]

    @property
    def inputs(self) -> list[Block]:
        """In the order of `Chosen`."""
        return [self.source, self.own, self.model, *self.filters, self.baseline, self.measure]

    @property
    def opening(self) -> list[Block]:
        """What opening the tab fills."""
        return [self.source, self.opened_on, self.model, *self.filters, self.baseline]

    def open(self, workspace: Workspace, key: str | None, mine: Sweep | None, before: str) -> Values:
        """All sweeps; what was chosen stays chosen, unless another model is in view than the last time."""
        known = _known(mine)
        keys, model = [k for _, k in known], workspace.run.report["model"] if workspace.run else ""
        source = key if key in keys else keys[0]
        if model != before:
            source = source_with(model, [source, *keys]) or source
        values: Values = {self.source: gr.Dropdown(choices=known, value=source), self.opened_on: model}
        return values if source == key and model == before else values | self.choose(source, mine, model)

    def choose(self, key: str | None, mine: Sweep | None, model: str = "") -> Values:
        """A sweep's models, and the filters of `model`, or else of the first."""
        try:
            sweep = Chosen(key, mine).sweep()
        except EggsError:  # drawing says what is wrong
            return {self.model: gr.Dropdown(choices=[], value=None)}
        names = models_of(sweep)
        first = model if model in names else next(iter(names), None)
        models = gr.Dropdown(choices=[(shown_name(name), name) for name in names], value=first)
        return {self.model: models, **(self._narrowed(sweep, first) if first else {})}

    def choose_model(self, key: str | None, mine: Sweep | None, name: str | None) -> Values:
        """Filters and baseline for a model."""
        try:
            return self._narrowed(Chosen(key, mine).sweep(), name or "")
        except EggsError:
            return gr.skip()

    def _narrowed(self, sweep: Sweep, name: str) -> Values:
        patterns, labels, seeds = options_of(sweep, name)
        return {
            self.patterns: gr.Dropdown(choices=patterns, value=[]),
            self.methods: gr.Dropdown(choices=labels, value=[]),
            self.seeds: gr.Dropdown(choices=seeds, value=[]),
            self.baseline: gr.Dropdown(choices=labels, value=first_baseline(labels)),
        }

    def open_file(self, path: Path) -> tuple[Values, str]:
        """A sweep from a file, and what is said of it; raises EggsError for one that cannot be read."""
        mine = load_sweep(path)
        return {
            self.own: mine,
            self.source: gr.Dropdown(choices=_known(mine), value=mine.name),
        }, f"{mine.name} is open."


def _known(mine: Sweep | None) -> list[tuple[str, str]]:
    return sources() + ([(f"{mine.name}: from your file", mine.name)] if mine is not None else [])


def create_controls() -> Controls:
    """Build them; two are only placed later."""
    own, opened_on = gr.State(None), gr.State("")
    with gr.Row(elem_classes="panel-row"):
        source = gr.Dropdown([], label="Sweep", elem_id="compare-source", scale=3, min_width=280)
        model = gr.Dropdown([], label="Model", elem_id="compare-model", scale=2, min_width=180)
        upload = gr.UploadButton(
            "Open a sweep.json", file_types=[".json"], elem_id="compare-upload", min_width=160, scale=1
        )
    with gr.Row():
        patterns = _filter("Patterns", "patterns")
        methods = _filter("Methods", "methods", scale=2)
        seeds = _filter("Seeds", "seeds")
    measures = [(title, name) for name, (title, *_) in MEASURES.items()]
    return Controls(
        source,
        own,
        opened_on,
        model,
        upload,
        patterns,
        methods,
        seeds,
        baseline=gr.Dropdown([], label="Against", elem_id="compare-baseline", render=False),
        measure=gr.Dropdown(measures, value="ratio", label="Measure", elem_id="compare-measure", render=False),
    )


def _filter(label: str, name: str, scale: int | None = None) -> gr.Dropdown:
    return gr.Dropdown(
        [],
        label=label,
        multiselect=True,
        elem_id=f"compare-{name}",
        elem_classes="all-if-empty",
        min_width=180,
        scale=scale,
    )
