"""What the composer needs to know of a tab."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gradio.components import Component

from components.state.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Tab:
    """Components that a tab fills, and the function that gives their values for a workspace, in the same order."""

    outputs: list[Component]
    render: Callable[[Workspace], list[Any]]
    growing: Callable[[Workspace], list[Any]] | None = None  # values of the first outputs while layers still arrive
