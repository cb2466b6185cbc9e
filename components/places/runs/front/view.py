"""Which measured front is in view; no gradio here."""

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
