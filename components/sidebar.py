"""The controls of a run: model, pattern, method, and the advanced choices behind them."""

from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component

from components.jobs.events import CHEAP, Values
from components.sidebar_values import (
    AUTOMATIC,
    BUNDLED_TEXT,
    DATASET,
    DEFAULT_CHOICE,
    NAMES,
    OTHER,
    OWN_TEXT,
    PATTERNS,
    REFERENCE,
    controls_of,
    method_note,
    name_of,
    pattern_note,
)
from components.state.workspace import PRUNE
from components.tab import Tab
from components.widgets.assets import on_load, widgets
from eggs_core.bos import EVERY, FIRST
from eggs_core.config import PruneConfig
from eggs_core.limits import hosted, limits
from eggs_core.models.source import BUNDLED
from eggs_core.registry import (
    CUSTOM,
    DEFAULT_METHOD,
    DIMENSIONS,
    METHODS,
    OPTIONS,
    STAGES,
    default,
    everything,
    reads,
)

BOS = [("At every window’s start", EVERY), ("At the text’s start only", FIRST)]
SOURCES = [("Bundled speeches", BUNDLED_TEXT), ("Text of your own", OWN_TEXT), ("Hub dataset", DATASET)]


# What tells one path from another stands at its end, and a field shows the beginning; what it cuts stands beneath it.
SHOW_THE_END_OF_A_PATH = """() => setTimeout(() => {
  const field = document.querySelector('#model input');
  if (!field) return;
  field.title = field.value;
  document.querySelector('#model').toggleAttribute('data-whole', false);
  if (field.scrollWidth > field.clientWidth) document.querySelector('#model').dataset.whole = field.value;
  if (field !== document.activeElement && /^[~.]?[\\/]|^[A-Za-z]:|\\.gguf$/i.test(field.value))
    field.scrollLeft = field.scrollWidth;
}, 100)"""
# A refusal is about values that are no longer there, once one of them changes.
FORGET_REFUSAL = "said => said && said.includes('hint bad') ? '' : said"


@dataclass(frozen=True, slots=True)
class Sidebar:
    """The controls; `inputs` are what `read` takes, in order, the plan's rules among them."""

    inputs: list[Component]
    method_note: gr.HTML
    rules: gr.Textbox
    plan_note: gr.HTML
    drop_plan: gr.Button
    anew: gr.Checkbox
    start: gr.Button
    stop: gr.Button
    progress: gr.HTML

    @property
    def tab(self) -> Tab:
        """The controls, as the run in view was asked for."""
        return Tab([*self.inputs, self.method_note], lambda workspace: self.asked(workspace.shown.config))

    def asked(self, config: PruneConfig) -> Values:
        """The controls that describe a configuration, and what its method does."""
        controls: Values = dict(zip(self.inputs, controls_of(config), strict=True))
        return controls | {self.method_note: method_note(config.method)}


def create_sidebar() -> Sidebar:
    """Build the controls and the cheap events among them."""
    controls: dict[str, Component] = {}
    model = controls["model"] = gr.Dropdown(
        list(BUNDLED),
        value=DEFAULT_CHOICE[0],
        label="Model",
        allow_custom_value=True,
        elem_id="model",
        info="Bundled, or a Hub id." if hosted() else "Bundled, or a Hub id, a local folder, or a .gguf file.",
    )
    gr.on(
        [model.change, model.blur],
        None,
        js=SHOW_THE_END_OF_A_PATH,
        queue=False,
        api_visibility="private",
    )
    _create_pattern(controls)
    method = controls["method"] = gr.Dropdown(
        [(m.label, name) for name, m in METHODS.items()] + [("Custom", CUSTOM)],
        value=DEFAULT_METHOD,
        label="Method",
        elem_id="method",
        filterable=False,
    )
    about = gr.HTML(method_note(DEFAULT_METHOD), elem_id="method-note", padding=False)
    _create_stages(controls)
    choices, anew = _create_advanced(controls)
    rules = controls["layers"] = gr.Textbox("", visible="hidden", elem_id="plan-rules", show_label=False)
    plan_note = gr.HTML("", elem_id="plan-note", padding=False)
    drop_plan = gr.Button("Drop the plan", size="sm", elem_id="plan-drop", visible=False)
    start = gr.Button("Prune", variant="primary", elem_id=PRUNE)
    stop = gr.Button("Stop", elem_id="stop", interactive=False)
    progress = gr.HTML("", elem_id="progress", padding=False, head=widgets().tag, js_on_load=on_load("computing"))
    _link_method(method, choices, about)
    inputs: list[Any] = [controls[name] for name in NAMES]
    gr.on(
        [control.input for control in inputs],
        None,
        progress,
        progress,
        js=FORGET_REFUSAL,
        queue=False,
        api_visibility="private",
    )
    return Sidebar(inputs, about, rules, plan_note, drop_plan, anew, start, stop, progress)


def _create_advanced(controls: dict[str, Component]) -> tuple[list[gr.Dropdown], gr.Checkbox]:
    """What few people change, folded away: the method's own choices, texts, BOS, and whether a known run is redone."""
    with gr.Accordion("Advanced", open=False, elem_id="advanced"):
        choices = _create_choices(controls)
        _create_calibration(controls)
        controls["bos"] = gr.Dropdown(
            BOS,
            value=EVERY,
            label="BOS",
            info="The token that begins a text, for models that have one. Published tables: at the text’s start.",
            filterable=False,
            elem_id="bos",
        )
        anew = gr.Checkbox(
            False, label="Compute again", info="Even if this run is known already.", elem_id="anew", container=False
        )
    return choices, anew


def _create_stages(controls: dict[str, Component]) -> None:
    """The lists for the registry's stages: first those without options, then the others, folded away."""
    folded = [name for name, stage in STAGES.items() if any(one.options for one in stage.entries.values())]
    for name in STAGES:
        if name not in folded:
            _create_choice(controls, name, default(name))
    for name in folded:
        with gr.Accordion(STAGES[name].label, open=False, elem_id=f"{name}-fold"):
            _create_choice(controls, name, default(name))


def _free_numbers(choice: str) -> tuple[gr.Row, gr.Number, gr.Number]:
    """N and M for any pattern, per cent for an unstructured one, nothing for the usual ones."""
    share = choice == REFERENCE
    keep = gr.Number(label="per cent of each row, kept" if share else "N, kept")
    return gr.Row(visible=choice in (OTHER, REFERENCE)), keep, gr.Number(visible=not share)


def _create_pattern(controls: dict[str, Component]) -> None:
    """N:M, from the usual ones or free; here and below numbers have no bounds nor digits.

    Gradio's refusal does not name what is out of bounds, and it rounds in silence.
    """
    usual = [(name, name) for name in (*PATTERNS, OTHER)]
    choices = [*usual, ("unstructured (reference)", REFERENCE)]
    pattern = gr.Radio(choices, value=DEFAULT_CHOICE[1], label="Pattern N:M", elem_id="pattern")
    with gr.Row(visible=False, elem_id="free-pattern") as free:
        keep = gr.Number(2, label="N, kept", elem_id="keep", min_width=80)
        group = gr.Number(4, label="of M", elem_id="group", min_width=80)
    note = gr.HTML(pattern_note("2:4", 2, 4), elem_id="pattern-note", padding=False)
    pattern.change(_free_numbers, pattern, [free, keep, group], **CHEAP)
    pattern.input(lambda choice: {REFERENCE: 50, OTHER: 2}.get(choice, gr.skip()), pattern, keep, **CHEAP)
    gr.on([pattern.change, keep.change, group.change], pattern_note, [pattern, keep, group], note, **CHEAP)
    controls |= {"pattern": pattern, "keep": keep, "group": group}


def _create_choices(controls: dict[str, Component]) -> list[gr.Dropdown]:
    """The lists for the registry's dimensions; below each the options of its entries, seen while they are read."""
    default = METHODS[DEFAULT_METHOD].choices()
    return [_create_choice(controls, name, default[name]) for name in DIMENSIONS]


def _create_choice(controls: dict[str, Component], name: str, default: str) -> gr.Dropdown:
    """The list of a dimension or of a stage, and below it the options of its entries."""
    dimension = everything()[name]
    chosen = controls[name] = gr.Dropdown(
        [(one.label, key) for key, one in dimension.entries.items()],
        value=default,
        label=dimension.label,
        info=dimension.help,
        elem_id=name,
    )
    mine = list(dict.fromkeys(option for one in dimension.entries.values() for option in one.options))
    for option in mine:
        controls[option] = _create_option(option, visible=reads({name: default}, option))
    if mine:
        chosen.change(
            lambda key: [gr.update(visible=option in dimension.entries[key].options) for option in mine],
            chosen,
            [controls[option] for option in mine],
            **CHEAP,
        )
    return chosen


def _create_option(name: str, visible: bool) -> Component:
    """A number; none is automatic."""
    option = OPTIONS[name]
    info = f"{option.help}. Empty: {option.automatic}."
    return gr.Number(None, label=option.label, placeholder=AUTOMATIC, info=info, elem_id=name, visible=visible)


def _create_calibration(controls: dict[str, Component]) -> None:
    """How much text guides the choice, and which."""
    with gr.Row():
        controls["windows"] = gr.Number(64, label="Calibration windows", elem_id="windows", min_width=90)
        controls["length"] = gr.Number(256, label="Tokens each", elem_id="length", min_width=90)
    controls["seed"] = gr.Number(0, label="Seed", elem_id="seed")
    source = controls["source"] = gr.Dropdown(
        SOURCES,
        value=BUNDLED_TEXT,
        label="Calibration text",
        info="Whose activations guide the choice?",
        filterable=False,
        elem_id="calibration-source",
    )
    text = controls["text"] = gr.Textbox(
        label="Your text",
        lines=3,
        max_length=limits().characters,
        placeholder="Some pages of plain text.",
        elem_id="calibration-text",
        visible=False,
    )
    dataset = controls["dataset"] = gr.Textbox(
        label="Dataset",
        max_length=200,
        placeholder="Salesforce/wikitext:wikitext-2-raw-v1",
        info="owner/name:configuration:split#column; all but the name may be left out. Rows are streamed.",
        elem_id="calibration-dataset",
        visible=False,
    )
    source.change(
        lambda name: [gr.Textbox(visible=name == OWN_TEXT), gr.Textbox(visible=name == DATASET)],
        source,
        [text, dataset],
        **CHEAP,
    )


def _link_method(method: gr.Dropdown, choices: list[gr.Dropdown], about: gr.HTML) -> None:
    """A named method sets the choices; choices that are another method's, or nobody's, set the method."""

    def choose(name: str) -> list:
        return list(METHODS[name].choices().values()) if name in METHODS else [gr.skip()] * len(choices)

    method.input(choose, method, choices, **CHEAP)
    gr.on([control.input for control in choices], name_of, choices, method, **CHEAP)
    method.change(method_note, method, about, **CHEAP)  # whoever set it: a hand, a choice, an address or a stored run
