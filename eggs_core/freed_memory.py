"""Memory that a program no longer uses, given back to the system; where the C library is not glibc, nothing happens."""

import ctypes
import sys
from functools import cache
from typing import Any

_MOST_ARENAS = -8  # M_ARENA_MAX of malloc.h
ARENAS = 2  # heaps that threads share; as many as eight for each core by default, each of which keeps what it once held


@cache
def _glibc() -> Any:
    """The C library, None if it has not what is needed here."""
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    return library if hasattr(library, "malloc_trim") and hasattr(library, "mallopt") else None


def share_heaps() -> None:
    """Let the threads of this process share a few heaps; to be called before there are many threads."""
    if _glibc():
        _glibc().mallopt(_MOST_ARENAS, ARENAS)


def return_freed_memory() -> None:
    """Give whole pages that lie free in this process's heaps back to the system (malloc_trim); takes milliseconds."""
    if _glibc():
        _glibc().malloc_trim(0)
