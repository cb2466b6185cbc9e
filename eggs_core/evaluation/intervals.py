"""Paired differences and ratios with bootstrap intervals."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from eggs_core.errors import EggsError
from eggs_core.evaluation.perplexity import MOST_NATS


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its bootstrap 95 % interval."""

    value: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float]:
        """Plain values."""
        return asdict(self)


def paired_ratio(a: Sequence[float], b: Sequence[float], samples: int = 4000, seed: int = 0) -> Interval:
    """Perplexity of b over that of a on the same windows, with a bootstrap 95 % interval over windows.

    a, b: loss of each window in nats per token, in the same order. Raises EggsError if they differ in number.
    """
    found = paired_difference(a, b, samples, seed)
    return Interval(*(math.exp(min(x, MOST_NATS)) for x in (found.value, found.low, found.high)))


def paired_difference(a: Sequence[float], b: Sequence[float], samples: int = 4000, seed: int = 0) -> Interval:
    """Mean of b − a over the same items, with a bootstrap 95 % interval over items.

    Raises EggsError if they differ in number.
    """
    if len(a) != len(b) or not a:
        raise EggsError("Two results can be compared only on the same windows.")
    difference = np.asarray(b, dtype=np.float64) - np.asarray(a)
    draws = np.random.default_rng(seed).integers(0, len(a), (samples, len(a)))
    low, high = np.quantile(difference[draws].mean(1), [0.025, 0.975])
    return Interval(*(float(x) for x in (difference.mean(), low, high)))
