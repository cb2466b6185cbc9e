"""What a sweep's figures say: cells grouped over seeds, the Pareto front, and which differences are beyond chance."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from eggs_core.config import PruneConfig
from eggs_core.errors import EggsError
from eggs_core.evaluation.intervals import Interval, paired_ratio
from eggs_core.sweep.results import Cell, Sweep


@dataclass(frozen=True, slots=True)
class Group:
    """The finished cells of one model, pattern, method and β: they differ in their seeds alone."""

    model: str
    pattern: str
    label: str
    cells: tuple[Cell, ...]
    ms_per_token: float | None  # decoding with packed weights, median
    dense_ms: float | None  # and the dense model's in the same measurement

    @property
    def time_ratio(self) -> float | None:
        """Time per token, packed, over the dense model's in the same alternation."""
        return self.ms_per_token / self.dense_ms if self.ms_per_token and self.dense_ms else None

    @property
    def config(self) -> PruneConfig:
        """The configuration of its first seed."""
        return self.cells[0].config

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds that are here."""
        return tuple(cell.config.seed for cell in self.cells)

    @property
    def nats(self) -> np.ndarray:
        """Loss of each window in nats per token, mean over seeds, (windows,)."""
        return self.over(self.seeds)

    def over(self, seeds: tuple[int, ...]) -> np.ndarray:
        """As nats, over some of the seeds."""
        return np.mean([cell.figures["window_nats"] for cell in self.cells if cell.config.seed in seeds], axis=0)

    def mean(self, figure: str) -> float:
        """One of the cells' figures, mean over seeds."""
        return float(np.mean([cell.figures[figure] for cell in self.cells]))

    @property
    def perplexity(self) -> float:
        """Perplexity, mean over seeds."""
        return self.mean("perplexity")

    @property
    def deviation(self) -> float:
        """Standard deviation of the perplexity over seeds; 0 for one seed."""
        values = [cell.figures["perplexity"] for cell in self.cells]
        return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0

    @property
    def packed_bytes(self) -> float:
        """Bytes of the packed model; equal for all seeds."""
        return self.mean("packed_bytes")

    @property
    def spread(self) -> tuple[float, float]:
        """The lowest and the highest perplexity of a seed."""
        values = [cell.figures["perplexity"] for cell in self.cells]
        return min(values), max(values)


def label_of(config: PruneConfig) -> str:
    """The method's name for people, a custom combination spelled out, with β where it is set."""
    return config.in_words()


def groups(sweep: Sweep, model: str, **wanted: Any) -> list[Group]:
    """The groups of a model's finished cells in the grid's order; `wanted` pattern, label, seed limit them."""
    found: dict[tuple[str, str], list[Cell]] = {}
    for cell in sweep.cells:
        config = cell.config
        pattern, label = str(config.pattern), label_of(config)
        values = {"pattern": pattern, "label": label, "seed": config.seed}
        if cell.finished and config.model == model and all(values[k] in v for k, v in wanted.items() if v):
            found.setdefault((pattern, label), []).append(cell)
    made = []
    for (pattern, label), cells in found.items():
        row = sweep.speed(cells[0])
        ms = [row["ms_per_token"][side]["median"] for side in ("packed", "dense")] if row else [None, None]
        made.append(Group(model, pattern, label, tuple(cells), *ms))
    return made


def pareto_front(costs: np.ndarray) -> np.ndarray:
    """Which points no other point beats: bool (points,), of costs (points, objectives), lower is better in each.

    A point is beaten by one that is no worse in every objective and better in one; of equal points all stay.
    """
    costs = np.asarray(costs, dtype=np.float64)
    no_worse = (costs[:, None] <= costs[None]).all(2)  # [i, j]: i is no worse than j
    better = (costs[:, None] < costs[None]).any(2)
    return np.asarray(~(no_worse & better).any(0))


def against(group: Group, baseline: Group) -> tuple[Interval, int]:
    """Perplexity of a group over that of a baseline with its 95 % interval, and the number of seeds that both have.

    Windows are paired: each one's loss is averaged over the common seeds, and windows are drawn anew by the bootstrap.
    Raises EggsError if no seed is common.
    """
    seeds = tuple(seed for seed in group.seeds if seed in baseline.seeds)
    if not seeds:
        raise EggsError(f"{group.label} and {baseline.label} have no seed in common at {group.pattern}.")
    return paired_ratio(list(baseline.over(seeds)), list(group.over(seeds))), len(seeds)
