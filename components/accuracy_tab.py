"""Accuracy: methods against the dense model, tasks, tokens, texts side by side, where it breaks, and a report."""

import gradio as gr

from components.breakdown_panel import create_breakdown_panel
from components.drawn import draw_once
from components.figures import perplexity_forest, window_scatter
from components.readings import forest_reading, scatter_reading
from components.recorded import facts
from components.report_panel import create_report_panel
from components.session import Workspace, run_label
from components.tab import Tab
from components.tables import accuracy_table, clear_best
from components.tasks_panel import create_tasks_panel
from components.tasks_view import task_pairs
from components.text import escape, reading, term
from components.texts_panel import create_texts_panel
from components.tokens_panel import create_tokens_panel
from components.widgets.plot import Plot
from components.writing_panel import create_writing_panel
from eggs_core.evaluate import paired_ratio


def create_accuracy_tab(state: gr.State) -> Tab:
    """Fill an open gr.Tab."""
    with gr.Tabs(elem_id="accuracy-sections"):
        with gr.Tab("Perplexity", id="perplexity"):
            panels = [_create_perplexity(), create_texts_panel(state)]
        for name, key, create in (
            ("Zero-shot tasks", "tasks", create_tasks_panel),
            ("Token by token", "tokens", create_tokens_panel),
            ("Side by side", "writing", create_writing_panel),
            ("Where it breaks", "breakdown", create_breakdown_panel),
            ("Report", "report", create_report_panel),
        ):
            with gr.Tab(name, id=key):
                panels.append(create(state))

    def render(workspace: Workspace) -> list:
        return [value for panel in panels for value in panel.render(workspace)]

    return Tab([component for panel in panels for component in panel.outputs], render)


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
        windows = lambda r: [r.report["evaluation"][side]["window_nats"] for side in ("dense", "pruned")]  # noqa: E731
        ratios = {run_label(r): paired_ratio(*windows(r)) for r in runs}
        return [
            _read(workspace), accuracy_table(runs), perplexity_forest(runs), forest_reading(ratios),
            window_scatter(run), scatter_reading(*windows(run)), facts(run),
        ]  # fmt: skip

    return Tab([sentence, table, forest, forest_text, scatter, scatter_text, protocol], render)


def _read(workspace: Workspace) -> str:
    run, runs = workspace.run, workspace.comparable()
    evaluation = run.report["evaluation"]
    losses = lambda r: r.report["evaluation"]["pruned"]["window_nats"]  # noqa: E731
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
