"""Where most harm is done, in one sentence."""

from itertools import pairwise

from components.words.html import escape, reading, term
from eggs_core.evaluation.by_part import BlockDrift, PartCost
from eggs_core.runs.run import Run


def breakdown_reading(run: Run, windows: int, drifts: list[BlockDrift], parts: list[PartCost]) -> str:
    """Where most harm is done, and how it adds up."""
    block, kind = (max((p for p in parts if p.kind == k), key=lambda p: p.ratio.value) for k in ("block", "projection"))
    steps = [b.error - a.error for a, b in pairwise(drifts)]
    jump = 1 + max(range(len(steps)), key=steps.__getitem__) if steps else 0
    evaluation = run.report["evaluation"]
    return reading(
        f"Block <b>{escape(block.name)}</b> alone costs most of all blocks ({100 * (block.ratio.value - 1):+.1f} %), "
        f"<b>{escape(kind.name)}</b> of all projections ({100 * (kind.ratio.value - 1):+.1f} % with {kind.share:.0%} "
        f"of the weights). Behind the last block hidden states are off by {drifts[-1].error:.0%} "
        f"({term('drift')}), their {term('cosine')} with the dense ones is {drifts[-1].cosine:.3f}; the largest step "
        f"is at block {jump + 1}. Measured on {windows} × {evaluation['window']} tokens of the held-out speeches.",
        "costs",
    )
