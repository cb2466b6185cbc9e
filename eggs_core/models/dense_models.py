"""The dense models used last, bounded by memory."""

from __future__ import annotations

import gc
from collections.abc import Callable, Collection
from typing import Protocol

from eggs_core.cache import Bounded
from eggs_core.device import best_device, free_memory
from eggs_core.errors import OutOfMemory
from eggs_core.heavy import torch
from eggs_core.models.loading import LoadedModel, load

SHARE = 0.5  # of the memory that would be free without them, the models in the cache take at most this


class Models(Protocol):
    """Where dense models come from."""

    def get(self, name: str) -> LoadedModel:
        """The model of that name; raises EggsError as `load` does."""


class ModelCache:
    """Models by name; those used longest ago make room. Safe to share between threads.

    While one model is loaded, others can be looked at. A model in use outlives its eviction. Without `most_bytes` the
    bound is SHARE of what is free.
    """

    def __init__(
        self,
        most_bytes: int | None = None,
        load: Callable[[str], LoadedModel] = load,
        free_memory: Callable[[torch.device], float] = free_memory,
    ) -> None:
        self._open, self._free_memory = load, free_memory
        most = self._share if most_bytes is None else most_bytes
        self._models: Bounded[str, LoadedModel] = Bounded(most, _bytes, keep_newest=True)

    def get(self, name: str) -> LoadedModel:
        """The model of that name, loaded if need be; raises EggsError as `load` does."""
        return self.loaded(name) or self._models.get_or_make(name, lambda: self._load(name))

    def loaded(self, name: str) -> LoadedModel | None:
        """The model of that name, if it is in memory and its files are as they were when it was loaded."""
        found = self._models.get(name)
        if found is not None and found.files is not None and not found.files.unchanged():
            self._models.forget(lambda key: key == name)
            return None
        return found

    def _load(self, name: str) -> LoadedModel:
        try:
            return self._open(name)
        except OutOfMemory:
            self._models.forget()
            gc.collect()
            return self._open(name)

    def keep(self, name: str, model: LoadedModel) -> None:
        """Put a model under a name; those used longest ago make room."""
        self._models.put(name, model)

    def _share(self) -> float:
        return SHARE * (self._free_memory(best_device()) + self._models.used())


def _bytes(models: Collection[LoadedModel]) -> int:
    return sum(model.nbytes for model in models)


CACHE = ModelCache()
