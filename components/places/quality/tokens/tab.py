"""Token by token: a text of one's own, coloured by how much harder pruning made each token."""

from dataclasses import dataclass

import gradio as gr
from gradio.blocks import Block

from components.jobs.events import Updates, Values, run_by_buttons, start_stop
from components.jobs.messages import bar
from components.jobs.prune import Follow
from components.places.quality.tokens.figures import kind_bars
from components.places.quality.tokens.view import SAMPLE, Compared, compare_text, compared
from components.places.quality.tokens.words import coloured_text, tokens_facts, tokens_reading
from components.state.asked import words
from components.state.measured import visitors_keeper
from components.state.workspace import Workspace, finished_run
from components.tab import Tab, finished
from components.widgets.plot import Plot
from components.words.recorded import weights_hint
from eggs_core.evaluation.tokens import MOST_TOKENS
from eggs_core.runs.run import Run

SECTION = "tokens"  # the tab's name among those of Quality


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
        run, text = finished_run(workspace), words(typed, "The text")
        for event in compare_text(follow, run, text, visitors_keeper(run, workspace.texts, text != SAMPLE)):
            yield {self.sentence: bar(event)}
        if workspace.run is run:
            yield self.draw(workspace)

    def render(self, workspace: Workspace) -> Values:
        """What is known of the run in view, once the tab is open."""
        return self.draw(workspace) if workspace.section == SECTION else self._draw(finished(workspace), None)

    def draw(self, workspace: Workspace) -> Values:
        """What is known of the run in view."""
        run = finished(workspace)
        return self._draw(run, compared(run, workspace.texts) if run else None)

    def _draw(self, run: Run | None, found: Compared | None) -> Values:
        if found is None:
            return {self.sentence: weights_hint(run), self.coloured: "", self.bars: None}
        return {
            self.sentence: tokens_reading(found.changes) + tokens_facts(found) + weights_hint(run),
            self.coloured: coloured_text(found.first, found.changes),
            self.bars: kind_bars(found.changes),
        }


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
