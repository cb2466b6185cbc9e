"""What structure costs: perplexity at the same share of weights, from groups of four to whole rows."""

from dataclasses import dataclass
from pathlib import Path

from eggs_core.errors import EggsError
from eggs_core.evaluation.intervals import Interval
from eggs_core.pattern import NMPattern
from eggs_core.reading import read_json
from eggs_core.registry import METHODS
from eggs_core.validation import build


@dataclass(frozen=True, slots=True)
class Step:
    """One pattern of a curve: the perplexity of each seed, and their mean over that of the first pattern."""

    pattern: str
    perplexities: list[float]
    ratio: Interval  # paired over windows, each window's loss a mean over seeds

    @property
    def perplexity(self) -> float:
        """The mean over seeds."""
        return sum(self.perplexities) / len(self.perplexities)


@dataclass(frozen=True, slots=True)
class Curve:
    """One model pruned by one method to the same share, in groups that grow from step to step."""

    model: str
    method: str  # as the registry calls it
    text: str  # what was read, in words
    dense: float  # perplexity
    steps: list[Step]

    def won_back(self, step: Step) -> float:
        """The share of what the first groups cost against the last ones, in perplexity, that a step does without."""
        first, last = self.steps[0].perplexity, self.steps[-1].perplexity
        return (first - step.perplexity) / (first - last) if first != last else 0.0


def load_curves(file: Path) -> list[Curve]:
    """The curves of a file; raises EggsError if it is missing or damaged."""
    try:
        curves = [build(one, Curve) for one in read_json(file)]
        for curve in curves:
            patterns = [NMPattern.parse(step.pattern) for step in curve.steps]
            if len(patterns) < 2 or len({pattern.density for pattern in patterns}) != 1:
                raise EggsError("a curve needs at least two patterns of the same share")
            if curve.method not in METHODS or not all(step.perplexities for step in curve.steps):
                raise EggsError("a curve needs a known method, and a perplexity at each step")
    except (OSError, ValueError, TypeError, EggsError) as error:
        reason = getattr(error, "strerror", None) or str(error).rstrip(".")
        raise EggsError(f"The curves of {file.name} cannot be read ({reason}).") from error
    return curves
