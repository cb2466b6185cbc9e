"""Latency & size: what the pruned model weighs and how fast it runs, and why."""

import gradio as gr

from components.figures import size_bars, speed_bars
from components.session import Workspace
from components.tab import Tab
from components.text import latency_reading, reading, size_reading
from components.widgets.plot import Plot


def create_latency_tab(_state: gr.State) -> Tab:
    """Fill an open gr.Tab."""
    gr.HTML('<h3 class="panel">Why isn’t it smaller?</h3>', padding=False)
    size_text = gr.HTML(elem_id="size-reading", padding=False)
    size_chart = Plot(elem_id="size-chart", height=230)
    gr.HTML('<h3 class="panel">How fast is it?</h3>', padding=False)
    latency_text = gr.HTML(elem_id="latency-reading", padding=False)
    with gr.Row():
        with gr.Column(min_width=320):
            gr.HTML('<h3 class="panel">Decode <span>one token at a time</span></h3>', padding=False)
            decode = Plot(elem_id="decode-chart", height=240)
        with gr.Column(min_width=320):
            gr.HTML('<h3 class="panel">Prefill <span>the whole prompt at once</span></h3>', padding=False)
            prefill = Plot(elem_id="prefill-chart", height=240)

    def render(workspace: Workspace) -> list:
        run = workspace.run
        if run is None or not workspace.finished:
            return [reading("Size and latency are measured when all layers are pruned."), None, "", None, None]
        latency = run.report["latency"]
        charts = [speed_bars(latency, kind) for kind in ("decode_tokens_per_s", "prefill_tokens_per_s")]
        return [size_reading(run), size_bars(run), latency_reading(latency), *charts]

    return Tab([size_text, size_chart, latency_text, decode, prefill], render)
