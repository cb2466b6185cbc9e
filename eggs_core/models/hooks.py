"""Hooks on modules, which are gone when their work is done."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from eggs_core.heavy import nn

if TYPE_CHECKING:
    from torch import Tensor
    from torch.utils.hooks import RemovableHandle

InputHook = Callable[["nn.Module", tuple["Tensor", ...]], None]  # sees a module and its input
OutputHook = Callable[["nn.Module", tuple["Tensor", ...], "Tensor"], "Tensor | None"]  # sees or changes its output


@contextmanager
def hooked(handles: Iterable[RemovableHandle]) -> Iterator[None]:
    """Hooks that are there inside the with statement and nowhere else; a generator registers them on entering."""
    with ExitStack() as stack:
        for handle in handles:
            stack.enter_context(handle)
        yield


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Parameters take no gradients inside the with statement, so that a backward pass gives those of outputs alone."""
    learning = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)
