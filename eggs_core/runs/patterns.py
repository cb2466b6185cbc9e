"""The patterns of a run's layers, and how to say them where rules give some layers one of their own."""

from __future__ import annotations

from collections import Counter

from eggs_core.pattern import NMPattern
from eggs_core.report_types import LayerEntry, Report

MOST_NAMED = 3  # patterns beside the main one; more are counted together


def layer_pattern(layer: LayerEntry, report: Report) -> NMPattern:
    """The pattern of a layer of a report; early runs gave all layers one."""
    own = NMPattern.parse(layer.get("pattern", report["pattern"]))
    return own.on(layer["shape"][1]) if own.unstructured else own


def pattern_counts(report: Report) -> list[tuple[NMPattern, int]]:
    """Each pattern with the number of its layers: first the run's own if a layer has it, then the most frequent."""
    own = NMPattern.parse(report["pattern"])
    counts = Counter(_asked(layer_pattern(layer, report), layer, own) for layer in report["layers"])
    return sorted(counts.items(), key=lambda item: (item[0] != own, -item[1])) or [(own, 0)]


def _asked(pattern: NMPattern, layer: LayerEntry, own: NMPattern) -> NMPattern:
    """The pattern as a person asked for it: an unstructured run's own stands for N of each layer's width."""
    return own if own.unstructured and own.on(layer["shape"][1]) == pattern else pattern


def pattern_words(report: Report) -> str:
    """The pattern of most layers, and how many have which other: 2:4, with 3 layers at 3:4."""
    (main, _), *others = pattern_counts(report)
    return f"{main}, with {others_words(others)}" if others else str(main)


def pattern_label(report: Report) -> str:
    """The same where there is little room: 2:4 and others."""
    (main, _), *others = pattern_counts(report)
    return f"{main} and others" if others else str(main)


def others_words(others: list[tuple[NMPattern, int]]) -> str:
    """Layers whose pattern is not that of most: 3 layers at 3:4 and 1 layer at 1:4."""
    if len(others) > MOST_NAMED:
        return f"{sum(count for _, count in others):,} layers otherwise"
    parts = [f"{count:,} layer{'' if count == 1 else 's'} at {pattern}" for pattern, count in others]
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
