"""Perplexity: every comparable method against the dense model."""

import gradio as gr

from components.places.quality.perplexity.figures import perplexity_forest, window_scatter
from components.places.quality.perplexity.tables import accuracy_table, clear_best
from components.places.quality.perplexity.words import forest_reading, scatter_reading
from components.places.quality.tasks.view import task_pairs
from components.state.drawings import draw_once
from components.state.workspace import Workspace
from components.tab import Tab
from components.widgets.plot import Plot
from components.words.html import escape, reading, term
from components.words.labels import run_label
from components.words.recorded import facts
from eggs_core.evaluation.intervals import paired_ratio


def _create_perplexity() -> Tab:
    """The table of methods, the forest plot and the windows."""
    sentence = gr.HTML(elem_id="accuracy-reading", padding=False)
    table = gr.Dataframe(elem_id="accuracy-table", interactive=False, show_label=False, wrap=True)
    with gr.Row():
        with gr.Column(min_width=340):
            gr.HTML('<h3 class="panel">Perplexity against dense</h3>', padding=False)
            forest = Plot(elem_id="forest", height=380)
            forest_text = gr.HTML(elem_id="forest-reading", padding=False)
        with gr.Column(min_width=340):
            gr.HTML('<h3 class="panel">Every window of the text</h3>', padding=False)
            scatter = Plot(elem_id="window-scatter", height=380)
            scatter_text = gr.HTML(elem_id="scatter-reading", padding=False)
    protocol = gr.HTML(elem_id="accuracy-protocol", padding=False)

    def render(workspace: Workspace) -> list:
        workspace = workspace.still()
        run = workspace.run
        if run is None or not workspace.finished:
            return [reading("Accuracy is measured when all layers are pruned."), None, None, "", None, "", ""]
        shown = [run, *workspace.comparable()]
        tasks = tuple(len(task_pairs(one)) for one in shown)  # which are columns of the table
        return draw_once(shown, ("perplexity", tasks), lambda: draw(workspace))

    def draw(workspace: Workspace) -> list:
        run, runs = workspace.run, workspace.comparable()

        def windows(r):
            return [r.report["evaluation"][side]["window_nats"] for side in ("dense", "pruned")]

        ratios = {run_label(r): paired_ratio(*windows(r)) for r in runs}
        return [
            _read(workspace),
            accuracy_table(runs),
            perplexity_forest(runs),
            forest_reading(ratios),
            window_scatter(run),
            scatter_reading(*windows(run)),
            facts(run),
        ]

    return Tab([sentence, table, forest, forest_text, scatter, scatter_text, protocol], render)


def _read(workspace: Workspace) -> str:
    run, runs = workspace.run, workspace.comparable()
    evaluation = run.report["evaluation"]

    def losses(r):
        return r.report["evaluation"]["pruned"]["window_nats"]

    worse = sum(p > d for d, p in zip(evaluation["dense"]["window_nats"], losses(run), strict=True))
    text = (
        f"{escape(run_label(run))} made {worse} of {len(losses(run))} windows harder to predict; "
        f"{term('perplexity')} went from {evaluation['dense']['perplexity']:.2f} "
        f"to {evaluation['pruned']['perplexity']:.2f}."
    )
    if len(runs) > 1:
        first, second = sorted(runs, key=lambda r: r.report["evaluation"]["pruned"]["perplexity"])[:2]
        sure = (
            "and the interval of their difference excludes chance (★)"
            if clear_best(runs)
            else "but the two cannot be told apart"
        )
        text += f" Best here: <b>{escape(run_label(first))}</b>, before {escape(run_label(second))}, {sure}."
    return reading(text, "costs")
