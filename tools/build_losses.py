"""Measure what each layer of the bundled models loses by the default method: what ships with the app for its plans.

python tools/build_losses.py
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from eggs_core.allocation.allocate import parse_candidates  # noqa: E402
from eggs_core.allocation.stored import SHIPPED, MeasuredLosses, measured_losses, save_losses  # noqa: E402
from eggs_core.allocation.table import USUAL  # noqa: E402
from eggs_core.config import make_config  # noqa: E402
from eggs_core.models.source import BUNDLED  # noqa: E402
from eggs_core.registry import DEFAULT_METHOD  # noqa: E402


def main() -> None:
    """Measure and save the losses of each bundled model."""
    SHIPPED.mkdir(exist_ok=True)
    for model in BUNDLED:
        for event in measured_losses(make_config(model, "2:4", DEFAULT_METHOD), parse_candidates(USUAL)):
            if isinstance(event, MeasuredLosses):
                print(f"{model}: {len(event.losses)} layers, {event.tokens:,} tokens")
                save_losses(event, SHIPPED / f"{model}-{DEFAULT_METHOD}.json")


if __name__ == "__main__":
    main()
