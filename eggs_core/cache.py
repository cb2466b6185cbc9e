"""The one bounded cache: values by key, of which those used longest ago make room."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(slots=True)
class _Making(Generic[V]):
    """A value that one thread makes while others wait for it; `made` holds it, or nothing if that failed."""

    done: threading.Event = field(default_factory=threading.Event)
    made: list[V] = field(default_factory=list)


class Bounded(Generic[K, V]):
    """At most `most` of what `total` counts, by default values; safe to share between threads.

    `total(values)` tells how much some values take together, in any unit, so that what they share can count once.
    `most` may be a function, which is asked at each change. `most_values` bounds their number besides. With
    `keep_newest`, the value put last always stays.
    """

    def __init__(
        self,
        most: float | Callable[[], float],
        total: Callable[[Collection[V]], float] = len,
        *,
        most_values: float = float("inf"),
        keep_newest: bool = False,
    ) -> None:
        self._most, self._total, self._most_values, self._keep_newest = most, total, most_values, keep_newest
        self._kept: OrderedDict[K, V] = OrderedDict()
        self._making: dict[K, _Making[V]] = {}
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, key: object) -> bool:
        return key in self._kept

    def get(self, key: K) -> V | None:
        """The value of a key, which counts as used now."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def items(self) -> dict[K, V]:
        """All values by key, those used longest ago first; none counts as used by that."""
        with self._lock:
            return dict(self._kept)

    def put(self, key: K, value: V) -> None:
        """Keep a value; those used longest ago make room."""
        with self._lock:
            self._kept[key] = value
            self._kept.move_to_end(key)
            most = self._most() if callable(self._most) else self._most
            while len(self._kept) > self._keep_newest and self._too_much(most):
                self._kept.popitem(last=False)

    def _too_much(self, most: float) -> bool:
        return len(self._kept) > self._most_values or self._total(self._kept.values()) > most

    def get_or_make(self, key: K, make: Callable[[], V]) -> V:
        """The value of a key, made if need be.

        `make` runs without the lock. Whoever asks while the value is being made waits and gets it too, even if it is
        too large to be kept; when `make` raises, the next one who waited tries anew.
        """
        while True:
            with self._lock:
                if key in self._kept:
                    self._kept.move_to_end(key)
                    return self._kept[key]
                others = self._making.get(key)
                if others is None:
                    mine = self._making[key] = _Making()
            if others is None:
                return self._make(key, make, mine)
            others.done.wait()
            if others.made:
                return others.made[0]

    def _make(self, key: K, make: Callable[[], V], making: _Making[V]) -> V:
        try:
            value = make()
            self.put(key, value)
            making.made.append(value)
            return value
        finally:
            with self._lock:
                del self._making[key]
            making.done.set()

    def forget(self, unwanted: Callable[[K], bool] = lambda _: True) -> None:
        """Let go of the values whose keys are unwanted, by default of all."""
        with self._lock:
            for key in [key for key in self._kept if unwanted(key)]:
                del self._kept[key]

    def used(self) -> float:
        """What the values take together, as `total` counts."""
        with self._lock:
            return self._total(self._kept.values())
