"""Masks: the model as a map, and the chosen layer's mask on a canvas."""

import gradio as gr
import plotly.graph_objects as go

from components.figures import degree_histogram
from components.session import Workspace, run_label
from components.tab import Tab
from components.text import MEASURES, layer_reading, reading
from components.widgets.canvas import MaskCanvas, ModelMap, base64_bits
from components.widgets.plot import Plot
from eggs_core.runs import Run

LEGEND = (
    '<p class="legend"><span><i class="swatch score"></i>kept, as top-N would</span>'
    '<span><i class="swatch link"></i>kept for connectivity or channel order, where top-N prunes</span>'
    '<span><i class="swatch empty"></i>pruned</span><span><i class="swatch orphan"></i>orphan input</span></p>'
)


def map_value(run: Run, measure: str, selected: str) -> dict:
    """What the model map draws: one row per projection, one cell per block."""
    layers = run.report["layers"]
    name, form = MEASURES[measure]
    blocks = 1 + max((layer["block"] for layer in layers), default=-1)
    rows = []
    for projection in dict.fromkeys(layer["projection"] for layer in layers):
        cells: list[dict | None] = [None] * blocks
        for layer in layers:
            if layer["projection"] == projection:
                value = layer[measure]
                cells[layer["block"]] = {"name": layer["name"], "value": value, "text": form.format(value)}
        rows.append({"projection": projection, "cells": cells})
    values = [layer[measure] for layer in layers]
    low, high = (form.format(f(values)) if values else "" for f in (min, max))
    return {"rows": rows, "blocks": blocks, "measure": name, "selected": selected, "low": low, "high": high}


def mask_value(workspace: Workspace) -> dict | None:
    """What the mask canvas draws for the chosen layer."""
    if not workspace.run or not workspace.layer:
        return None
    mask = workspace.run.mask(workspace.layer)
    keep, group = map(int, workspace.run.report["pattern"].split(":"))
    return {
        "name": workspace.layer, "rows": mask.shape[0], "cols": mask.shape[1], "keep": keep, "group": group,
        "bits": base64_bits(mask), "topn": base64_bits(workspace.run.topn_mask(workspace.layer)),
    }  # fmt: skip


def degree_chart(workspace: Workspace) -> go.Figure | None:
    """How many weights each input of the chosen layer keeps, beside top-N by the same score."""
    if not workspace.run or not workspace.layer:
        return None
    mask, topn = workspace.run.mask(workspace.layer), workspace.run.topn_mask(workspace.layer)
    return degree_histogram(mask.sum(0).tolist(), topn.sum(0).tolist(), run_label(workspace.run))


def create_masks_tab(state: gr.State) -> tuple[Tab, ModelMap, MaskCanvas]:
    """Fill an open gr.Tab; the map and the canvas are handed out so that the composer can link other tabs to them."""
    measure = gr.Radio(
        [(name, key) for key, (name, _) in MEASURES.items()],
        value="spectral_gap",
        label="Colour of the map",
        elem_id="map-measure",
    )
    model_map = ModelMap(elem_id="model-map")
    sentence = gr.HTML(elem_id="layer-reading", padding=False)
    with gr.Row():
        with gr.Column(scale=3, min_width=320):
            canvas = MaskCanvas(elem_id="mask-canvas")
            gr.HTML(LEGEND, padding=False)
        with gr.Column(scale=2, min_width=300):
            gr.HTML('<h3 class="panel">Connections per input</h3>', padding=False)
            degrees = Plot(elem_id="degree-chart", height=400)

    def draw_map(workspace: Workspace, key: str) -> dict | None:
        return map_value(workspace.run, key, workspace.layer) if workspace.run else None

    measure.change(draw_map, [state, measure], model_map, queue=False, show_progress="hidden", api_visibility="private")

    def render(workspace: Workspace) -> list:
        layer = workspace.layer_report()
        text = layer_reading(layer) if layer else reading("Click a layer in the map.")
        return [draw_map(workspace, "spectral_gap"), text, mask_value(workspace), degree_chart(workspace)]

    return Tab([model_map, sentence, canvas, degrees], render), model_map, canvas
