"""Latency & size: what the pruned model weighs and how fast it runs, why, a race to watch, and files to take along."""

import shutil
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import gradio as gr

from components.charts.sizes import size_bars
from components.charts.speeds import SPEEDS, speed_bars
from components.jobs.events import run_by_buttons
from components.jobs.messages import bar, message
from components.jobs.prune import Follow
from components.jobs.queue import Waiting, Work
from components.places.speed.latency.figures import roofline, token_time_bars
from components.places.speed.latency.words import (
    gpu_cards,
    latency_reading,
    layer_table,
    layers_reading,
    limit_reading,
    size_reading,
)
from components.places.speed.race.view import MOST_TOKENS, RIVALS, empty_lanes, race_note, run_race
from components.state.drawings import draw_once
from components.state.results import RESULTS, Results, model_id
from components.state.workspace import Workspace, finished_run
from components.tab import Tab
from components.widgets.plot import Plot
from components.words.html import reading, size
from components.words.prompt import PROMPT
from components.words.recorded import NOT_MEASURED, made_on
from eggs_core.packed.file import FILE
from eggs_core.progress import Progress
from eggs_core.runs.export import export_run
from eggs_core.runs.measured_speed import Measurement, measure_key, measure_speed, shapes_of
from eggs_core.runs.run import Run

WAITING = "Size and latency are measured when all layers are pruned."
KIND = "speed"  # of result
MEASURE_SECONDS = 10.0  # until a first measurement tells
UNMEASURED = '<p class="hint">Not measured on this machine yet; it takes some ten seconds.</p>'
SPEED_TITLES = {
    "decode_tokens_per_s": ("decode-chart", "Decode", "one token at a time"),
    "prefill_tokens_per_s": ("prefill-chart", "Prefill", "the prompt at once"),
    "first_token_ms": ("first-token-chart", "First token", "what one waits for"),
}


def panel(title: str, note: str = "") -> None:
    """A heading inside the tab."""
    gr.HTML(f'<h3 class="panel">{title}{f" <span>{note}</span>" if note else ""}</h3>', padding=False)


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
    measured_outputs = [layers_text, table, size_text, size_chart, latency_text, *speeds, limit_text, roof, token]

    still = [gr.skip()] * (len(measured_outputs) - 1)

    def remeasure(follow: Follow, workspace: Workspace, anew: bool = True) -> Iterator[list]:
        """State in; what is said of the layers, and everything else that a measurement draws, out."""
        run = workspace.run if workspace and workspace.finished else None
        if run is None:
            return
        if anew or not measured(run):
            for event in follow(measure_work(run)):
                if isinstance(event, Waiting):
                    yield [bar(event), *still]
                else:
                    progress, found = event
                    yield [bar(progress), layer_table(found, found.shapes), *still[1:]]
        if workspace.run is run:
            yield _drawn(run, measured(run))

    def stopped(workspace: Workspace) -> list:
        run = workspace.run if workspace and workspace.finished else None
        found = measured(run) if run else None
        said = layers_reading(found) if found else message("Not measured to the end; “Measure again” starts anew.")
        return [said if run else gr.skip(), *still]

    # A race needs the machine for itself, so its start ends a measurement as Stop does.
    run_by_buttons(
        again,
        halt,
        remeasure,
        [state],
        measured_outputs,
        stops=(race_start.click,),
        stopped=stopped,
        starts={tab.select: partial(remeasure, anew=False)},
    )

    def render(workspace: Workspace) -> list:
        run = workspace.run
        if run is None or not workspace.finished:
            nothing = ["", "", reading(WAITING), None, "", None, None, None, "", None, None]
            return [*nothing, "", empty_lanes(None), "", "", None]
        found = measured(run)
        figures = _drawn(run, found) if found else draw_once([run], "latency", lambda: _drawn(run, None))
        return [*figures, gpu_cards(run), empty_lanes(run), race_note(run), "", None]

    return Tab([*measured_outputs, gpu, *race_outputs, *export_outputs], render)


def _drawn(run: Run, found: Measurement | None) -> list:
    """Everything that a measurement changes; without one, the run's own figures."""
    latency = found.generation if found else run.report.get("latency")
    day = f", {made_on(run.report)}" if run.report.get("created") else ""
    where = "Measured on this machine." if found else f"Measured when the run was made{day}."
    file_bytes = found.file_bytes if found else None
    charts = [latency and speed_bars(latency, kind) for kind in SPEEDS]
    head = [size_reading(run, file_bytes), size_bars(run, file_bytes), latency_reading(latency, where), *charts]
    if not found:
        said = UNMEASURED if latency else message(f"{NOT_MEASURED[0].upper()}{NOT_MEASURED[1:]}.")
        return [said, layer_table(None, shapes_of(run)), *head, "", None, None]
    limits = [roofline(found), token_time_bars(found)] if found.bandwidth else [None, None]
    return [layers_reading(found), layer_table(found, found.shapes), *head, limit_reading(found), *limits]


def measured(run: Run, results: Results = RESULTS) -> Measurement | None:
    """The complete measurement of a run's shapes and pattern that this process took last."""
    return results.of(model_id(run), KIND).get(measure_key(run))


def measure_work(run: Run, results: Results = RESULTS) -> Work:
    """The work of measuring a run's shapes and pattern on this machine; its values are (Progress, Measurement)."""

    def keep(last: tuple[Progress, Measurement]) -> None:
        results.keep(model_id(run), KIND, measure_key(run), last[1])

    key = (KIND, *measure_key(run))
    return Work(key, measure_speed, (run,), run.report["model"], keep, alone=True, expected=MEASURE_SECONDS)


def _create_race(state: gr.State) -> tuple[gr.Button, list]:
    """Controls and lanes of the race; returns its start button and what a new run resets."""
    panel("Race", "dense and packed write the same prompt")
    with gr.Row():
        prompt = gr.Textbox(PROMPT, label="Prompt", elem_id="race-prompt", max_length=2000, scale=3, min_width=240)
        rival = gr.Dropdown(
            [(label, name) for name, label in RIVALS.items()],
            value="zeros",
            label="Against",
            elem_id="race-rival",
            filterable=False,
            scale=2,
            min_width=200,
        )
        most = gr.Slider(16, MOST_TOKENS, 256, step=16, label="Tokens", elem_id="race-tokens", scale=2, min_width=200)
    with gr.Row():
        start = gr.Button("Start race", variant="primary", elem_id="race-start", min_width=120)
        stop = gr.Button("Stop race", elem_id="race-stop", interactive=False, min_width=120)
    lanes = gr.HTML(empty_lanes(None), elem_id="race", padding=False)
    note = gr.HTML(elem_id="race-note", padding=False)

    def begin(follow: Follow, workspace: Workspace, words: str, tokens: float, against: str) -> Iterator[list]:
        """State, prompt, tokens and rival in; the note and the lanes out."""
        for drawn, said in run_race(follow, finished_run(workspace), words, tokens, against):
            yield [said, gr.skip() if drawn is None else drawn]

    run_by_buttons(start, stop, begin, [state, prompt, most, rival], [note, lanes])
    return start, [lanes, note]


def _create_export(state: gr.State) -> list:
    """Buttons that write the pruned model as a file; returns what a new run resets."""
    panel("Take it along")
    with gr.Row():
        packed = gr.Button("Packed file (safetensors)", elem_id="export-packed", min_width=200)
        folder = gr.Button("Hugging Face folder (zip)", elem_id="export-hf", min_width=200)
        masks = gr.Button("Masks (zip)", elem_id="export-masks", min_width=200)
        stop = gr.Button("Stop", elem_id="export-stop", min_width=80, interactive=False)
    note = gr.HTML(elem_id="export-note", padding=False)
    files = gr.File(label="Download", interactive=False, elem_id="export-file", visible=False)

    def export(follow: Follow, workspace: Workspace, kind: str = "packed") -> Iterator[list]:
        """State in; the note and the file out."""
        place = Path(tempfile.mkdtemp(prefix="eggs-export-"))
        try:
            run = finished_run(workspace)
            for event in follow(export_work(run, kind, place)):
                yield [bar(event), gr.skip()]
            yield [message(f"{event.name}: {size(event.stat().st_size)}"), gr.File(value=str(event), visible=True)]
        finally:
            shutil.rmtree(place, ignore_errors=True)

    others = {button.click: partial(export, kind=kind) for button, kind in ((folder, "hf"), (masks, "masks"))}
    run_by_buttons(packed, stop, export, [state], [note, files], starts=others)
    return [note, files]


def export_work(run: Run, kind: str, place: Path) -> Work:
    """The work of exporting a run as "packed", "hf" or "masks"; its values are those of `export_steps`."""
    return Work(place, export_steps, (run, kind, place), run.report["model"], lasting=False)


def export_steps(run: Run, kind: str, place: Path) -> Iterator[Progress | Path]:
    """Progress, and at the end the exported run as one file inside `place`: the packed one, or all in a zip file."""
    name = f"{Path(run.report['model']).name}-{run.report['pattern'].replace(':', 'of')}-{run.report['method']}"
    folder = place / name
    yield from export_run(run, kind, folder)
    if kind == "packed":
        yield (folder / FILE).rename(folder.with_name(f"{name}.{FILE.partition('.')[2]}"))
    else:
        yield Path(shutil.make_archive(str(folder), "zip", place, name))
