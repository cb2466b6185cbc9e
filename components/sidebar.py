"""The controls of a run: model, pattern, method, and the advanced choices behind them."""

import hashlib
from dataclasses import dataclass

import gradio as gr

from components.jobs.events import CHEAP
from components.state.asked import number, whole_number, words
from components.words.html import escape
from eggs_core.config import (
    CUSTOM,
    DEFAULT_METHOD,
    METHODS,
    PERMUTATIONS,
    RECONSTRUCTIONS,
    SELECTIONS,
    PruneConfig,
    make_config,
)
from eggs_core.errors import EggsError
from eggs_core.limits import hosted, limits
from eggs_core.models.source import BUNDLED
from eggs_core.pattern import NMPattern
from eggs_core.text.datasets import PREFIX
from eggs_core.text.sources import Text

PATTERNS = ("1:4", "2:4", "3:4", "2:8", "4:8")
OTHER = "other"
DEFAULT_CHOICE = "tiny-llama", "2:4", DEFAULT_METHOD
SCORE_LABELS = {"magnitude": "magnitude", "wanda": "Wanda", "ria": "RIA", "obs": "SparseGPT’s own"}
SELECTION_LABELS = {"topn": "top-N", "diagonal": "diagonals (B)", "degree": "degree bound (β)"}
PERMUTATION_LABELS = {"none": "none", "zigzag": "zigzag", "lsa": "linear sum assignment"}
BUNDLED_TEXT, OWN_TEXT, DATASET = "bundled", "own", "dataset"
SOURCES = [("Bundled speeches", BUNDLED_TEXT), ("Text of your own", OWN_TEXT), ("Hub dataset", DATASET)]
RECONSTRUCTION_LABELS = {
    "none": "none",
    "obs": "OBS (SparseGPT)",
    "admm": "ADMM",
    "admm-block": "ADMM, block by block",
}


@dataclass(frozen=True, slots=True)
class Sidebar:
    """The controls; `inputs` are what `read` takes, in order."""

    inputs: list[gr.components.Component]
    anew: gr.Checkbox
    start: gr.Button
    stop: gr.Button
    progress: gr.HTML


def pattern_note(choice: str, keep: float | None, group: float | None) -> str:
    """What the pattern means, in words, or what is wrong with it."""
    try:
        pattern = read_pattern(choice, keep, group)
    except EggsError as error:
        return f'<p class="hint bad">{escape(error)}</p>'
    return f'<p class="hint">keeps {pattern.keep} of every {pattern.group} weights: {pattern.sparsity:.0%} pruned</p>'


def read_pattern(choice: str, keep: float | None, group: float | None) -> NMPattern:
    """The chosen pattern; raises EggsError if the free N and M make none."""
    if choice != OTHER:
        return NMPattern.parse(choice)
    try:
        kept, of = (whole_number("" if n is None else n, "N or M") for n in (keep, group))
    except EggsError as error:
        raise EggsError("Give N and M as whole numbers, for example N = 2 and M = 4.") from error
    return NMPattern(kept, of)


def method_note(method: str) -> str:
    """What a method does, in one line."""
    summary = METHODS[method].summary if method in METHODS else "Your own combination of the choices below."
    return f'<p class="hint">{escape(summary)}</p>'


def read(
    model,
    pattern,
    keep,
    group,
    method,
    score,
    selection,
    permutation,
    reconstruction,
    beta,
    diagonals,
    windows,
    length,
    seed,
    source,
    text,
    dataset,
) -> tuple[PruneConfig, dict[str, Text]]:
    """The configuration that the controls describe, and the user's own texts by name; raises EggsError."""
    calibration, texts = _calibration(source, words(text, "Your text"), words(dataset, "The dataset").strip())
    config = make_config(
        words(model, "The model").strip(),
        read_pattern(pattern, keep, group),
        method,
        score=score,
        selection=selection,
        permutation=permutation,
        reconstruction=reconstruction,
        beta=(number(beta, "β") / 100 or None) if selection == "degree" else None,
        diagonals=(whole_number(diagonals, "The number of diagonals") or None) if selection == "diagonal" else None,
        calibration=calibration,
        calibration_windows=whole_number(windows, "The number of calibration windows"),
        calibration_length=whole_number(length, "The calibration length"),
        seed=whole_number(seed, "The seed"),
    )
    return config, texts


def _calibration(source: str, text: str, dataset: str) -> tuple[str, dict[str, Text]]:
    """The configuration's name for the chosen text, and that text if it is the user's own; raises EggsError."""
    if source == DATASET:
        if not dataset:
            raise EggsError("Name a dataset, such as Salesforce/wikitext:wikitext-2-raw-v1, or choose another text.")
        return PREFIX + dataset, {}
    if source != OWN_TEXT:
        return "bundled", {}
    if not text.strip():
        raise EggsError("Paste a text to calibrate on, or choose the bundled speeches.")
    name = f"text:{hashlib.sha256(text.encode()).hexdigest()}"
    return name, {name: Text("your text", text)}


def create_sidebar() -> Sidebar:
    """Build the controls and the cheap events among them."""
    most = limits()
    model = gr.Dropdown(
        list(BUNDLED),
        value=DEFAULT_CHOICE[0],
        label="Model",
        allow_custom_value=True,
        elem_id="model",
        info="Bundled, or a Hub id." if hosted() else "Bundled, or a Hub id, a local folder, or a .gguf file.",
    )
    pattern = gr.Radio([*PATTERNS, OTHER], value=DEFAULT_CHOICE[1], label="Pattern N:M", elem_id="pattern")
    with gr.Row(visible=False, elem_id="free-pattern") as free:
        keep = gr.Number(2, label="N, kept", precision=0, minimum=1, maximum=most.group, elem_id="keep", min_width=80)
        group = gr.Number(4, label="of M", precision=0, minimum=1, maximum=most.group, elem_id="group", min_width=80)
    note = gr.HTML(pattern_note("2:4", 2, 4), elem_id="pattern-note", padding=False)
    method = gr.Dropdown(
        [(m.label, name) for name, m in METHODS.items()] + [("Custom", CUSTOM)],
        value=DEFAULT_METHOD,
        label="Method",
        elem_id="method",
        filterable=False,
    )
    about = gr.HTML(method_note(DEFAULT_METHOD), elem_id="method-note", padding=False)
    default = METHODS[DEFAULT_METHOD]
    with gr.Accordion("Advanced", open=False, elem_id="advanced"):

        def labelled(labels):
            return [(label, name) for name, label in labels.items()]

        score = gr.Dropdown(
            labelled(SCORE_LABELS),
            value=default.score,
            label="Score",
            info="How important is a weight?",
            elem_id="score",
        )
        selection = gr.Dropdown(
            labelled(SELECTION_LABELS),
            value=default.selection,
            label="Selection",
            info="Which N of M are kept?",
            elem_id="selection",
        )
        beta = gr.Slider(
            0,
            100,
            value=0,
            step=1,
            label="β, % of the mean in-degree",
            info="Every input keeps at least this share. 0 = automatic.",
            elem_id="beta",
        )
        diagonals = gr.Number(
            0,
            label="Diagonals B",
            precision=0,
            minimum=0,
            info="0 = automatic (outputs ÷ 144).",
            elem_id="diagonals",
            visible=False,
        )
        permutation = gr.Dropdown(
            labelled(PERMUTATION_LABELS),
            value=default.permutation,
            label="Channel order",
            info="Which inputs share a group?",
            elem_id="permutation",
        )
        reconstruction = gr.Dropdown(
            labelled(RECONSTRUCTION_LABELS),
            value=default.reconstruction,
            label="Reconstruction",
            info="Re-fit the kept weights?",
            elem_id="reconstruction",
        )
        with gr.Row():
            windows = gr.Number(
                64,
                label="Calibration windows",
                precision=0,
                minimum=1,
                maximum=most.windows,
                elem_id="windows",
                min_width=90,
            )
            length = gr.Number(
                256, label="Tokens each", precision=0, minimum=16, maximum=most.length, elem_id="length", min_width=90
            )
        seed = gr.Number(0, label="Seed", precision=0, minimum=0, elem_id="seed")
        source = gr.Dropdown(
            SOURCES,
            value=BUNDLED_TEXT,
            label="Calibration text",
            info="Whose activations guide the choice?",
            filterable=False,
            elem_id="calibration-source",
        )
        text = gr.Textbox(
            label="Your text",
            lines=3,
            max_length=most.characters,
            placeholder="Some pages of plain text.",
            elem_id="calibration-text",
            visible=False,
        )
        dataset = gr.Textbox(
            label="Dataset",
            max_length=200,
            placeholder="Salesforce/wikitext:wikitext-2-raw-v1",
            info="owner/name, or owner/name:configuration; its train split is streamed.",
            elem_id="calibration-dataset",
            visible=False,
        )
        anew = gr.Checkbox(
            False, label="Compute again", info="Even if this run is known already.", elem_id="anew", container=False
        )
    start = gr.Button("Prune", variant="primary", elem_id="prune")
    stop = gr.Button("Stop", elem_id="stop", interactive=False)
    progress = gr.HTML("", elem_id="progress", padding=False)

    pattern.change(lambda choice: gr.Row(visible=choice == OTHER), pattern, free, **CHEAP)
    for control in (pattern, keep, group):
        control.change(pattern_note, [pattern, keep, group], note, trigger_mode="always_last", **CHEAP)
    method.input(
        lambda name: [method_note(name), *_choices(name)],
        method,
        [about, score, selection, permutation, reconstruction],
        **CHEAP,
    )
    selection.change(
        lambda name: [gr.Slider(visible=name == "degree"), gr.Number(visible=name == "diagonal")],
        selection,
        [beta, diagonals],
        **CHEAP,
    )
    source.change(
        lambda name: [gr.Textbox(visible=name == OWN_TEXT), gr.Textbox(visible=name == DATASET)],
        source,
        [text, dataset],
        **CHEAP,
    )
    for control in (score, selection, permutation, reconstruction):
        control.input(_name_of, [score, selection, permutation, reconstruction], [method, about], **CHEAP)
    inputs = [
        model,
        pattern,
        keep,
        group,
        method,
        score,
        selection,
        permutation,
        reconstruction,
        beta,
        diagonals,
        windows,
        length,
        seed,
        source,
        text,
        dataset,
    ]
    return Sidebar(inputs, anew, start, stop, progress)


def controls_of(config: PruneConfig) -> list:
    """Values of the controls that describe a configuration, in the order of `read`; the inverse of `read`."""
    known = str(config.pattern) in PATTERNS
    source, dataset = BUNDLED_TEXT, ""
    if config.calibration.startswith(PREFIX):
        source, dataset = DATASET, config.calibration.removeprefix(PREFIX)
    elif config.calibration != "bundled":
        source = OWN_TEXT
    return [
        config.model,
        str(config.pattern) if known else OTHER,
        config.pattern.keep,
        config.pattern.group,
        config.method,
        config.score,
        config.selection,
        config.permutation,
        config.reconstruction,
        round(100 * (config.beta or 0)),
        config.diagonals or 0,
        config.calibration_windows,
        config.calibration_length,
        config.seed,
        source,
        "",
        dataset,
    ]


def _choices(method: str) -> list:
    if method not in METHODS:
        return [gr.skip()] * 4
    return list(METHODS[method].choices().values())


def _name_of(score: str, selection: str, permutation: str, reconstruction: str) -> tuple[str, str]:
    """The named method that a combination is, or "custom"."""
    chosen = {"score": score, "selection": selection, "permutation": permutation, "reconstruction": reconstruction}
    name = next((name for name, method in METHODS.items() if method.choices() == chosen), CUSTOM)
    return name, method_note(name)


assert set(SELECTION_LABELS) == set(SELECTIONS) and set(PERMUTATION_LABELS) == set(PERMUTATIONS)
assert set(RECONSTRUCTION_LABELS) == set(RECONSTRUCTIONS)
