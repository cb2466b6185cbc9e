"""How events are queued, and the pair of buttons that starts and stops long work."""

import time
from collections.abc import Callable, Iterator

import gradio as gr

from components.jobs import message
from components.session import Workspace
from eggs_core.errors import EggsError

CHEAP = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
HEAVY = {"concurrency_id": "heavy", "concurrency_limit": 2, "show_progress": "hidden", "api_visibility": "private"}
SETTLE_SECONDS = 0.6  # by then the last update of a stopped job has reached the page
WAITING = "Waiting for its turn…"


def buttons(running: bool) -> list:
    """Updates of a start and a stop button, while something runs or not."""
    return [gr.Button(interactive=not running), gr.Button(interactive=running)]


def start_stop(label: str, name: str) -> tuple[gr.Button, gr.Button]:
    """A row with a start and a stop button, #NAME-start and #NAME-stop."""
    with gr.Row():
        start = gr.Button(label, variant="primary", elem_id=f"{name}-start", min_width=160)
        stop = gr.Button("Stop", elem_id=f"{name}-stop", min_width=80, interactive=False)
    return start, stop


def run_by_buttons(
    start: gr.Button,
    stop: gr.Button,
    work: Callable[..., Iterator[list]],
    inputs: list,
    outputs: list,
    *,
    queue: dict = HEAVY,
    said: str = "Stopped.",
) -> None:
    """Let `start` run `work` in a queue, and `stop` end it after the step at hand, which is then `said`.

    The first input is the state. `work` yields values for `outputs`; the first of them shows progress and sentences; an
    EggsError goes there too. Gradio's own `cancels` is not used: it closes the connection that other events of the same
    page still wait on.
    """
    name, still = start.elem_id, [gr.skip()] * (len(outputs) - 1)

    def wait(workspace: Workspace) -> list:
        workspace.begin(name)
        return [*buttons(True), message(WAITING)]

    def run(workspace: Workspace, *values) -> Iterator[list]:
        token = workspace.jobs.get(name)
        steps = work(workspace, *values)
        try:
            if token is None:  # stopped while it waited
                return
            for drawn in steps:
                if not workspace.goes_on(name, token):
                    return
                yield [gr.skip(), gr.skip(), *drawn]
            yield [*buttons(False), gr.skip(), *still]
        except EggsError as error:
            yield [*buttons(False), message(str(error), bad=True), *still]
        finally:
            steps.close()
            if workspace.goes_on(name, token):
                workspace.end(name)

    def stopped(workspace: Workspace) -> list:
        workspace.end(name)
        time.sleep(SETTLE_SECONDS)
        return [*buttons(False), message(said)]

    waiting = start.click(wait, inputs[0], [start, stop, outputs[0]], **CHEAP)
    waiting.then(run, inputs, [start, stop, *outputs], **queue)
    stop.click(stopped, inputs[0], [start, stop, outputs[0]], **CHEAP)
