"""How events are queued, and the pair of buttons that starts and stops heavy work."""

import logging
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component
from gradio.context import LocalContext
from gradio.data_classes import GradioModel, GradioRootModel
from gradio.utils import is_prop_update

from components.jobs.messages import message, refusal
from components.jobs.queue import QUEUE
from components.jobs.work import Withdrawn
from components.state.workspace import Workspace
from eggs_core.errors import EggsError

WATCHERS = 160  # pages that can watch heavy work at once, each in a thread that mostly sleeps
THREADS = WATCHERS + 40  # of the server: the rest answers cheap events
# The page tells every component that an event may fill how the event stands, some 100 of them at each click, unless
# there is none to tell.
QUIET: dict[str, Any] = {"show_progress": "hidden", "show_progress_on": [], "api_visibility": "private"}
# What a person does while an earlier event is under way is answered after it: gradio by itself would drop it.
CHEAP: dict[str, Any] = {"queue": False, "trigger_mode": "always_last", **QUIET}
ONCE: dict[str, Any] = {**CHEAP, "trigger_mode": "once"}  # of a button whose second click means nothing
# For listeners that read an event's data: "always_last" would give them the data of the first event again. They are all
# answered, side by side; `Workspace.in_turn` tells those that come too late.
EACH: dict[str, Any] = {**CHEAP, "trigger_mode": "multiple"}
FINISHED: dict[str, Any] = {**CHEAP, "postprocess": False}  # the listener's values have gone through `finish`
WATCH: dict[str, Any] = {"concurrency_id": "watch", "concurrency_limit": WATCHERS, "postprocess": False, **QUIET}
SETTLE_SECONDS = 0.6  # by then the last update of a stopped job has reached the page
log = logging.getLogger(__name__)

Values = dict[Block, Any]  # a component -> its new value, or a component that holds its new properties
Updates = Generator[Values, None, None]  # what a page shows of a work, value after value
Watched = Callable[..., Updates]


def alike(components: Iterable[Block], value: Any = None) -> Values:
    """The same value for several components; None empties them."""
    return dict.fromkeys(components, value)


def finish(outputs: Sequence[Block], values: Values) -> list[Any]:
    """Values in the order of `outputs`, as they are sent to the page; an output without a value stays as it is.

    Gradio itself would go to another thread for each of them. Raises ValueError for a value of no output.
    """
    if stray := values.keys() - set(outputs):
        raise ValueError(f"no outputs of this event: {stray}")
    return [_finish(output, values[output]) if output in values else gr.skip() for output in outputs]


def _finish(output: Block, value: Any) -> Any:
    if isinstance(value, Block):  # new properties, of which the value is one
        output, value = value, {**value.constructor_args, "__type__": "update"}
    if is_prop_update(value):
        return {**value, "value": _finish(output, value["value"])} if "value" in value else value
    sent = output.postprocess(value) if isinstance(output, Component) else value
    return sent.model_dump() if isinstance(sent, GradioModel | GradioRootModel) else sent


def buttons(start: gr.Button, stop: gr.Button, running: bool) -> Values:
    """Updates of a start and a stop button, while something runs or not."""
    return {start: gr.Button(interactive=not running), stop: gr.Button(interactive=running)}


def start_stop(label: str, name: str) -> tuple[gr.Button, gr.Button]:
    """A row with a start and a stop button, #NAME-start and #NAME-stop."""
    with gr.Row():
        start = gr.Button(label, variant="primary", elem_id=f"{name}-start", min_width=160)
        stop = gr.Button("Stop", elem_id=f"{name}-stop", min_width=80, interactive=False)
    return start, stop


def run_by_buttons(
    start: gr.Button,
    stop: gr.Button,
    work: Watched,
    inputs: Sequence[Block],
    outputs: Sequence[Block],
    *,
    starts: Mapping[Callable[..., Any], Watched] | None = None,
    stops: tuple[Callable[..., Any], ...] = (),
    stopped: Callable[[Workspace], Values] | None = None,
) -> None:
    """Let `start` begin `work`, and `stop` end it at once.

    The first input is the state. `work(follow, workspace, *values)` yields values for `outputs`, the first of which
    shows progress and sentences, an EggsError's too; `follow` is how it puts heavy work into the queue. `starts` maps
    further listeners to the work that they begin, `stops` are further ones that end it, and `stopped` gives the values
    of the outputs after a stop, and beside a refusal. Gradio's own `cancels` is not used: it closes the connection that
    other events of the same page still wait on. What follows a work often should have few outputs and skip none: gradio
    builds a component anew for each one that is skipped.
    """
    job = _Job(start, stop, outputs, stopped or (lambda _workspace: {outputs[0]: message("Stopped.")}))
    both = [start, stop]
    for listen, begun in {start.click: work, **(starts or {})}.items():
        began = listen(job.begin, inputs[0], both, **ONCE)
        ran = began.then(_generator(partial(job.run, begun)), inputs, outputs, **WATCH)
        ran.success(job.show_buttons, inputs[0], both, **CHEAP)
        ran.failure(job.give_up, inputs[0], both, **CHEAP)
    for listen in (stop.click, *stops):
        listen(job.end, inputs[0], [*both, *outputs], **ONCE)


@dataclass(frozen=True, slots=True)
class _Job:
    """What a pair of buttons starts and stops; its name is that of the start button."""

    start: gr.Button
    stop: gr.Button
    outputs: Sequence[Block]
    stopped: Callable[[Workspace], Values]

    @property
    def name(self) -> str:
        return str(self.start.elem_id)

    def begin(self, workspace: Workspace) -> Values:
        workspace.begin(self.name)
        return buttons(self.start, self.stop, True)

    def run(self, work: Watched, workspace: Workspace, *values: Any) -> Iterator[list[Any]]:
        if self.name not in workspace.begun:  # the server has forgotten this page since its button was pressed
            workspace.begin(self.name)
        token = workspace.jobs.get(self.name)
        steps, filled = work(partial(QUEUE.follow, who=token, owner=visitor()), workspace, *values), False
        try:
            for drawn in steps if token is not None else ():  # it may have been stopped before it began
                if not workspace.goes_on(self.name, token):
                    break
                filled = True
                yield finish(self.outputs, drawn)
        except Withdrawn:  # Stop, or a newer start, has said what is to be said
            pass
        except Exception as error:
            if not isinstance(error, EggsError):
                log.exception("%s failed", self.name)
            filled = True
            self._over(workspace, token)
            yield finish(self.outputs, self.stopped(workspace) | {self.outputs[0]: refusal(error)})
        finally:
            steps.close()
            self._over(workspace, token)
        if not filled:
            yield finish(self.outputs, {})  # a generator without any value would empty its outputs

    def _over(self, workspace: Workspace, token: object) -> None:
        if workspace.goes_on(self.name, token):
            workspace.end(self.name)

    def show_buttons(self, workspace: Workspace) -> Values:
        return buttons(self.start, self.stop, self.name in workspace.jobs)

    def give_up(self, workspace: Workspace) -> Values:
        """After values that no control may have, so that `run` never began, and after a lost connection."""
        QUEUE.withdraw(workspace.end(self.name))
        return buttons(self.start, self.stop, False)

    def end(self, workspace: Workspace) -> Values:
        values = self.give_up(workspace)
        time.sleep(SETTLE_SECONDS)
        return values | self.stopped(workspace)


def visitor() -> str | None:
    """The session of the page or program whose event is answered in this thread."""
    request = LocalContext.request.get(None)
    return getattr(request, "session_hash", None)


def _generator(run: Callable[..., Iterator[list[Any]]]) -> Callable[..., Iterator[list[Any]]]:
    def handler(*values: Any) -> Iterator[list[Any]]:
        yield from run(*values)

    return handler
