"""What structure costs: perplexity at the same share of weights, from 2:4 over larger groups to whole rows.

    python benchmarks/structure.py [--quick] [--json FILE] [--curves FILE] [--models NAME ...] [--methods NAME ...]
                                   [--seeds S ...]

With --json and --curves, rows of the models and methods that are measured replace those in the file, and others stay.
Models, texts and windows are those of quality.py. An unstructured pattern (50%) keeps the best half of each row; it is
a reference and has no packed form. Ratios are of perplexities to those at 2:4, paired over windows, the mean over seeds
of each window's loss, with bootstrap 95 % intervals. Finished cells are kept under build/structure.
"""

import argparse
import json
import statistics
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.outcome import check, conclude  # noqa: E402
from benchmarks.quality import code_version, known_cells, mean_nats, open_model, prune_and_score  # noqa: E402
from eggs_core.config import make_config  # noqa: E402
from eggs_core.evaluation.intervals import Interval, paired_ratio  # noqa: E402
from eggs_core.evaluation.perplexity import evaluate  # noqa: E402
from eggs_core.evaluation.structure import Curve, Step  # noqa: E402
from eggs_core.registry import METHODS  # noqa: E402

CELLS = ROOT / "build" / "structure"
PATTERNS = ("2:4", "4:8", "8:16", "16:32", "50%")


def rows_of(name: str, method: str, seeds: list[int]) -> list[dict[str, Any]]:
    """One row for each pattern of one model and method."""
    opened, cell = open_model(name), known_cells(name, CELLS)
    dense = cell("dense", lambda: evaluate(opened.dense.model, opened.evaluation).to_dict())["perplexity"]
    windows, length = opened.evaluation.shape
    text = f"{windows} × {length} tokens of {opened.evaluation_text.name}"
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
        row |= {"text": text, "dense": dense}
        row |= {"sd": statistics.stdev(found) if len(found) > 1 else None, "perplexities": found}
        rows.append(row | {"against 2:4": ratio.to_dict()})
        print(
            f"{name:11} {method:14} {pattern:6} {row['perplexity']:8.2f}  "
            f"× {ratio.value:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]",
            flush=True,
        )
    return rows


def joined(file: Path, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of a results file that were not measured now, and these."""
    kept = json.loads(file.read_text(encoding="utf-8"))["rows"] if file.exists() else []
    anew = {(row["model"], row["method"]) for row in rows}
    found = [row for row in kept if (row["model"], row["method"]) not in anew] + rows
    return sorted(found, key=lambda row: (row["model"], list(METHODS).index(row["method"])))


def curves_of(rows: list[dict[str, Any]]) -> list[Curve]:
    """What the app shows of rows."""
    steps: dict[tuple[str, str], list[Step]] = {}
    for row in rows:
        step = Step(row["pattern"], row["perplexities"], Interval(**row["against 2:4"]))
        steps.setdefault((row["model"], row["method"]), []).append(step)
    texts = {row["model"]: (row["text"], row["dense"]) for row in rows}
    return [Curve(model, method, *texts[model], found) for (model, method), found in steps.items()]


def main() -> int:
    """Measure, print the rows, write JSON, and return 1 if whole rows do not beat groups of four."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="tiny-llama by Wanda, seed 0")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--curves", type=Path, metavar="FILE", help="write what the app shows here")
    parser.add_argument("--models", nargs="+", default=["tiny-llama", "tiny-opt"])
    parser.add_argument("--methods", nargs="+", default=["wanda", "ria", "eggs-ptp-plus"], choices=list(METHODS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    options = parser.parse_args()
    if options.quick:
        options.models, options.methods, options.seeds = ["tiny-llama"], ["wanda"], [0]
    rows = [
        row for name in options.models for method in options.methods for row in rows_of(name, method, options.seeds)
    ]
    if options.json:
        rows = joined(options.json, rows)
    if options.curves:
        options.curves.parent.mkdir(parents=True, exist_ok=True)
        shown = [asdict(curve) for curve in curves_of(rows)]
        options.curves.write_text(json.dumps(shown, indent=1) + "\n", encoding="utf-8")
    whole = [row for row in rows if row["pattern"] == PATTERNS[-1]]
    checks = [check(f"{r['model']} {r['method']}: 50% / 2:4", r["against 2:4"]["high"], 1.0) for r in whole]
    return conclude(checks, options.json, quick=options.quick, rows=rows, code=code_version())


if __name__ == "__main__":
    raise SystemExit(main())
