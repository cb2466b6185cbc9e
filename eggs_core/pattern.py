"""N:M sparsity patterns: in every group of M consecutive weights along in_features, N are kept."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from eggs_core.errors import EggsError

MAX_GROUP = 32


@dataclass(frozen=True, slots=True)
class NMPattern:
    """An N:M pattern that keeps `keep` of every `group` consecutive weights.

    >>> NMPattern.parse("1:4").sparsity
    0.75
    """

    keep: int
    group: int

    def __post_init__(self) -> None:
        if self.keep < 1:
            raise EggsError(f"N:M keeps N weights of every M, so N must be at least 1; got {self}.")
        if self.keep > self.group:
            raise EggsError(f"N:M keeps N weights of every M, so N cannot exceed M; got {self}.")
        if self.group > MAX_GROUP:
            raise EggsError(
                f"Groups hold at most {MAX_GROUP} weights; choose an M up to {MAX_GROUP} instead of {self}."
            )

    @classmethod
    def parse(cls, text: str | NMPattern) -> NMPattern:
        """Read "2:4" (or "2 : 4"); raises EggsError for anything that is not two whole numbers."""
        return text if isinstance(text, NMPattern) else _parsed(str(text))

    def __str__(self) -> str:
        return f"{self.keep}:{self.group}"

    @property
    def density(self) -> float:
        """Share of weights kept, N/M."""
        return self.keep / self.group

    @property
    def sparsity(self) -> float:
        """Share of weights pruned, 1 − N/M."""
        return 1 - self.keep / self.group

    @property
    def position_bits(self) -> int:
        """Bits that one kept weight's position in its group takes, ⌈log₂ M⌉."""
        return (self.group - 1).bit_length()

    def groups(self, in_features: int) -> int:
        """Number of groups in a row of `in_features` weights that the pattern divides."""
        return in_features // self.group

    def check(self, name: str, shape: Sequence[int]) -> None:
        """Raise EggsError, naming the layer, unless M divides in_features; `shape` is (out_features, in_features)."""
        out_features, in_features = shape
        if in_features % self.group:
            raise EggsError(
                f"Pattern {self} needs in_features divisible by {self.group}, but layer {name} has shape "
                f"({out_features}, {in_features}) and {in_features} = {in_features // self.group} × {self.group} + "
                f"{in_features % self.group}; choose an M that divides {in_features}."
            )


@lru_cache(maxsize=256)  # reports of thousands of layers name the same few
def _parsed(text: str) -> NMPattern:
    match = re.fullmatch(r"\s*(-?\d{1,9})\s*:\s*(-?\d{1,9})\s*", text, re.ASCII)
    if match is None:
        raise EggsError(f"Write the pattern as two whole numbers, N:M, for example 2:4; got {text[:40]!r}.")
    return NMPattern(int(match[1]), int(match[2]))


Patterns = NMPattern | Mapping[str, NMPattern]  # one for all layers, or each layer's own by its name


def pattern_of(patterns: Patterns, name: str) -> NMPattern:
    """The pattern of the layer `name`."""
    return patterns if isinstance(patterns, NMPattern) else patterns[name]
