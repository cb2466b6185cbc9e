"""How events are queued, and the pair of buttons that starts and stops heavy work."""

import logging
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component
from gradio.data_classes import GradioModel, GradioRootModel
from gradio.utils import is_prop_update

from components.jobs.messages import message, refusal
from components.jobs.queue import QUEUE, Withdrawn
from components.state.workspace import Workspace
from eggs_core.errors import EggsError

WATCHERS = 160  # pages that can watch heavy work at once, each in a thread that mostly sleeps
THREADS = WATCHERS + 40  # of the server: the rest answers cheap events
# The page tells every component that an event may fill how the event stands, some 100 of them at each click, unless
# there is none to tell.
QUIET = {"show_progress": "hidden", "show_progress_on": [], "api_visibility": "private"}
# What a person does while an earlier event is under way is answered after it: gradio by itself would drop it.
CHEAP = {"queue": False, "trigger_mode": "always_last", **QUIET}
ONCE = {**CHEAP, "trigger_mode": "once"}  # of a button whose second click means nothing
# For listeners that read an event's data: "always_last" would give them the data of the first event again. They are all
# answered, side by side; `Workspace.in_turn` tells those that come too late.
EACH = {**CHEAP, "trigger_mode": "multiple"}
FINISHED = {**CHEAP, "postprocess": False}  # the listener's values have gone through `finish`
WATCH = {"concurrency_id": "watch", "concurrency_limit": WATCHERS, "postprocess": False, **QUIET}
SETTLE_SECONDS = 0.6  # by then the last update of a stopped job has reached the page
log = logging.getLogger(__name__)


def finish(outputs: list[Component], values: list) -> list:
    """Values as they are sent to the page; gradio itself would go to another thread for each of them."""
    return [_finish(output, value) for output, value in zip(outputs, values, strict=True)]


def _finish(output: Component, value: Any) -> Any:
    if isinstance(value, Block):  # new properties, of which the value is one
        output, value = value, {**value.constructor_args, "__type__": "update"}
    if is_prop_update(value):
        return {**value, "value": _finish(output, value["value"])} if "value" in value else value
    sent = output.postprocess(value) if isinstance(output, Component) else value
    return sent.model_dump() if isinstance(sent, GradioModel | GradioRootModel) else sent


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
    starts: dict[Callable, Callable[..., Iterator[list]]] | None = None,
    stops: tuple[Callable, ...] = (),
    stopped: Callable[[Workspace], list] | None = None,
) -> None:
    """Let `start` begin `work`, and `stop` end it at once.

    The first input is the state. `work(follow, workspace, *values)` yields values for `outputs`, the first of which
    shows progress and sentences, an EggsError's too; `follow` is how it puts heavy work into the queue. `starts` maps
    further listeners to the work that they begin, `stops` are further ones that end it, and `stopped` gives the values
    of the outputs after a stop. Gradio's own `cancels` is not used: it closes the connection that other events of the
    same page still wait on. What follows a work often should have few outputs and skip none: gradio builds a component
    anew for each one that is skipped.
    """
    name, still = start.elem_id, [gr.skip()] * (len(outputs) - 1)

    def begin(workspace: Workspace) -> list:
        workspace.begin(name)
        return buttons(True)

    def run(work: Callable[..., Iterator[list]], workspace: Workspace, *values) -> Iterator[list]:
        token = workspace.jobs.get(name)
        steps, filled = work(partial(QUEUE.follow, who=token), workspace, *values), False
        try:
            for drawn in steps if token is not None else ():  # it may have been stopped before it began
                if not workspace.goes_on(name, token):
                    break
                filled = True
                yield finish(outputs, drawn)
        except Withdrawn:  # Stop, or a newer start, has said what is to be said
            pass
        except Exception as error:
            if not isinstance(error, EggsError):
                log.exception("%s failed", name)
            filled = True
            yield [refusal(error), *still]
        finally:
            steps.close()
            if workspace.goes_on(name, token):
                workspace.end(name)
        if not filled:
            yield [gr.skip(), *still]  # a generator without any value would empty its outputs

    def end(workspace: Workspace) -> list:
        QUEUE.withdraw(workspace.end(name))
        time.sleep(SETTLE_SECONDS)
        return [*buttons(False), *(stopped(workspace) if stopped else [message("Stopped."), *still])]

    both = [start, stop]
    for listen, begun in {start.click: work, **(starts or {})}.items():
        began = listen(begin, inputs[0], both, **ONCE)
        began.then(_generator(partial(run, begun)), inputs, outputs, **WATCH).then(
            lambda workspace: buttons(name in workspace.jobs), inputs[0], both, **CHEAP
        )
    for listen in (stop.click, *stops):
        listen(end, inputs[0], [*both, *outputs], **ONCE)


def _generator(run: Callable[..., Iterator[list]]) -> Callable[..., Iterator[list]]:
    def handler(*values) -> Iterator[list]:
        yield from run(*values)

    return handler
