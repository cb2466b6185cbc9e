"""The dense models used last, bounded by memory, and their evaluations."""

import gc
import threading
from collections import OrderedDict
from typing import Any

from eggs_core.device import free_memory
from eggs_core.errors import OutOfMemory
from eggs_core.models.loading import LoadedModel, load

SHARE = 0.5  # of the memory that would be free without them, the models in the cache take at most this
EVALUATIONS = 64


class ModelCache:
    """Models by name; those used longest ago make room. Safe to share between threads.

    Loading one model does not hold up a look at another. A model in use outlives its eviction; `most_bytes` None is
    SHARE of what is free.
    """

    def __init__(self, most_bytes: int | None = None) -> None:
        self._most_bytes = most_bytes
        self._models: OrderedDict[str, LoadedModel] = OrderedDict()
        self._scores: OrderedDict[tuple, Any] = OrderedDict()
        self._loading: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    def get(self, name: str) -> LoadedModel:
        """The model of that name, loaded if need be; raises EggsError as `load` does."""
        if (found := self.loaded(name)) is not None:
            return found
        with self._lock:
            loading = self._loading.setdefault(name, threading.Lock())
        with loading:
            if (found := self.loaded(name)) is not None:  # another thread was faster
                return found
            try:
                found = load(name)
            except OutOfMemory:
                self._clear()
                found = load(name)
            self._keep(name, found)
        return found

    def loaded(self, name: str) -> LoadedModel | None:
        """The model of that name, if it is in memory and its files are as they were when it was loaded."""
        with self._lock:
            found = self._models.get(name)
            if found is not None and found.files is not None and not found.files.unchanged():
                self._forget(name)
                return None
            if found is not None:
                self._models.move_to_end(name)
            return found

    def _forget(self, name: str) -> None:
        del self._models[name]
        for key in [key for key in self._scores if key[0] == name]:
            del self._scores[key]

    def _keep(self, name: str, model: LoadedModel) -> None:
        with self._lock:
            self._models[name] = model
            self._loading.pop(name, None)
            most = self._most_bytes
            if most is None:
                most = SHARE * (free_memory(model.device) + self._bytes())
            while len(self._models) > 1 and self._bytes() > most:
                self._forget(next(iter(self._models)))

    def _bytes(self) -> int:
        return sum(model.nbytes for model in self._models.values())

    def _clear(self) -> None:
        with self._lock:
            self._models.clear()
            self._scores.clear()
        gc.collect()

    def scores(self, key: tuple) -> Any | None:
        """A dense model's evaluation, if it is known; the key begins with the model's name."""
        with self._lock:
            return self._scores.get(key)

    def remember(self, key: tuple, scores: Any) -> None:
        """Keep a dense model's evaluation; the oldest make room."""
        with self._lock:
            self._scores[key] = scores
            while len(self._scores) > EVALUATIONS:
                self._scores.popitem(last=False)


CACHE = ModelCache()
