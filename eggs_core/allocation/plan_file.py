"""A plan as the file that `eggs prune --plan` reads: YAML, with what is predicted of it in comments."""

from __future__ import annotations

from collections.abc import Iterator

from eggs_core.allocation.allocate import Allocated
from eggs_core.allocation.table import BUDGETS
from eggs_core.units import size


def plan_yaml(allocated: Allocated, budget: float, by: str) -> str:
    """The text of the file; the same plan gives the same text."""
    lines = [f"# {line}" for line in in_words(allocated, budget, by)]
    lines += [f"pattern: {allocated.plan.pattern}", "layers:" if allocated.plan.rules else "layers: []"]
    return "\n".join([*lines, *(f"- {rule}" for rule in allocated.plan.rules)]) + "\n"


def in_words(allocated: Allocated, budget: float, by: str) -> Iterator[str]:
    """What was asked, what is predicted, and how far from the best it may be; a line each."""
    found, plan, dense = allocated.sensitivities, allocated.plan.predicted, allocated.plan.dense
    yield (
        f"{found.model}, {found.method}: {len(found.layers)} layers within {budget:g} of their dense {BUDGETS[by]}, "
        f"by what each loses on {found.tokens:,} tokens"
    )
    yield f"predicted loss: +{plan.loss:.4g} nats a token"
    yield f"packed bytes: {plan.bytes:,} ({size(plan.bytes)}, {plan.bytes / dense.bytes:.2%} of dense)"
    yield f"kept weights: {plan.weights:,} ({plan.weights / dense.weights:.2%})"
    if plan.seconds is not None and dense.seconds:
        share = plan.seconds / dense.seconds
        yield f"time of the layers' products for a token: {plan.seconds * 1e3:.3g} ms ({share:.2%})"
    gap = allocated.plan.gap
    yield "no plan within the budget is predicted to lose less" + (f" by more than {gap:.2%}" if gap > 1e-6 else "")
