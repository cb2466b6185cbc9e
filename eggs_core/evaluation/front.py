"""Prune or quantise: perplexity against bytes, the points that no other beats, and pruning beside plain bits."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from eggs_core.errors import EggsError
from eggs_core.evaluation.intervals import Interval, paired_ratio
from eggs_core.reading import read_json
from eggs_core.validation import build

EVERY_WEIGHT = "1:1"  # the pattern of what is not pruned
HALF = "2:4"  # the pattern that every picture shows, however much it costs
FEW_BITS = 3.5  # bits a weight up to which one asks whether pruning and rounding together win
OURS, LLAMA_CPP = "EGGS Explorer", "llama.cpp"


@dataclass(frozen=True, slots=True)
class Point:
    """One way to store a model: its name, who made it, its pattern, and what it takes and reaches."""

    name: str
    maker: str
    pattern: str
    bits: float  # for each weight of the decoder's linear layers, with positions and scales
    bytes: int  # of the whole model; embedding and head have 8 bits where the layers have 8.5 or fewer, else 16
    perplexity: float
    window_nats: list[float]  # nats per token of each window
    tokens_per_s: float | None = None
    whole_inputs: float | None = None  # perplexity where the inputs of products are not rounded, as kernels round them

    @property
    def pruned(self) -> bool:
        """Are weights left out?"""
        return self.pattern != EVERY_WEIGHT


@dataclass(frozen=True, slots=True)
class Front:
    """All points of one model on the same windows, measured on one machine."""

    model: str
    weights: str  # how the model's own files keep them
    text: str  # what was read, in words
    machine: str
    method: str  # what pruned and re-fitted our points
    points: list[Point]

    @property
    def dense(self) -> Point:
        """The model as it is."""
        return max((p for p in self.points if not p.pruned and p.maker == OURS), key=lambda p: p.bits)


def highest(front: Front, times: float) -> float:
    """The perplexity up to which a picture shows points: so many times the dense one, or that of HALF."""
    return max([times * front.dense.perplexity, *(p.perplexity for p in front.points if p.pattern == HALF)])


def leaders(points: Sequence[Point]) -> list[Point]:
    """The points that no other beats in both perplexity and bytes, from the smallest to the largest."""
    found: list[Point] = []
    for point in sorted(points, key=lambda p: (p.bytes, p.perplexity)):
        if not found or point.perplexity < found[-1].perplexity:
            found.append(point)
    return found


def beside_plain(point: Point, points: Sequence[Point], maker: str = OURS) -> Interval | None:
    """Perplexity of a pruned point over that of plain quantisation with as many bits, with a 95 % interval.

    Between two numbers of bits plain quantisation is taken to lie on the line of their losses, as if some layers had
    the one and some the other. None outside of what the maker's plain points span.
    """
    plain = sorted((p for p in points if not p.pruned and p.maker == maker), key=lambda p: p.bits)
    below = [p for p in plain if p.bits <= point.bits]
    above = [p for p in plain if p.bits >= point.bits]
    if not below or not above:
        return None
    low, high = below[-1], above[0]
    share = 0.0 if high.bits == low.bits else (point.bits - low.bits) / (high.bits - low.bits)
    between = [(1 - share) * a + share * b for a, b in zip(low.window_nats, high.window_nats, strict=True)]
    return paired_ratio(between, point.window_nats)


def best_beside_plain(front: Front, most_bits: float) -> tuple[Interval, Point] | None:
    """Of the pruned points of at most so many bits the one that comes off best beside plain quantisation, and how."""
    few = [point for point in front.points if point.pruned and point.bits <= most_bits]
    found = [(ratio, point) for point in few if (ratio := beside_plain(point, front.points))]
    return min(found, key=lambda pair: pair[0].value, default=None)


def load_fronts(file: Path) -> list[Front]:
    """The fronts of a file; raises EggsError if it is missing or damaged."""
    try:
        fronts = [build(one, Front) for one in read_json(file)]
        for front in fronts:
            if len({len(p.window_nats) for p in front.points}) != 1 or not front.points:
                raise EggsError("its points were not measured on the same windows")
            front.dense  # noqa: B018 - there must be one
    except (OSError, ValueError, TypeError, EggsError) as error:
        reason = getattr(error, "strerror", None) or str(error).rstrip(".")
        raise EggsError(f"The fronts of {file.name} cannot be read ({reason}).") from error
    return fronts
