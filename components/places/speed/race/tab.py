"""Race: dense and packed write the same prompt, for everybody to watch."""

from dataclasses import dataclass

import gradio as gr

from components.jobs.events import Updates, Values, run_by_buttons
from components.jobs.prune import Follow
from components.places.speed.race.view import MOST_TOKENS, run_race
from components.places.speed.race.words import RIVALS, empty_lanes, race_note
from components.state.workspace import Workspace, finished_run
from components.tab import Tab, finished
from components.widgets.heading import panel_heading
from components.words.prompt import PROMPT


@dataclass(frozen=True, slots=True)
class Race:
    """The components of this panel that are filled, and its start."""

    start: gr.Button
    lanes: gr.HTML
    note: gr.HTML

    @property
    def tab(self) -> Tab:
        """What another run resets."""
        return Tab([self.lanes, self.note], self.render)

    def begin(self, follow: Follow, workspace: Workspace, words: str, tokens: float, against: str) -> Updates:
        """State, prompt, tokens and rival in; the note and the lanes out."""
        for drawn, message in run_race(follow, finished_run(workspace), words, tokens, against):
            yield {self.note: message, **({} if drawn is None else {self.lanes: drawn})}

    def render(self, workspace: Workspace) -> Values:
        """The lanes before a race; the note of a run in view."""
        run = finished(workspace)
        note = race_note(run) if run else ""
        return {self.lanes: empty_lanes(run), self.note: note}


def create_race_panel(state: gr.State) -> Race:
    """Fill the place at hand."""
    panel_heading("Race", "dense and packed write the same prompt")
    with gr.Row():
        prompt = gr.Textbox(PROMPT, label="Prompt", elem_id="race-prompt", max_length=2000, scale=3, min_width=240)
        rival = gr.Dropdown(
            [(label, name) for name, label in RIVALS.items()],
            value="zeros",
            label="Against",
            elem_id="race-rival",
            filterable=False,
            scale=2,
            min_width=200,
        )
        most = gr.Slider(16, MOST_TOKENS, 256, step=16, label="Tokens", elem_id="race-tokens", scale=2, min_width=200)
    with gr.Row():
        start = gr.Button("Start race", variant="primary", elem_id="race-start", min_width=120)
        stop = gr.Button("Stop race", elem_id="race-stop", interactive=False, min_width=120)
    lanes = gr.HTML(empty_lanes(None), elem_id="race", padding=False)
    note = gr.HTML(elem_id="race-note", padding=False)
    panel = Race(start, lanes, note)
    run_by_buttons(start, stop, panel.begin, [state, prompt, most, rival], [note, lanes])
    return panel
