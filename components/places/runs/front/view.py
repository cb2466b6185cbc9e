"""Which measured front is in view; no gradio here."""

import re

from components.state.fronts import fronts
from eggs_core.errors import EggsError
from eggs_core.evaluation.front import Front


def models() -> list[str]:
    """The models that were measured."""
    return [front.model for front in fronts()]


def front_named(model: str | None) -> Front:
    """A model's front, the first one for any other name; raises EggsError where there is none."""
    found = fronts()
    if not found:
        raise EggsError("No model was measured yet.")
    return next((front for front in found if front.model == model), found[0])


def front_of(model: str) -> str:
    """The name of the front that was measured with a model, whose name may say more; empty where there is none."""
    name = model.rsplit("/", 1)[-1]
    found = [front for front in models() if name == front or re.match(rf"{re.escape(front)}[^0-9A-Za-z]", name)]
    return max(found, key=len, default="")
