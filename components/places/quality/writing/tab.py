"""Side by side: one prompt, the dense model and up to three pruned ones, which all write at once."""

from dataclasses import dataclass

import gradio as gr

from components.jobs.events import Updates, Values, run_by_buttons, start_stop
from components.jobs.prune import Follow
from components.places.quality.writing.view import (
    MOST_RUNS,
    MOST_TOKENS,
    SEED,
    TEMPERATURE,
    TOKENS,
    brought,
    write,
    written,
)
from components.places.quality.writing.words import lanes_html, writing_facts, writing_reading
from components.state.asked import number, whole_number, words
from components.state.measured import visitors_keeper
from components.state.workspace import Workspace, finished_run
from components.tab import Tab, finished
from components.words.labels import run_label
from components.words.prompt import PROMPT
from components.words.recorded import weights_hint

SECTION = "writing"  # the tab's name among those of Quality


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
        run = finished_run(workspace)
        text, warmth = words(prompt, "The prompt"), number(temperature, "The temperature")
        length, chance = whole_number(tokens, "The number of tokens"), whole_number(seed, "The seed")
        runs = [run for run in workspace.comparable() if run.key in (keys or [])]
        keep = visitors_keeper(run, workspace.texts, brought(text, runs))
        for message, drawn in write(follow, runs, text, length, warmth, chance, keep):
            yield {self.sentence: message, **({self.lanes: drawn} if drawn else {})}

    def render(self, workspace: Workspace) -> Values:
        """The models to choose from, and what was written last, once the tab is open."""
        run = finished(workspace)
        found = written(run, workspace.texts) if run and workspace.section == SECTION else None
        choices = {one.key: run_label(one) for one in workspace.comparable()} if run else {}
        chosen = [key for key in found.runs if key in choices] if found else [run.key] if run else []
        methods = gr.Dropdown(choices=[(choices[key], key) for key in choices], value=chosen, multiselect=True)
        if found is None:
            return {self.methods: methods, self.sentence: weights_hint(run), self.lanes: ""}
        facts = writing_facts(found.temperature, found.seed, found.day)
        return {
            self.methods: methods,
            self.sentence: writing_reading(found.lanes) + facts + weights_hint(run),
            self.lanes: lanes_html(found.lanes, found.prompt),
        }


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
        tokens = gr.Slider(8, MOST_TOKENS, TOKENS, step=8, label="Tokens", elem_id="writing-tokens", min_width=160)
        temperature = gr.Slider(
            0,
            1.5,
            TEMPERATURE,
            step=0.1,
            label="Temperature",
            elem_id="writing-temperature",
            min_width=160,
            info="0 always takes the likeliest token.",
        )
        seed = gr.Number(SEED, label="Seed", precision=0, elem_id="writing-seed", min_width=100)
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
