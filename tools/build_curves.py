"""Compute the trade-off curves over β that ship with the app: RIA with the exact degree bound, 2:4, bundled models.

python tools/build_curves.py
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from eggs_core.config import make_config  # noqa: E402
from eggs_core.models.source import BUNDLED  # noqa: E402
from eggs_core.pruning.beta_curve import CURVES, BetaCurve, beta_curve, save_curve  # noqa: E402


def main() -> None:
    """Compute and save one curve per bundled model."""
    for model in BUNDLED:
        for event in beta_curve(make_config(model, "2:4", "ria")):
            if isinstance(event, BetaCurve):
                point = event.points[-1]
                print(f"{model}: β {point.beta:.2f}, perplexity {point.perplexity:.2f}, gap {point.mean_gap:.4f}")
        save_curve(event, CURVES / f"{model}-2of4-ria.json")


if __name__ == "__main__":
    main()
