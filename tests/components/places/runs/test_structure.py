"""What does structure cost? The sentence says by how much, the figure shows every step, and other models are told."""

import gradio as gr
import pytest

from components.places.runs.structure import view
from components.places.runs.structure.figures import structure_figure
from components.places.runs.structure.tab import StructurePanel
from components.places.runs.structure.view import curves, curves_of
from components.places.runs.structure.words import structure_facts, structure_reading
from components.state.workspace import Workspace
from components.widgets.plot import Plot
from eggs_core.evaluation.intervals import Interval
from eggs_core.evaluation.structure import Curve, Step
from eggs_core.runs.run import Run


def curve(method: str, *perplexities: float, high: float | None = None) -> Curve:
    steps = [
        Step(pattern, [x], Interval(x / perplexities[0], 0.9 * x / perplexities[0], high or 1.02 * x / perplexities[0]))
        for pattern, x in zip(("2:4", "4:8", "50%"), perplexities, strict=True)
    ]
    return Curve("tiny-llama", method, "2 × 3 tokens", 28.0, steps)


def test_the_sentence_tells_the_cost_by_the_best_method():
    said = structure_reading([curve("wanda", 40.0, 34.0, 32.0), curve("ria", 36.0, 33.0, 30.0)])
    assert said.startswith('<p class="reading">By RIA, 2:4 takes tiny-llama from 28.00 to 36.00.')
    assert "× 0.833</b> [0.750, 0.850]" in said and "perplexity is 20.0% higher" in said
    assert "win back 50% by 4:8." in said and "no packed form" in said
    unclear = structure_reading([curve("ria", 36.0, 36.1, 35.9, high=1.1)])
    assert "told from chance" in unclear and "win back" not in unclear


def test_the_figure_has_every_step_with_its_interval_and_the_dense_model():
    figure = structure_figure([curve("wanda", 40.0, 34.0, 32.0), curve("ria", 36.0, 33.0, 30.0)])
    assert [trace.name for trace in figure.data] == ["Wanda", "RIA", "dense"]
    assert list(figure.data[0].x) == ["2:4", "4:8", "50%"]
    assert list(figure.data[1].y) == [36.0, 33.0, 30.0] and set(figure.data[2].y) == {28.0}
    assert figure.data[1].error_y.array[1] == pytest.approx(0.02 * 33.0)
    assert "RIA 1 seed" in structure_facts([curve("ria", 36.0, 33.0, 30.0)])


def test_the_shipped_curves_are_of_the_model_in_view_and_others_are_told(make_run, monkeypatch, tmp_path):
    models = {curve.model for curve in curves()}
    assert {"tiny-llama", "tiny-opt"} == models and {c.model for c in curves_of("tiny-opt")} == {"tiny-opt"}
    with gr.Blocks():
        panel = StructurePanel(gr.HTML(), Plot(elem_id="a", title="b", said_by="c"), gr.HTML())
    assert "was not measured" not in panel.draw(Workspace())[panel.sentence]
    workspace, run = Workspace(), make_run("ria")
    workspace.show(Run(run.report | {"model": "<b>other"}, run.packed_masks, run.packed_topn))
    drawn = panel.draw(workspace)
    assert "&lt;b&gt;other, the model in view, was not measured" in drawn[panel.sentence] and drawn[panel.figure]
    curves.cache_clear()
    monkeypatch.setattr(view, "SHIPPED", tmp_path / "none.json")
    assert "cannot be read" in panel.draw(workspace)[panel.sentence]
    curves.cache_clear()
