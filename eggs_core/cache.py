"""The one bounded cache: values by key, of which those used longest ago make room."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Bounded(Generic[K, V]):
    """At most `most` of what `total` counts, by default values; safe to share between threads.

    `total(values)` tells how much some values take together, in any unit, so that what they share can count once.
    `most` may be a function, which is asked at each change. With `keep_newest`, the value put last always stays.
    """

    def __init__(
        self,
        most: float | Callable[[], float],
        total: Callable[[Collection[V]], float] = len,
        *,
        keep_newest: bool = False,
    ) -> None:
        self._most, self._total, self._keep_newest = most, total, keep_newest
        self._kept: OrderedDict[K, V] = OrderedDict()
        self._making: dict[K, threading.Lock] = {}
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: K) -> V | None:
        """The value of a key, which counts as used now."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def put(self, key: K, value: V) -> None:
        """Keep a value; those used longest ago make room."""
        with self._lock:
            self._kept[key] = value
            self._kept.move_to_end(key)
            most = self._most() if callable(self._most) else self._most
            while len(self._kept) > self._keep_newest and self._total(self._kept.values()) > most:
                self._kept.popitem(last=False)

    def get_or_make(self, key: K, make: Callable[[], V]) -> V:
        """The value of a key, made if need be; who asks while it is being made waits. `make` runs without the lock."""
        if (found := self.get(key)) is not None:
            return found
        with self._lock:
            making = self._making.setdefault(key, threading.Lock())
        with making:
            try:
                if (found := self.get(key)) is None:
                    found = make()
                    self.put(key, found)
                return found
            finally:
                with self._lock:
                    self._making.pop(key, None)

    def forget(self, unwanted: Callable[[K], bool] = lambda _: True) -> None:
        """Let go of the values whose keys are unwanted, by default of all."""
        with self._lock:
            for key in [key for key in self._kept if unwanted(key)]:
                del self._kept[key]

    def used(self) -> float:
        """What the values take together."""
        with self._lock:
            return self._total(self._kept.values())
