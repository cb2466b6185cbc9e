"""Latency & size: what the pruned model weighs and how fast it runs, why, a race to watch, and files to take along."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import gradio as gr

from components.events import CHEAP, SETTLE_SECONDS, buttons, run_by_buttons
from components.jobs import message, progress_bar
from components.latency_figures import SPEEDS, roofline, size_bars, speed_bars, token_time_bars
from components.latency_text import gpu_cards, latency_reading, layer_table, layers_reading, limit_reading, size_reading
from components.race import MOST_TOKENS, PROMPT, RIVALS, empty_lanes, race_note, run_race
from components.session import Workspace, finished_run
from components.tab import Tab
from components.text import reading, size
from components.widgets.plot import Plot
from eggs_core.errors import EggsError
from eggs_core.export import FILE
from eggs_core.measurement import Measurement, measure, measured, shapes_of
from eggs_core.run_export import export_run
from eggs_core.runs import Run

ALONE = {  # what is timed or loads the machine waits for its turn, so that timings do not disturb each other
    "concurrency_id": "measure", "concurrency_limit": 1, "show_progress": "hidden", "api_visibility": "private",
}  # fmt: skip
WAITING = "Size and latency are measured when all layers are pruned."
MEASURE = "measure"  # the job's name
UNMEASURED = '<p class="hint">Not measured on this machine yet; it takes some ten seconds.</p>'
SPEED_TITLES = {
    "decode_tokens_per_s": ("decode-chart", "Decode", "one token at a time"),
    "prefill_tokens_per_s": ("prefill-chart", "Prefill", "the prompt at once"),
    "first_token_ms": ("first-token-chart", "First token", "what one waits for"),
}


def panel(title: str, note: str = "") -> None:
    """A heading inside the tab."""
    gr.HTML(f'<h3 class="panel">{title}{f" <span>{note}</span>" if note else ""}</h3>', padding=False)


def stopped(workspace: Workspace) -> list:
    """State in; both buttons and what is said of the layers out, after a measurement was stopped."""
    workspace.end(MEASURE)
    time.sleep(SETTLE_SECONDS)
    run = workspace.run if workspace and workspace.finished else None
    found = measured(run) if run else None
    said = layers_reading(found) if found else message("Not measured to the end; “Measure again” starts anew.")
    return [*buttons(False), said if run else gr.skip()]


def create_latency_tab(state: gr.State) -> Tab:
    """Fill an open gr.Tab; opening it measures on this machine what has not been measured yet."""
    tab = gr.context.Context.block
    panel("Why isn’t it smaller?")
    size_text = gr.HTML(elem_id="size-reading", padding=False)
    size_chart = Plot(elem_id="size-chart", height=260)
    panel("How fast is it?")
    latency_text = gr.HTML(elem_id="latency-reading", padding=False)
    with gr.Row():
        speeds = []
        for elem_id, title, note in SPEED_TITLES.values():
            with gr.Column(min_width=280):
                panel(title, note)
                speeds.append(Plot(elem_id=elem_id, height=200))
    race_start, race_outputs = _create_race(state)
    with gr.Row(elem_classes="panel-row"):
        panel("Layer by layer", "time of one product, dense → packed")
        again = gr.Button("Measure again", size="sm", elem_id="measure-again", scale=0, min_width=140)
        halt = gr.Button("Stop", size="sm", elem_id="measure-stop", scale=0, min_width=80, interactive=False)
    layers_text = gr.HTML(elem_id="layers-reading", padding=False)
    table = gr.HTML(elem_id="layer-timings", padding=False)
    panel("What could still gain?")
    limit_text = gr.HTML(elem_id="limit-reading", padding=False)
    with gr.Row():
        with gr.Column(min_width=320):
            panel("Speed under the limit of memory")
            roof = Plot(elem_id="roofline", height=300)
        with gr.Column(min_width=320):
            panel("One token’s time")
            token = Plot(elem_id="token-time", height=300)
    panel("On a GPU")
    gpu = gr.HTML(elem_id="gpu", padding=False)
    export_outputs = _create_export(state)
    measured_outputs = [size_text, size_chart, latency_text, *speeds, layers_text, table, limit_text, roof, token]

    def run_measure(workspace: Workspace, anew: bool) -> Iterator[list]:
        """State in; both buttons and everything that a measurement draws out."""
        run = workspace.run if workspace and workspace.finished else None
        if run is None:
            yield [gr.skip()] * (2 + len(measured_outputs))
            return
        still = [gr.skip()] * 6
        try:
            if anew or not measured(run):  # another visitor may have measured it while this one waited
                shown, token = buttons(True), workspace.begin(MEASURE)
                for progress, found in measure(run):
                    if not workspace.goes_on(MEASURE, token):
                        return
                    bar = progress_bar(progress.share, progress.text)
                    yield [*shown, *still, bar, layer_table(found, found.shapes), *[gr.skip()] * 3]
                    shown = [gr.skip()] * 2  # once is enough: an update still on its way must not undo Stop
            if workspace.run is run:
                yield [*buttons(False), *_drawn(run, measured(run))]
        except EggsError as error:
            yield [*buttons(False), *still, message(str(error), bad=True), *[gr.skip()] * 4]

    timed = {"inputs": state, "outputs": [again, halt, *measured_outputs], **ALONE}
    tab.select(lambda workspace: (yield from run_measure(workspace, False)), **timed)
    again.click(lambda workspace: (yield from run_measure(workspace, True)), **timed)
    # A race needs the machine for itself, so its start ends a measurement as Stop does.
    for button in (halt, race_start):
        button.click(stopped, state, [again, halt, layers_text], **CHEAP)

    def render(workspace: Workspace) -> list:
        run = workspace.run
        if run is None or not workspace.finished:
            nothing = [reading(WAITING), None, "", None, None, None, "", "", "", None, None]
            return [*nothing, "", empty_lanes(None), "", "", None]
        return [*_drawn(run, measured(run)), gpu_cards(run), empty_lanes(run), race_note(run), "", None]

    return Tab([*measured_outputs, gpu, *race_outputs, *export_outputs], render)


def _drawn(run: Run, found: Measurement | None) -> list:
    """Everything that a measurement changes; without one, the run's own figures."""
    latency = found.generation if found else run.report["latency"]
    where = "Measured on this machine." if found else f"Measured when the run was made, {run.report['created'][:10]}."
    file_bytes = found.file_bytes if found else None
    charts = [latency and speed_bars(latency, kind) for kind in SPEEDS]
    head = [size_reading(run, file_bytes), size_bars(run, file_bytes), latency_reading(latency, where), *charts]
    if not found:
        return [*head, UNMEASURED, layer_table(None, shapes_of(run)), "", None, None]
    limits = [roofline(found), token_time_bars(found)] if found.bandwidth else [None, None]
    return [*head, layers_reading(found), layer_table(found, found.shapes), limit_reading(found), *limits]


def _create_race(state: gr.State) -> tuple[gr.Button, list]:
    """Controls and lanes of the race; returns its start button and what a new run resets."""
    panel("Race", "dense and packed write the same prompt")
    with gr.Row():
        prompt = gr.Textbox(PROMPT, label="Prompt", elem_id="race-prompt", max_length=2000, scale=3, min_width=240)
        rival = gr.Dropdown(
            [(label, name) for name, label in RIVALS.items()], value="zeros", label="Against", elem_id="race-rival",
            filterable=False, scale=2, min_width=200,
        )  # fmt: skip
        most = gr.Slider(16, MOST_TOKENS, 256, step=16, label="Tokens", elem_id="race-tokens", scale=2, min_width=200)
    with gr.Row():
        start = gr.Button("Start race", variant="primary", elem_id="race-start", min_width=120)
        stop = gr.Button("Stop race", elem_id="race-stop", interactive=False, min_width=120)
    lanes = gr.HTML(empty_lanes(None), elem_id="race", padding=False)
    note = gr.HTML(elem_id="race-note", padding=False)

    def begin(workspace: Workspace, words: str, tokens: float, against: str) -> Iterator[list]:
        """State, prompt, tokens and rival in; the note and the lanes out."""
        for drawn, said in run_race(finished_run(workspace), words, tokens, against):
            yield [said, gr.skip() if drawn is None else drawn]

    run_by_buttons(start, stop, begin, [state, prompt, most, rival], [note, lanes], queue=ALONE)
    return start, [lanes, note]


def _create_export(state: gr.State) -> list:
    """Buttons that write the pruned model as a file; returns what a new run resets."""
    panel("Take it along")
    with gr.Row():
        packed = gr.Button("Packed file (safetensors)", elem_id="export-packed", min_width=200)
        folder = gr.Button("Hugging Face folder (zip)", elem_id="export-hf", min_width=200)
        masks = gr.Button("Masks (zip)", elem_id="export-masks", min_width=200)
    note = gr.HTML(elem_id="export-note", padding=False)
    files = gr.File(label="Download", interactive=False, elem_id="export-file", visible=False)

    def export(workspace: Workspace, kind: str) -> Iterator[list]:
        """State in; the note and the file out."""
        place = Path(tempfile.mkdtemp(prefix="eggs-export-"))
        try:
            run = finished_run(workspace)
            name = f"{Path(run.report['model']).name}-{run.report['pattern'].replace(':', 'of')}-{run.report['method']}"
            for progress in export_run(run, kind, place / name):
                yield [progress_bar(progress.share, progress.text), gr.skip()]
            file = _one_file(place / name, kind)
            yield [message(f"{file.name}: {size(file.stat().st_size)}"), gr.File(value=str(file), visible=True)]
        except EggsError as error:
            yield [message(str(error), bad=True), gr.skip()]
        finally:
            shutil.rmtree(place, ignore_errors=True)

    for button, kind in ((packed, "packed"), (folder, "hf"), (masks, "masks")):
        button.click(lambda w, kind=kind: (yield from export(w, kind)), state, [note, files], **ALONE)
    return [note, files]


def _one_file(folder: Path, kind: str) -> Path:
    """What a browser can download of an exported folder: the packed file, or all in a zip file."""
    if kind == "packed":
        return (folder / FILE).rename(folder.with_name(f"{folder.name}.{FILE.partition('.')[2]}"))
    return Path(shutil.make_archive(str(folder), "zip", folder.parent, folder.name))
