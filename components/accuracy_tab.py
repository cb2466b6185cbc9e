"""Accuracy: every method run so far against the dense model, with intervals and the protocol; and token by token."""

from collections.abc import Iterator

import gradio as gr

from components.figures import perplexity_forest, window_scatter
from components.jobs import message, progress_bar
from components.readings import forest_reading, scatter_reading
from components.session import Workspace, run_label
from components.tab import Tab
from components.tables import accuracy_table
from components.text import escape, facts, reading, term
from components.token_view import coloured_text, kind_bars, tokens_reading
from components.widgets.plot import Plot
from eggs_core.calibration import bundled_text
from eggs_core.errors import EggsError
from eggs_core.evaluate import paired_ratio
from eggs_core.pipeline import Progress, memory_errors
from eggs_core.tokens import MOST_TOKENS, compare_tokens
from eggs_core.weights import recover

CHEAP = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
HEAVY = {"concurrency_id": "heavy", "show_progress": "hidden", "api_visibility": "private"}
UNASKED = ["", "", None]  # the token view before somebody asks for it
SAMPLE = bundled_text("heldout").content[:900].rsplit(" ", 1)[0]


def create_accuracy_tab(state: gr.State) -> Tab:
    """Fill an open gr.Tab."""
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
    tokens = _create_tokens(state)

    def render(workspace: Workspace) -> list:
        run = workspace.run
        if run is None or not workspace.finished:
            return [reading("Accuracy is measured when all layers are pruned."), None, None, "", None, "", "", *UNASKED]
        runs = workspace.comparable()
        windows = lambda r: [r.report["evaluation"][side]["window_nats"] for side in ("dense", "pruned")]  # noqa: E731
        ratios = {run_label(r): paired_ratio(*windows(r)) for r in runs}
        return [
            _read(workspace), accuracy_table(runs), perplexity_forest(runs), forest_reading(ratios),
            window_scatter(run), scatter_reading(*windows(run)), facts(run), *UNASKED,
        ]  # fmt: skip

    return Tab([sentence, table, forest, forest_text, scatter, scatter_text, protocol, *tokens], render)


def _create_tokens(state: gr.State) -> list:
    """The token view; returns what a new run resets."""
    gr.HTML('<h3 class="panel">Token by token</h3>', padding=False)
    text = gr.Textbox(
        SAMPLE, label="Text", lines=3, max_length=20_000, elem_id="tokens-input",
        info=f"Its first {MOST_TOKENS} tokens are compared, or as many as the model reads.",
    )  # fmt: skip
    with gr.Row():
        start = gr.Button("Compare every token", variant="primary", elem_id="tokens-start", min_width=160)
        stop = gr.Button("Stop", elem_id="tokens-stop", min_width=80, interactive=False)
    sentence = gr.HTML(elem_id="tokens-reading", padding=False)
    coloured = gr.HTML(elem_id="tokens-view", padding=False)
    bars = Plot(elem_id="tokens-kinds", height=260)
    buttons = lambda running: [gr.Button(interactive=not running), gr.Button(interactive=running)]  # noqa: E731

    def compare(workspace: Workspace, words: str) -> Iterator[list]:
        """State and text in; buttons, sentence, coloured text and bars out."""
        try:
            if not workspace or not workspace.run or not workspace.finished:
                raise EggsError("Finish a run first.")
            run = workspace.run
            for event in recover(run):
                if isinstance(event, Progress):
                    yield [*buttons(True), progress_bar(event.share, event.text), gr.skip(), gr.skip()]
            with memory_errors("Comparing tokens"):
                first, changes = compare_tokens(event.dense.tokenizer, event.dense.model, event.zeros, words)
            if workspace.run is run:
                yield [*buttons(False), tokens_reading(changes), coloured_text(first, changes), kind_bars(changes)]
        except EggsError as error:
            yield [*buttons(False), message(str(error), bad=True), gr.skip(), gr.skip()]

    job = start.click(compare, [state, text], [start, stop, sentence, coloured, bars], **HEAVY)
    stop.click(lambda: [*buttons(False), message("Stopped.")], None, [start, stop, sentence], cancels=[job], **CHEAP)
    return [sentence, coloured, bars]


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
        ranked = sorted(runs, key=lambda r: r.report["evaluation"]["pruned"]["perplexity"])
        ratio = paired_ratio(losses(ranked[0]), losses(ranked[1]))
        sure = (
            "and the interval of their difference excludes chance"
            if ratio.low > 1
            else "but the two cannot be told apart"
        )
        text += f" Best here: <b>{escape(run_label(ranked[0]))}</b>, before {escape(run_label(ranked[1]))}, {sure}."
    return reading(text, "costs")
