"""Timing by alternation: medians and quartiles of functions that take turns, at a stated thread count."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from eggs_core.errors import EggsError
from eggs_core.report_types import Timing


@dataclass(frozen=True, slots=True)
class Quartiles:
    """Median and quartiles of repeated timings (seconds, unless said otherwise), and how many there were."""

    median: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, seconds: Iterable[float]) -> "Quartiles":
        """Summarise timings; raises EggsError when there are none."""
        ordered = torch.tensor(sorted(seconds), dtype=torch.float64)
        if not len(ordered):
            raise EggsError("There are no timings to summarise.")
        low, median, high = torch.quantile(ordered, torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)).tolist()
        return cls(median, low, high, len(ordered))

    def to_dict(self) -> Timing:
        """Plain values, ready for JSON."""
        return {"median": self.median, "low": self.low, "high": self.high, "count": self.count}


@contextmanager
def thread_count(threads: int | None) -> Iterator[int]:
    """Run a with block on that many torch threads (None: as it is); the setting is this process's."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield threads or before
    finally:
        torch.set_num_threads(before)


def alternate(
    functions: Mapping[str, Callable[[], object]], *, rounds: int = 30, seconds: float = 2.0, warm_up: int = 3
) -> dict[str, Quartiles]:
    """Time each function in turn, round after round, until `rounds` or `seconds` are used up (3 rounds at least)."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(warm_up):
        for function in functions.values():
            function()
    begin = time.perf_counter()
    for done in range(rounds):
        if done >= 3 and time.perf_counter() - begin > seconds:
            break
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            times[name].append(time.perf_counter() - start)
    return {name: Quartiles.of(values) for name, values in times.items()}
