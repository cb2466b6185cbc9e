"""One contract for all panels: the components that they fill, and what these show of a workspace."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass

from gradio.blocks import Block

from components.jobs.events import Values
from components.state.drawings import draw_once
from components.state.workspace import Workspace
from eggs_core.runs.run import Run


@dataclass(frozen=True, slots=True)
class Tab:
    """Components that belong together, and the function that gives all their values for a workspace."""

    outputs: list[Block]
    render: Callable[[Workspace], Values]


def joined(tabs: Sequence[Tab]) -> Tab:
    """Several as one."""

    def render(workspace: Workspace) -> Values:
        return {component: value for tab in tabs for component, value in tab.render(workspace).items()}

    return Tab([component for tab in tabs for component in tab.outputs], render)


def drawn_once(outputs: Sequence[Block], runs: Iterable[Run], key: Hashable, make: Callable[[], Values]) -> Values:
    """What `make` gives for all of `outputs`; it is called once for these runs and this key, see `draw_once`."""

    def in_order() -> list:
        values = make()
        return [values[output] for output in outputs]

    return dict(zip(outputs, draw_once(runs, key, in_order), strict=True))


def finished(workspace: Workspace | None) -> Run | None:
    """The run in view, None while there is none or layers still arrive."""
    return workspace.run if workspace and workspace.finished else None
