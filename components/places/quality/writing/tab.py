"""Side by side: one prompt, the dense model and up to three pruned ones, which all write at once."""

from dataclasses import dataclass

import gradio as gr

from components.jobs.events import Updates, Values, run_by_buttons, start_stop
from components.jobs.prune import Follow
from components.places.quality.writing.view import MOST_RUNS, MOST_TOKENS, write
from components.state.asked import number, whole_number, words
from components.state.workspace import Workspace, finished_run
from components.tab import Tab, finished
from components.words.labels import run_label
from components.words.prompt import PROMPT
from components.words.recorded import weights_hint


@dataclass(frozen=True, slots=True)
class Writing:
    """The components of this panel that are filled."""

    methods: gr.Dropdown
    sentence: gr.HTML
    lanes: gr.HTML

    def begin(
        self,
        follow: Follow,
        workspace: Workspace,
        prompt: str,
        keys: list[str],
        tokens: float,
        temperature: float,
        seed: float,
    ) -> Updates:
        """State and the controls in; sentence and lanes out."""
        finished_run(workspace)
        text, warmth = words(prompt, "The prompt"), number(temperature, "The temperature")
        length, chance = whole_number(tokens, "The number of tokens"), whole_number(seed, "The seed")
        runs = [run for run in workspace.comparable() if run.key in (keys or [])]
        for message, drawn in write(follow, runs, text, length, warmth, chance):
            yield {self.sentence: message, **({self.lanes: drawn} if drawn else {})}

    def render(self, workspace: Workspace) -> Values:
        """The models to choose from; what was written is another run's."""
        run = finished(workspace)
        choices = [(run_label(one), one.key) for one in workspace.comparable()] if run else []
        methods = gr.Dropdown(choices=choices, value=[run.key] if run else [], multiselect=True)
        return {self.methods: methods, self.sentence: weights_hint(run), self.lanes: ""}


def create_writing_panel(state: gr.State) -> Tab:
    """Fill the place at hand."""
    with gr.Row():
        prompt = gr.Textbox(PROMPT, label="Prompt", elem_id="writing-prompt", max_length=2000, scale=3, min_width=260)
        methods = gr.Dropdown(
            [],
            multiselect=True,
            max_choices=MOST_RUNS,
            label=f"Pruned models, up to {MOST_RUNS}",
            scale=3,
            elem_id="writing-runs",
            min_width=260,
        )
    with gr.Row():
        tokens = gr.Slider(8, MOST_TOKENS, 64, step=8, label="Tokens", elem_id="writing-tokens", min_width=160)
        temperature = gr.Slider(
            0,
            1.5,
            0.7,
            step=0.1,
            label="Temperature",
            elem_id="writing-temperature",
            min_width=160,
            info="0 always takes the likeliest token.",
        )
        seed = gr.Number(0, label="Seed", precision=0, elem_id="writing-seed", min_width=100)
    start, stop = start_stop("Write", "writing")
    panel = Writing(
        methods=methods,
        sentence=gr.HTML(elem_id="writing-reading", padding=False),
        lanes=gr.HTML(elem_id="writing-lanes", padding=False),
    )
    run_by_buttons(
        start,
        stop,
        panel.begin,
        [state, prompt, methods, tokens, temperature, seed],
        [panel.sentence, panel.lanes],
    )
    return Tab([methods, panel.sentence, panel.lanes], panel.render)
