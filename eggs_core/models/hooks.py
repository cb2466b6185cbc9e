"""Hooks on modules, which are gone when their work is done."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

from torch.utils.hooks import RemovableHandle


@contextmanager
def hooked(handles: Iterable[RemovableHandle]) -> Iterator[None]:
    """Hooks that are there inside the with statement and nowhere else; a generator registers them on entering."""
    with ExitStack() as stack:
        for handle in handles:
            stack.enter_context(handle)
        yield
