"""Spectrum: a layer's singular values, the gap of every layer across methods, and the trade-off over β."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import gradio as gr

from components.jobs.events import CHEAP, run_by_buttons
from components.jobs.messages import bar, message
from components.jobs.prune import Follow
from components.places.layers.spectrum.figures import gap_by_layer
from components.places.layers.spectrum.view import curve_of, curve_work, density, tradeoff
from components.places.layers.spectrum.words import gap_reading
from components.state.drawings import draw_once
from components.state.workspace import Workspace
from components.tab import Tab
from components.widgets.plot import Plot
from components.words.glossary import GLOSSARY, MEASURES
from components.words.html import escape, reading
from components.words.labels import run_label
from eggs_core.errors import EggsError
from eggs_core.pruning.beta_curve import BETAS, BetaCurve

SHOWN = ("spectral_gap", "gap_z", "min_in_degree", "orphans")
CURVES = (
    ("perplexity", "Perplexity <span>95 % against β = 0</span>"),
    ("gap", "Spectral gap"),
    ("score", "Retained score"),
)
NO_CURVE = "No curve for this model and pattern yet: press the button, which prunes and evaluates once for each β."


@dataclass(frozen=True, slots=True)
class SpectrumTab:
    """The tab, and what follows the chosen layer."""

    tab: Tab
    layer_outputs: list
    render_layer: Callable[[Workspace], list]


def create_spectrum_tab(state: gr.State, inputs: list, read: Callable[..., tuple]) -> SpectrumTab:
    """Fill an open gr.Tab; the curve over β is that of what `read` makes of the values of `inputs`."""
    gr.HTML('<h3 class="panel">Singular values of the chosen layer</h3>', padding=False)
    spectrum = Plot(elem_id="density-chart", height=340)
    layer_text = gr.HTML(elem_id="density-reading", padding=False)
    gr.HTML('<h3 class="panel">Every layer, method by method</h3>', padding=False)
    measure = gr.Radio(
        [(MEASURES[m][0], m) for m in SHOWN], value="spectral_gap", label="Measure", elem_id="spectrum-measure"
    )
    chart = Plot(elem_id="gap-chart", height=440)
    sentence = gr.HTML(elem_id="spectrum-reading", padding=False)
    note = gr.HTML(elem_id="spectrum-note", padding=False)
    gr.HTML('<h3 class="panel">What does connectivity cost? The trade-off over β</h3>', padding=False)
    with gr.Row():
        start = gr.Button(f"Measure it for the sidebar's choices ({len(BETAS)} runs)", elem_id="sweep", size="sm")
        stop = gr.Button("Stop", elem_id="sweep-stop", size="sm", interactive=False)
    progress = gr.HTML("", elem_id="sweep-progress", padding=False)
    with gr.Row():
        curves = []
        for name, title in CURVES:
            with gr.Column(min_width=290):
                gr.HTML(f'<h3 class="panel">{title}</h3>', padding=False)
                curves.append(Plot(elem_id=f"sweep-{name}", height=280))
    curve_text = gr.HTML(elem_id="sweep-reading", padding=False)
    facts = gr.HTML(elem_id="sweep-facts", padding=False)

    def draw_gaps(workspace: Workspace, key: str) -> list:
        text = f'<p class="hint"><b>{escape(MEASURES[key][0])}</b>: {escape(GLOSSARY[MEASURES[key][0]])}</p>'
        return [gap_by_layer(workspace.comparable(), key), text]

    def draw_layer(workspace: Workspace) -> list:
        return workspace.drawn(lambda: layer_now(workspace.still()))

    def layer_now(workspace: Workspace) -> list:
        if workspace.run is None or not workspace.layer or not workspace.finished:
            return [None, reading("The spectrum appears when the run is finished.")]
        try:
            return draw_once([workspace.run], ("density", workspace.layer), lambda: list(density(workspace)))
        except EggsError as error:
            return [None, reading(escape(error))]

    def draw_curve(workspace: Workspace) -> list:
        curve = curve_of(workspace) if workspace.run and workspace.finished else None
        return draw_once([], ("curve", repr(curve)), lambda: tradeoff_and_facts(curve))

    def tradeoff_and_facts(curve: BetaCurve | None) -> list:
        *figures, text = tradeoff(curve)
        return [*figures, text or reading(NO_CURVE), _facts(curve)]

    def render(workspace: Workspace) -> list:
        workspace = workspace.still()
        if workspace.run is None or not workspace.finished:
            return [*draw_layer(workspace), "", None, "", *draw_curve(workspace)]
        shown = [workspace.run, *workspace.comparable()]
        gaps = draw_once(shown, ("gaps", workspace.spectrum), lambda: sentence_and_gaps(workspace))
        return [*draw_layer(workspace), *gaps, *draw_curve(workspace)]

    def sentence_and_gaps(workspace: Workspace) -> list:
        runs, layers = workspace.comparable(), workspace.run.report["layers"]
        means = {run_label(r): sum(x["spectral_gap"] for x in r.report["layers"]) / len(layers) for r in runs}
        said = gap_reading(run_label(workspace.run), layers, means)
        return [said, *draw_gaps(workspace, workspace.spectrum)]

    def set_measure(workspace: Workspace, key: str) -> list:
        if key not in SHOWN:
            raise EggsError("Choose one of the measures.")
        workspace.spectrum = key
        return workspace.drawn(lambda: draw_gaps(workspace, workspace.spectrum))

    def sweep(follow: Follow, workspace: Workspace, *values) -> Iterator[list]:
        """State and the sidebar's values in; progress and the growing curve out."""
        drawn, still = 0, [gr.skip()] * 5
        for event in follow(curve_work(*read(*values))):
            progress, found = event if isinstance(event, tuple) else (event, None)
            if found and len(found.points) > drawn:
                drawn = len(found.points)
                workspace.own_curve(found)
                yield [bar(progress), *tradeoff(found), _facts(found)]
            else:
                yield [bar(progress), *still]
        yield [message("Done."), *still]

    measure.input(set_measure, [state, measure], [chart, note], **CHEAP)
    run_by_buttons(
        start,
        stop,
        sweep,
        [state, *inputs],
        [progress, *curves, curve_text, facts],
        stopped=lambda _: [message("Stopped; the points measured so far stay."), *[gr.skip()] * 5],
    )
    outputs = [spectrum, layer_text, sentence, chart, note, *curves, curve_text, facts]
    return SpectrumTab(Tab(outputs, render), [spectrum, layer_text], draw_layer)


def _facts(curve: BetaCurve | None) -> str:
    """What the curve was measured on."""
    if curve is None or not curve.points:
        return ""
    c, e = curve.config, curve.evaluation
    choices = [f"{c['score']} score", "exact degree bound", c["permutation"], c["reconstruction"]]
    made = " · ".join(escape(x) for x in (c["model"], c["pattern"], *choices) if x != "none")
    text = f"{e['windows']} × {e['window']} tokens of “{escape(e['text'])}”"
    return f'<p class="facts">{made} · {text} · SHA-256 {escape(e["sha256"][:12])}… · seed {c["seed"]}</p>'
