"""Overview: what pruning did to the model, in four figures, one sentence and one chart."""

import gradio as gr

from components.drawn import draw_once
from components.events import CHEAP
from components.figures import layer_chart
from components.readings import measure_reading
from components.recorded import facts
from components.session import Workspace, run_label
from components.tab import Tab
from components.text import GLOSSARY, MEASURES, escape, overview_cards, overview_reading, reading
from components.widgets.plot import Plot

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
