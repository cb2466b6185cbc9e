"""What each part of EGGS-PTP+ is worth: the method with one part changed, against the method as it ships.

    python benchmarks/ablation.py [--quick] [--json FILE] [--models NAME ...] [--patterns N:M ...] [--variants V ...]

Perplexities are those of benchmarks/quality.py, on the same texts; every interval is a paired bootstrap over windows of
the mean over seeds. Finished cells are kept under build/quality, as there.
"""

import argparse
import contextlib
import statistics
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.outcome import conclude  # noqa: E402
from benchmarks.quality import known_cells, mean_nats, open_model, prune_and_score  # noqa: E402
from eggs_core.config import make_config  # noqa: E402
from eggs_core.evaluation.intervals import paired_ratio  # noqa: E402
from eggs_core.pruning import block_fit  # noqa: E402
from eggs_core.pruning import reconstruction as reconstruct  # noqa: E402
from eggs_core.registry import CUSTOM, METHODS  # noqa: E402

SHIPPED = "as shipped"
FIT = {"reconstruction": "admm-fit"}
# name -> (choices that differ from EGGS-PTP+, constants of eggs_core.pruning.reconstruction or block_fit that differ)
VARIANTS: dict[str, tuple[dict[str, str], dict[str, Any]]] = {
    SHIPPED: ({}, {}),
    "target: the layer's own output": ({"reconstruction": "admm"}, {}),
    "mask fixed before ADMM": ({}, {"CHOOSING": 0}),
    "penalty 1 throughout": ({}, {"PENALTY": (1.0, 1.0)}),
    "every output matters alike": ({}, {"EVENLY": 1.0}),
    "no ridge": ({}, {"RIDGE": 0.0}),
    "ridge 0.1": ({}, {"RIDGE": 0.1}),
    "60 iterations": ({}, {"ITERATIONS": 60, "CHOOSING": 50}),
    "no channel order": ({"permutation": "none"}, {}),
    "top-N instead of the degree bound": ({"selection": "topn"}, {}),
    "no reconstruction": ({"reconstruction": "none"}, {}),
    "gradient fit": (FIT, {}),
    "gradient fit, half the rate": (FIT, {"RATE": 0.005}),
    "gradient fit, twice the rate": (FIT, {"RATE": 0.02}),
    "gradient fit, 1 epoch": (FIT, {"EPOCHS": 1}),
    "gradient fit, 8 epochs": (FIT, {"EPOCHS": 8}),
}
QUICK = (SHIPPED, "target: the layer's own output", "no reconstruction")


@contextlib.contextmanager
def constants(changes: dict[str, Any]) -> Iterator[None]:
    """Other constants for ADMM and the fit; ADMM's defaults were bound when it was defined, so they are passed on."""
    own = reconstruct.admm
    given = {k.lower(): changes[k] for k in ("RIDGE", "ITERATIONS") if k in changes}
    with contextlib.ExitStack() as stack:
        for name, value in changes.items():
            module = block_fit if hasattr(block_fit, name) else reconstruct
            stack.enter_context(mock.patch.object(module, name, value))

        def changed(*a, **k):
            return own(*a, **given, **k)

        stack.enter_context(mock.patch.object(reconstruct, "admm", changed))
        yield


def measure(name: str, pattern: str, variant: str, seed: int, opened, cell: Callable) -> dict[str, Any]:
    """One cell: the perplexity and the window losses of one variant and seed."""
    choices, changes = VARIANTS[variant]
    chosen = {**METHODS["eggs-ptp-plus"].choices(), **choices}
    config = make_config(
        "tiny-llama" if name == "smollm2" else name, pattern, CUSTOM, seed=seed, **chosen, **opened.windows
    )

    def compute() -> dict[str, Any]:
        with constants(changes):
            return prune_and_score(opened.dense, config, opened.calibration, opened.evaluation)

    return cell(f"{pattern} {'eggs-ptp-plus' if variant == SHIPPED else variant} {seed}", compute)


def table(found: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """One row per variant, printed as it is made: perplexities by seed, and their ratio to the method as it ships."""
    print(f"{'variant':36} perplexity ± sd    ÷ as shipped            CPU s")
    made = []
    for variant, rows in found.items():
        values = [row["perplexity"] for row in rows]
        ratio = paired_ratio(mean_nats(found[SHIPPED]), mean_nats(rows)).to_dict()
        row = {
            "variant": variant,
            "perplexities": values,
            "perplexity": statistics.fmean(values),
            "sd": statistics.stdev(values) if len(values) > 1 else None,
            "ratio": ratio,
            "processor_seconds": statistics.fmean(r["processor_seconds"] for r in rows),
        }
        made.append(row)
        spread = "" if row["sd"] is None else f"± {row['sd']:.2f}"
        said = f"{ratio['value']:.3f} [{ratio['low']:.3f}, {ratio['high']:.3f}]"
        print(
            f"{variant:36} {row['perplexity']:8.2f} {spread:8}  {said:24} {row['processor_seconds']:4.0f}", flush=True
        )
    return made


def main() -> None:
    """Measure, print one table per model, and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="tiny-llama, seed 0, three variants")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--models", nargs="+", default=["tiny-llama", "tiny-opt"])
    parser.add_argument("--patterns", nargs="+", default=["2:4"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), help="beside the method as it ships")
    options = parser.parse_args()
    if options.quick:
        options.models, options.seeds, options.variants = ["tiny-llama"], [0], list(QUICK)
    variants = dict.fromkeys([SHIPPED, *(options.variants or VARIANTS)])
    tables: dict[str, list[dict[str, Any]]] = {}
    for name in options.models:
        opened, cell = open_model(name), known_cells(name)
        for pattern in options.patterns:
            found = {v: [measure(name, pattern, v, seed, opened, cell) for seed in options.seeds] for v in variants}
            print(f"\n{name} {pattern}, seeds {options.seeds}")
            tables[f"{name} {pattern}"] = table(found)
    conclude([], options.json, tables=tables)


if __name__ == "__main__":
    main()
