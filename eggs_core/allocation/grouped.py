"""A plan's few rules: what most layers have as the default, what differs by projection and ranges of blocks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from eggs_core.allocation.table import Choice, LayerRow, sparsity_order
from eggs_core.errors import EggsError
from eggs_core.models.experts import expert_of
from eggs_core.pattern import NMPattern
from eggs_core.rules import Placed, choice_text

MOST_SPANS = 20  # in one rule, so that a person can read it


def grouped_rules(layers: Sequence[LayerRow], patterns: Mapping[str, Choice]) -> tuple[NMPattern, tuple[str, ...]]:
    """The default pattern and the rules that give each layer its own, as `rules_for` writes them.

    Layers that have no choice but dense need no rule. Raises EggsError if no layer is pruned.
    """
    free = [layer for layer in layers if len(layer.cells) > 1]
    default = _most_frequent(own for layer in free if (own := patterns.get(layer.name)) is not None)
    if default is None:
        raise EggsError("With this budget every layer stays dense, so there is nothing to plan; choose a smaller one.")
    return default, rules_for(free, patterns, default)


def rules_for(layers: Iterable[Placed], patterns: Mapping[str, Choice], default: Choice) -> tuple[str, ...]:
    """The rules that give each layer its own pattern, dense if it is not named, where all others have the default.

    First a rule for a projection of which no layer has the default, then exceptions by ranges of blocks. The experts of
    a mixture share a projection's rule, of which blocks and then single experts are the exceptions.
    """
    rows: dict[str, dict[int, dict[str, Choice]]] = {}  # projection, * for an expert -> block -> each layer's own
    for layer in layers:
        row = (expert_of(layer.projection) or (layer.projection,))[0]
        rows.setdefault(row, {}).setdefault(layer.block, {})[layer.projection] = patterns.get(layer.name)
    rules: list[str] = []
    for row, blocks in rows.items():
        choices = [choice for own in blocks.values() for choice in own.values()]
        main = default if default in choices else _most_frequent(choices)
        if main != default:
            rules.append(f"{row}={choice_text(main)}")
        by_block = {block: _most_frequent(own.values()) for block, own in blocks.items()}
        rules += _exceptions(row, by_block, dict.fromkeys(by_block, main))
        singles: dict[str, dict[int, Choice]] = {}
        for block, own in blocks.items():
            for projection, choice in own.items():
                if choice != by_block[block]:
                    singles.setdefault(projection, {})[block] = choice
        for projection, unlike in singles.items():
            rules += _exceptions(projection, unlike, by_block)
    return tuple(rules)


def _exceptions(projection: str, blocks: Mapping[int, Choice], usual: Mapping[int, Choice]) -> Iterator[str]:
    """Rules for the blocks whose choice is not the usual one there, those of one choice together."""
    unlike = {block: choice for block, choice in blocks.items() if choice != usual[block]}
    for choice in sorted(set(unlike.values()), key=sparsity_order):
        spans = list(_spans(block for block, own in unlike.items() if own == choice))
        for start in range(0, len(spans), MOST_SPANS):
            named = ",".join(spans[start : start + MOST_SPANS])
            yield f"blocks {named} {projection}={choice_text(choice)}"


def _most_frequent(choices: Iterable[Choice]) -> Choice:
    """The one that occurs most often, of equals the least sparse; None if there is none."""
    counts = Counter(choices)
    return min(counts, key=lambda choice: (-counts[choice], sparsity_order(choice)), default=None)


def _spans(blocks: Iterable[int]) -> Iterator[str]:
    """Blocks, counted from 0, as ranges that count from 1: 0, 2, 3, 4 as "1", "3-5"."""
    first = last = None
    for block in [*sorted(blocks), None]:
        if first is not None and last is not None and block != last + 1:
            yield str(first + 1) if first == last else f"{first + 1}-{last + 1}"
            first = None
        first, last = (block if first is None else first), block
