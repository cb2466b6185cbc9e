"""Overview: what pruning did to the model, in four figures, one sentence and one chart."""

import gradio as gr

from components.charts.layers import layer_chart
from components.jobs.events import CHEAP
from components.places.home.overview.words import measure_reading
from components.state.drawings import draw_once
from components.state.workspace import Workspace
from components.tab import Tab
from components.widgets.plot import Plot
from components.words.glossary import GLOSSARY, MEASURES
from components.words.html import escape, reading
from components.words.labels import run_label
from components.words.recorded import facts
from components.words.run import overview_cards, overview_reading
from eggs_core.errors import EggsError

RUNNING = (
    '<div class="cards"><div class="card waiting">Pruning… the layers appear below as they are finished.</div></div>'
)


def create_overview_tab(state: gr.State) -> Tab:
    """Fill an open gr.Tab; the measure's choice redraws the chart alone."""
    cards = gr.HTML(elem_id="cards", padding=False)
    sentence = gr.HTML(elem_id="overview-reading", padding=False)
    measure = gr.Radio(
        [(name, key) for key, (name, _) in MEASURES.items()], value="spectral_gap", label="Per layer", elem_id="measure"
    )
    chart = Plot(elem_id="layer-chart", height=380)
    explanation = gr.HTML(elem_id="measure-note", padding=False)
    facts_line = gr.HTML(elem_id="facts", padding=False)

    def draw(workspace: Workspace, key: str) -> list:
        if key not in MEASURES:
            raise EggsError("Choose one of the measures.")
        explained = f'<p class="hint"><b>{escape(MEASURES[key][0])}</b>: {escape(GLOSSARY[MEASURES[key][0]])}</p>'
        said = measure_reading(workspace.run.report["layers"], key) if workspace.run else ""
        return [layer_chart(workspace.run, key) if workspace.run else None, said + explained]

    measure.change(draw, [state, measure], [chart, explanation], **CHEAP)

    def render(workspace: Workspace, key: str = "spectral_gap") -> list:
        workspace = workspace.still()
        if workspace.run is None:
            return [reading("Choose a model and press Prune."), "", None, "", ""]
        return draw_once(
            [workspace.run], ("overview", key, workspace.finished), lambda: cards_and_chart(workspace, key)
        )

    def cards_and_chart(workspace: Workspace, key: str) -> list:
        run = workspace.run
        if not workspace.finished:
            return [RUNNING, "", *draw(workspace, key), ""]
        return [overview_cards(run), overview_reading(run, run_label(run)), *draw(workspace, key), facts(run)]

    return Tab([cards, sentence, chart, explanation, facts_line], render)
