"""Hooks on modules, which are gone when their work is done."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

InputHook = Callable[[nn.Module, tuple[Tensor, ...]], None]  # sees a module and its input
OutputHook = Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]  # sees its output as well


@contextmanager
def hooked(handles: Iterable[RemovableHandle]) -> Iterator[None]:
    """Hooks that are there inside the with statement and nowhere else; a generator registers them on entering."""
    with ExitStack() as stack:
        for handle in handles:
            stack.enter_context(handle)
        yield
