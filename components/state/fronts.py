"""The measured fronts of pruning and quantising that ship with the app."""

from functools import cache

from eggs_core.assets import ASSETS
from eggs_core.evaluation.front import Front, load_fronts

SHIPPED = ASSETS / "fronts" / "fronts.json"  # written by benchmarks/front.py


@cache
def fronts() -> tuple[Front, ...]:
    """All fronts; raises EggsError if their file is missing or damaged."""
    return tuple(load_fronts(SHIPPED))
