"""A model's decoder blocks, each at hand while it is loaded."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

from eggs_core.heavy import nn


class Blocks(Protocol):
    """A model's decoder blocks, each at hand while it is loaded; `path` is the name of their list in the model."""

    @property
    def path(self) -> str:
        """Where the model keeps them."""

    def __len__(self) -> int: ...

    def load_block(self, number: int) -> AbstractContextManager[nn.Module]:
        """The block, with its weights, for as long as the context lasts."""


@dataclass(frozen=True, slots=True)
class BlocksInMemory:
    """The blocks of a model that is in memory as a whole."""

    path: str
    modules: nn.ModuleList

    def __len__(self) -> int:
        return len(self.modules)

    def load_block(self, number: int) -> AbstractContextManager[nn.Module]:
        """The block itself, as it is always there."""
        return nullcontext(self.modules[number])
