"""N:M sparsity patterns: in every group of M consecutive weights along in_features, N are kept."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from eggs_core.errors import EggsError

MAX_GROUP = 32


@dataclass(frozen=True, slots=True)
class NMPattern:
    """An N:M pattern that keeps `keep` of every `group` consecutive weights.

    An unstructured pattern, such as 50%, keeps that share of each whole row: the reference for what groups cost. Each
    layer's own is then N of its in_features, see `on`.

    >>> NMPattern.parse("1:4").sparsity
    0.75
    """

    keep: int
    group: int
    unstructured: bool = False  # a group is a whole row, whose width each layer tells

    def __post_init__(self) -> None:
        if self.keep < 1:
            raise EggsError(f"N:M keeps N weights of every M, so N must be at least 1; got {self}.")
        if self.keep > self.group:
            raise EggsError(f"N:M keeps N weights of every M, so N cannot exceed M; got {self}.")

    @classmethod
    def parse(cls, text: str | NMPattern) -> NMPattern:
        """Read "2:4" (or "2 : 4") or "50%"; raises EggsError for anything else."""
        return text if isinstance(text, NMPattern) else _parsed(str(text))

    def __str__(self) -> str:
        return f"{100 * self.density:g}%" if self.unstructured else f"{self.keep}:{self.group}"

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

    @property
    def packs(self) -> bool:
        """Is there a packed form? Positions are stored for groups of at most MAX_GROUP weights."""
        return not self.unstructured and self.group <= MAX_GROUP

    def on(self, in_features: int) -> NMPattern:
        """A layer's own pattern: of an unstructured one N of in_features, rounded, at least one weight of each row.

        >>> str(NMPattern.parse("50%").on(192))
        '96:192'
        """
        return NMPattern(max(1, round(self.density * in_features)), in_features) if self.unstructured else self

    def check_asked(self) -> None:
        """Raise EggsError for a group that is larger than what can be asked for."""
        if self.group > MAX_GROUP and not self.unstructured:
            raise EggsError(
                f"Groups hold at most {MAX_GROUP} weights; choose an M up to {MAX_GROUP} instead of {self}, or a share "
                "of each row, such as 50%."
            )

    def check_packs(self) -> None:
        """Raise EggsError for a pattern that has no packed form."""
        if not self.packs:
            raise EggsError(
                f"{self} is unstructured and has no packed form: a kept weight may stand anywhere in its row; choose "
                "an N:M pattern, such as 2:4."
            )

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
    if share := re.fullmatch(r"\s*(\d{1,3})\s*%\s*", text, re.ASCII):
        kept = Fraction(int(share[1]), 100)
        return NMPattern(kept.numerator, kept.denominator, unstructured=True)
    match = re.fullmatch(r"\s*(-?\d{1,9})\s*:\s*(-?\d{1,9})\s*", text, re.ASCII)
    if match is None:
        raise EggsError(
            f"Write the pattern as two whole numbers, N:M, for example 2:4, or as a share of each row, 50%; got "
            f"{text[:40]!r}."
        )
    return NMPattern(int(match[1]), int(match[2]))


Patterns = NMPattern | Mapping[str, NMPattern]  # one for all layers, or each layer's own by its name


def pattern_of(patterns: Patterns, name: str) -> NMPattern:
    """The pattern of the layer `name`."""
    return patterns if isinstance(patterns, NMPattern) else patterns[name]
