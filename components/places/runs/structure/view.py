"""Which curves are in view; no gradio here."""

from collections.abc import Sequence
from functools import cache

from eggs_core.assets import ASSETS
from eggs_core.evaluation.structure import Curve, load_curves

SHIPPED = ASSETS / "structure" / "curves.json"  # written by benchmarks/structure.py


@cache
def curves() -> tuple[Curve, ...]:
    """All of them; raises EggsError if their file is missing or damaged."""
    return tuple(load_curves(SHIPPED))


def curves_of(model: str | None) -> Sequence[Curve]:
    """Those of a model, of the first one for any other name."""
    found = curves()
    shown = model if any(curve.model == model for curve in found) else found[0].model
    return [curve for curve in found if curve.model == shown]
