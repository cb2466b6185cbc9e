"""Rotation: the importance that the pattern keeps, before it and after it."""

import gradio as gr

from components.jobs.events import Values, alike
from components.places.quality.rotation.figures import kept_chart
from components.places.quality.rotation.view import kept_shares
from components.places.quality.rotation.words import rotation_reading
from components.state.workspace import Workspace
from components.tab import Tab, finished
from components.widgets.heading import panel_heading
from components.widgets.plot import Plot
from components.words.labels import run_label


def create_rotation_panel(state: gr.State) -> Tab:
    """Fill the place at hand."""
    sentence = gr.HTML(elem_id="rotation-reading", padding=False)
    with gr.Row(), gr.Column():  # whose title is hidden with an empty figure
        panel_heading("Importance kept", "w² times the mean square of its input, over the run's calibration text")
        chart = Plot(elem_id="rotation-chart", title="Importance kept", said_by="rotation-reading", height=320)

    def render(workspace: Workspace) -> Values:
        run = finished(workspace)
        shares = kept_shares(run) if run else []
        drawn: Values = {chart: kept_chart(shares, run_label(run))} if run and shares else alike([chart])
        return {sentence: rotation_reading(run), **drawn}

    return Tab([sentence, chart], render)
