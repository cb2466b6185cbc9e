"""The measured fronts that ship with the app; no gradio here."""

from functools import cache

from eggs_core.assets import ASSETS
from eggs_core.errors import EggsError
from eggs_core.evaluation.front import Front, load_fronts

SHIPPED = ASSETS / "fronts" / "fronts.json"  # written by benchmarks/front.py


@cache
def fronts() -> tuple[Front, ...]:
    """All fronts; raises EggsError if their file is missing or damaged."""
    return tuple(load_fronts(SHIPPED))


def models() -> list[str]:
    """The models that were measured."""
    return [front.model for front in fronts()]


def front_named(model: str | None) -> Front:
    """A model's front, the first one for any other name; raises EggsError where there is none."""
    found = fronts()
    if not found:
        raise EggsError("No model was measured yet.")
    return next((front for front in found if front.model == model), found[0])
