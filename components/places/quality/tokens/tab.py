"""Token by token: a text of one's own, coloured by how much harder pruning made each token."""

from dataclasses import dataclass

import gradio as gr
from gradio.blocks import Block

from components.jobs.events import Updates, Values, run_by_buttons, start_stop
from components.jobs.messages import bar
from components.jobs.prune import Follow
from components.places.quality.tokens.figures import kind_bars
from components.places.quality.tokens.view import compare_text
from components.places.quality.tokens.words import coloured_text, tokens_reading
from components.state.asked import words
from components.state.workspace import Workspace, finished_run
from components.tab import Tab, finished
from components.widgets.plot import Plot
from components.words.recorded import weights_hint
from eggs_core.evaluation.tokens import MOST_TOKENS
from eggs_core.text.sources import bundled_text

SAMPLE = bundled_text("heldout").content[:900].rsplit(" ", 1)[0]


@dataclass(frozen=True, slots=True)
class Tokens:
    """The components of this panel that are filled."""

    sentence: gr.HTML
    coloured: gr.HTML
    bars: Plot

    @property
    def outputs(self) -> list[Block]:
        """All of them."""
        return [self.sentence, self.coloured, self.bars]

    def compare(self, follow: Follow, workspace: Workspace, typed: str) -> Updates:
        """State and text in; sentence, coloured text and bars out."""
        run, found = finished_run(workspace), None
        for event in compare_text(follow, run, words(typed, "The text")):
            found = event
            yield {self.sentence: bar(event)}
        if found is not None and workspace.run is run:
            first, changes = found
            yield {
                self.sentence: tokens_reading(changes),
                self.coloured: coloured_text(first, changes),
                self.bars: kind_bars(changes),
            }

    def render(self, workspace: Workspace) -> Values:
        """What it takes: another run, another text; it is asked for anew."""
        return {self.sentence: weights_hint(finished(workspace)), self.coloured: "", self.bars: None}


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
    panel = Tokens(
        sentence=gr.HTML(elem_id="tokens-reading", padding=False),
        coloured=gr.HTML(elem_id="tokens-view", padding=False),
        bars=Plot(elem_id="tokens-kinds", title="Loss by kind of token", said_by="tokens-reading", height=260),
    )
    run_by_buttons(start, stop, panel.compare, [state, box], panel.outputs)
    return Tab(panel.outputs, panel.render)
