"""Rules that give layers a pattern of their own, as people write them: "mlp.down_proj=3:4", "blocks 1,30=dense"."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Protocol

from eggs_core.errors import EggsError
from eggs_core.pattern import NMPattern
from eggs_core.reading import MOST_YAML_BYTES, parse_yaml, read_text

DENSE = "dense"
MOST_RULES = 10_000  # a plan for a large mixture may need some for each of its experts
SEPARATOR = ";"  # of rules in one line
LONGEST_NAME = 24  # characters of a rule that can stand for its plan
_BLOCKS = re.compile(r"blocks?\s+([\d\s,–-]+?)(?:\s+(\S+))?", re.IGNORECASE)
_RANGE = re.compile(r"(\d{1,6})(?:\s*[-–]\s*(\d{1,6}))?")


class Placed(Protocol):
    """What a rule asks of a layer."""

    @property
    def name(self) -> str:
        """Its full name."""

    @property
    def block(self) -> int:
        """Its block, from 0."""

    @property
    def projection(self) -> str:
        """Its name in the block."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Which layers get which pattern; `pattern` is None for layers that stay dense.

    `layers` is a projection or a full name, both with * and ?, or "blocks 1,4-6", counted from 1, with a projection or
    without. `spans` are the first and last block of each range.
    """

    layers: str
    pattern: NMPattern | None
    glob: str
    spans: tuple[tuple[int, int], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Rule:
        """Read "LAYERS=N:M" or "LAYERS=dense"; raises EggsError with an example for anything else."""
        layers, sign, value = (part.strip() for part in str(text).rpartition("="))
        if not layers or not sign or len(layers) > 300 or not layers.isprintable():
            raise EggsError(
                f"A rule reads LAYERS=N:M or LAYERS=dense, such as mlp.down_proj=3:4 or 'blocks 1,30=dense'; got "
                f"{str(text)[:60]!r}."
            )
        pattern = parse_choice(value)
        found = _BLOCKS.fullmatch(layers)
        if found is None:
            return cls(layers, pattern, layers)
        spans = tuple(_span(part, layers) for part in found[1].split(","))
        return cls(layers, pattern, found[2] or "*", spans)

    def __str__(self) -> str:
        return f"{self.layers}={choice_text(self.pattern)}"

    @property
    def literal(self) -> bool:
        """Does it name one projection or layer, without * and ?"""
        return not any(sign in self.glob for sign in "*?[")

    def fits(self, name: str, block: int, projection: str) -> bool:
        """Is it for this layer? `block` is counted from 0, as modules are."""
        if self.spans and not any(first <= block + 1 <= last for first, last in self.spans):
            return False
        return fnmatchcase(projection, self.glob) or fnmatchcase(name, self.glob)


def parse_choice(text: str) -> NMPattern | None:
    """Read "N:M" or "50%", or "dense" as None; raises EggsError for anything else."""
    if text.strip().lower() == DENSE:
        return None
    pattern = NMPattern.parse(text)
    pattern.check_asked()
    return pattern


def choice_text(pattern: NMPattern | None) -> str:
    """The inverse of parse_choice."""
    return str(pattern or DENSE)


def plan_name(rules: Sequence[str]) -> str:
    """What tells a plan from others where there is little room: its only rule if that is short, else four digits."""
    if len(rules) == 1 and len(rules[0]) <= LONGEST_NAME:
        return rules[0]
    return f"plan {hashlib.sha256(SEPARATOR.join(rules).encode()).hexdigest()[:4]}" if rules else ""


def _span(part: str, layers: str) -> tuple[int, int]:
    found = _RANGE.fullmatch(part.strip())
    if found is None or not 1 <= int(found[1]) <= int(found[2] or found[1]):
        raise EggsError(f"Blocks are counted from 1, as in 'blocks 1,4-6'; got {layers[:60]!r}.")
    return int(found[1]), int(found[2] or found[1])


def read_plan(path: Path) -> dict[str, Any]:
    """A plan's file, YAML with `layers`, a list of rules, and perhaps `pattern`; raises EggsError for anything else."""
    try:
        found = parse_yaml(read_text(path, MOST_YAML_BYTES))
    except (OSError, ValueError) as error:
        raise EggsError(f"The plan {path} cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    if not isinstance(found, dict) or not found.keys() <= {"pattern", "layers"} or "layers" not in found:
        raise EggsError(f"The plan {path} must hold `layers`, a list of rules, and perhaps `pattern`.")
    return {**found, "layers": parse_rules(found["layers"])}


def parse_rules(texts: object) -> tuple[str, ...]:
    """Rules in order, each in its one spelling; raises EggsError for what is none."""
    if not isinstance(texts, list | tuple) or len(texts) > MOST_RULES:
        raise EggsError(f"Rules for layers are a list of at most {MOST_RULES} texts; got {str(texts)[:40]!r}.")
    return tuple(str(Rule.parse(text)) for text in texts)
