"""What structure costs: perplexity at the same share of weights, from 2:4 over larger groups to whole rows.

    python benchmarks/structure.py [--quick] [--json FILE] [--models NAME ...] [--methods NAME ...] [--seeds S ...]

Models, texts and windows are those of quality.py. An unstructured pattern (50%) keeps the best half of each row; it is
a reference and has no packed form. Ratios are of perplexities to those at 2:4, paired over windows, the mean over seeds
of each window's loss, with bootstrap 95 % intervals. Finished cells are kept under build/structure.
"""

import argparse
import statistics
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.outcome import check, conclude  # noqa: E402
from benchmarks.quality import code_version, known_cells, mean_nats, open_model, prune_and_score  # noqa: E402
from eggs_core.config import make_config  # noqa: E402
from eggs_core.evaluation.intervals import paired_ratio  # noqa: E402
from eggs_core.evaluation.perplexity import evaluate  # noqa: E402
from eggs_core.registry import METHODS  # noqa: E402

CELLS = ROOT / "build" / "structure"
PATTERNS = ("2:4", "4:8", "8:16", "16:32", "50%")


def rows_of(name: str, method: str, seeds: list[int]) -> list[dict[str, Any]]:
    """One row for each pattern of one model and method."""
    opened, cell = open_model(name), known_cells(name, CELLS)
    rows: list[dict[str, Any]] = []
    cells: list[list[dict[str, Any]]] = []
    for pattern in PATTERNS:
        configs = [make_config(name, pattern, method, seed=seed, **opened.windows) for seed in seeds]
        cells.append(
            [
                cell(
                    f"{method} {config.seed} {pattern}",
                    lambda config=config: prune_and_score(opened.dense, config, opened.calibration, opened.evaluation),
                )
                for config in configs
            ]
        )
        found = [value["perplexity"] for value in cells[-1]]
        ratio = paired_ratio(mean_nats(cells[0]), mean_nats(cells[-1]))
        row = {"model": name, "method": method, "pattern": pattern, "perplexity": statistics.fmean(found)}
        row |= {"sd": statistics.stdev(found) if len(found) > 1 else None, "perplexities": found}
        rows.append(row | {"against 2:4": ratio.to_dict()})
        print(
            f"{name:11} {method:14} {pattern:6} {row['perplexity']:8.2f}  "
            f"× {ratio.value:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]",
            flush=True,
        )
    return rows


def main() -> int:
    """Measure, print the rows, write JSON, and return 1 if whole rows do not beat groups of four."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="tiny-llama by Wanda, seed 0")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--models", nargs="+", default=["tiny-llama", "tiny-opt"])
    parser.add_argument("--methods", nargs="+", default=["wanda", "ria", "eggs-ptp-plus"], choices=list(METHODS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    options = parser.parse_args()
    if options.quick:
        options.models, options.methods, options.seeds = ["tiny-llama"], ["wanda"], [0]
    rows = [
        row for name in options.models for method in options.methods for row in rows_of(name, method, options.seeds)
    ]
    dense = {}
    for name in options.models:
        opened = open_model(name)
        dense[name] = evaluate(opened.dense.model, opened.evaluation).to_dict()["perplexity"]
    whole = [row for row in rows if row["pattern"] == PATTERNS[-1]]
    checks = [check(f"{r['model']} {r['method']}: 50% / 2:4", r["against 2:4"]["high"], 1.0) for r in whole]
    return conclude(checks, options.json, quick=options.quick, rows=rows, dense=dense, code=code_version())


if __name__ == "__main__":
    raise SystemExit(main())
