"""Spectrum: the spectral gap of every layer, across methods, against random masks."""

import gradio as gr

from components.figures import gap_by_layer
from components.session import Workspace, run_label
from components.tab import Tab
from components.text import GLOSSARY, MEASURES, escape, reading, term
from components.widgets.plot import Plot

SHOWN = ("spectral_gap", "gap_z", "min_in_degree", "orphans")


def create_spectrum_tab(state: gr.State) -> Tab:
    """Fill an open gr.Tab."""
    sentence = gr.HTML(elem_id="spectrum-reading", padding=False)
    measure = gr.Radio(
        [(MEASURES[m][0], m) for m in SHOWN], value="spectral_gap", label="Measure", elem_id="spectrum-measure"
    )
    chart = Plot(elem_id="gap-chart", height=480)
    note = gr.HTML(elem_id="spectrum-note", padding=False)

    def draw(workspace: Workspace, key: str) -> list:
        text = f'<p class="hint"><b>{escape(MEASURES[key][0])}</b>: {escape(GLOSSARY[MEASURES[key][0]])}</p>'
        return [gap_by_layer(workspace.comparable(), key), text]

    measure.change(draw, [state, measure], [chart, note], queue=False, show_progress="hidden", api_visibility="private")

    def render(workspace: Workspace) -> list:
        if workspace.run is None or not workspace.finished:
            return [reading("The spectrum appears when the run is finished."), None, ""]
        return [_read(workspace), *draw(workspace, "spectral_gap")]

    return Tab([sentence, chart, note], render)


def _read(workspace: Workspace) -> str:
    runs = workspace.comparable()
    layers = workspace.run.report["layers"]
    below = sum(layer["gap_z"] < -2 for layer in layers)
    means = {run_label(r): sum(x["spectral_gap"] for x in r.report["layers"]) / len(layers) for r in runs}
    best = max(means, key=means.get)
    tail = (
        f" Of {len(runs)} methods compared, {escape(best)} has the largest mean gap, {means[best]:.3f}."
        if len(runs) > 1
        else ""
    )
    return reading(
        f"{escape(run_label(workspace.run))}: in {below} of {len(layers)} layers the {term('spectral gap')} lies "
        f"more than two standard deviations below that of random masks of the same shape; a mask that keeps strong "
        f"weights is never random, so this is the price of choosing.{tail}"
    )
