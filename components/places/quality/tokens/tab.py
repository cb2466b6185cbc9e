"""Token by token: a text of one's own, coloured by how much harder pruning made each token."""

from collections.abc import Iterator

import gradio as gr

from components.jobs.events import run_by_buttons, start_stop
from components.jobs.messages import bar
from components.jobs.prune import Follow
from components.jobs.queue import Work
from components.places.quality.tokens.view import coloured_text, kind_bars, tokens_reading
from components.state.asked import words
from components.state.results import run_id
from components.state.workspace import Workspace, finished_run
from components.tab import Tab
from components.widgets.plot import Plot
from eggs_core.evaluation.tokens import MOST_TOKENS, TokenChange, compare_tokens
from eggs_core.limits import check_text
from eggs_core.progress import Progress, memory_errors
from eggs_core.runs.pruned_models import recover
from eggs_core.runs.run import Run
from eggs_core.text.sources import bundled_text

SAMPLE = bundled_text("heldout").content[:900].rsplit(" ", 1)[0]


def create_tokens_panel(state: gr.State) -> Tab:
    """Fill the place at hand."""
    box = gr.Textbox(
        SAMPLE,
        label="Text",
        lines=3,
        max_length=20_000,
        elem_id="tokens-input",
        info=f"Its first {MOST_TOKENS} tokens are compared, or as many as the model reads.",
    )
    start, stop = start_stop("Compare every token", "tokens")
    sentence = gr.HTML(elem_id="tokens-reading", padding=False)
    coloured = gr.HTML(elem_id="tokens-view", padding=False)
    bars = Plot(elem_id="tokens-kinds", height=260)
    outputs = [sentence, coloured, bars]

    def compare(follow: Follow, workspace: Workspace, typed: str) -> Iterator[list]:
        """State and text in; sentence, coloured text and bars out."""
        run, text = finished_run(workspace), words(typed, "The text")
        check_text(text)
        for event in follow(token_work(run, text)):
            yield [bar(event), gr.skip(), gr.skip()]
        first, changes = event
        if workspace.run is run:
            yield [tokens_reading(changes), coloured_text(first, changes), kind_bars(changes)]

    run_by_buttons(start, stop, compare, [state, box], outputs)
    return Tab(outputs, lambda _workspace: ["", "", None])  # another run, another text: it is asked for anew


def token_work(run: Run, text: str) -> Work:
    """The work of comparing a run's two models on a text; its values are those of `token_steps`."""
    return Work(("tokens", *run_id(run), text), token_steps, (run, text), run.report["model"], lasting=False)


def token_steps(run: Run, words: str) -> Iterator[Progress | tuple[str, list[TokenChange]]]:
    """Progress, and at the end what `compare_tokens` gives for a run's two models."""
    models = yield from recover(run)
    with memory_errors("Comparing tokens"):
        yield compare_tokens(models.dense.tokenizer, models.dense.model, models.zeros, words)
