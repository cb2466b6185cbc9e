"""How much disk the masks of a run take, and up to which size top-N masks are kept."""

from collections.abc import Iterable, Mapping

from eggs_core.masks.codes import bytes_per_row
from eggs_core.pattern import Patterns, pattern_of

MOST_TOPN = 10**9  # pruned weights of a run up to which its top-N masks are kept

REPORT_BYTES = 1 << 18  # of a report without its layers, and of a layer's entry and names

LAYER_BYTES = 1 << 11


def keeps_topn(shapes: Iterable[tuple[int, int]]) -> bool:
    """Does a run with layers of these (out, in) shapes keep its top-N masks?"""
    return sum(rows * columns for rows, columns in shapes) <= MOST_TOPN


def needed_bytes(shapes: Mapping[str, tuple[int, int]], patterns: Patterns) -> int:
    """At most so many bytes of disk a run takes whose layers have these (out, in) shapes, by name."""
    masks = sum(rows * bytes_per_row(columns, pattern_of(patterns, name)) for name, (rows, columns) in shapes.items())
    orders = sum(4 * columns for _, columns in shapes.values())
    return masks * (2 if keeps_topn(shapes.values()) else 1) + orders + LAYER_BYTES * len(shapes) + REPORT_BYTES
