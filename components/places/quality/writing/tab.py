"""Side by side: controls of writing_view."""

from collections.abc import Iterator

import gradio as gr

from components.jobs.events import run_by_buttons, start_stop
from components.jobs.prune import Follow
from components.places.quality.writing.view import MOST_RUNS, MOST_TOKENS, write
from components.state.asked import number, whole_number, words
from components.state.workspace import Workspace, finished_run
from components.tab import Tab
from components.words.labels import run_label
from components.words.prompt import PROMPT


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
        seed = gr.Number(0, label="Seed", precision=0, minimum=0, elem_id="writing-seed", min_width=100)
    start, stop = start_stop("Write", "writing")
    sentence = gr.HTML(elem_id="writing-reading", padding=False)
    lanes = gr.HTML(elem_id="writing-lanes", padding=False)

    def begin(
        follow: Follow, workspace: Workspace, prompted: str, keys: list[str], most: float, heat: float, chance: float
    ) -> Iterator[list]:
        """State and the controls in; sentence and lanes out."""
        finished_run(workspace)
        text = words(prompted, "The prompt")
        length, start_at = whole_number(most, "The number of tokens"), whole_number(chance, "The seed")
        warmth = number(heat, "The temperature")
        runs = [run for run in workspace.comparable() if run.key in (keys or [])]
        for said, drawn in write(follow, runs, text, length, warmth, start_at):
            yield [said, drawn or gr.skip()]

    run_by_buttons(start, stop, begin, [state, prompt, methods, tokens, temperature, seed], [sentence, lanes])

    def render(workspace: Workspace) -> list:
        if workspace.run is None or not workspace.finished:
            return [gr.Dropdown(choices=[], value=[]), "", ""]
        runs = workspace.comparable()
        return [gr.Dropdown(choices=[(run_label(r), r.key) for r in runs], value=[workspace.run.key]), "", ""]

    return Tab([methods, sentence, lanes], render)
