"""How long work tells where it stands, and one sentence when memory does not suffice."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from eggs_core.errors import OutOfMemory


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands: what it does now, the share done in 0..1, and the seconds left once they can be told."""

    text: str
    share: float
    seconds_left: float | None = None


@contextmanager
def memory_errors(what: str) -> Iterator[None]:
    """Turn an out-of-memory error of any device into one sentence."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise OutOfMemory(f"{what} ran out of memory; choose a smaller model, fewer or shorter windows.") from error
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):
            raise
        raise OutOfMemory(f"{what} ran out of memory; choose a smaller model, fewer or shorter windows.") from error
