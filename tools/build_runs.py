"""Compute the finished runs that ship with the app, by the same pipeline that the app uses.

    python tools/build_runs.py            # every bundled run that is missing or older than its model
    python tools/build_runs.py --again    # all of them
    python tools/build_runs.py --smollm2 SmolLM2-135M-Instruct.Q4_1.gguf    # and the run of a real model

The last one takes twenty minutes; it also takes the folder of the finished run, as `eggs prune --out` wrote it. The run
is told by the model's public name, as its weights do not ship.

Run it on a machine that does nothing else: the runs hold measured latencies.
"""

import argparse
import shutil
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from eggs_core.config import PruneConfig, make_config  # noqa: E402
from eggs_core.models.source import WITHOUT_WEIGHTS  # noqa: E402
from eggs_core.registry import DEFAULT_METHOD, METHODS  # noqa: E402
from eggs_core.runs.events import Finished  # noqa: E402
from eggs_core.runs.execute import execute  # noqa: E402
from eggs_core.runs.folder import has_run  # noqa: E402
from eggs_core.runs.run import Run, load_run, save_run  # noqa: E402

RUNS = ROOT / "assets" / "runs"
BUNDLED = [("tiny-llama", "2:4", method) for method in METHODS] + [
    ("tiny-opt", "2:4", method) for method in ("wanda", "eggs-ptp", "eggs-ptp-plus")
]
SMOLLM2 = RUNS / f"smollm2-135m-2of4-{DEFAULT_METHOD}"
PUBLIC, DEQUANTISED = next(iter(WITHOUT_WEIGHTS)), "Q4_1"


def finished(config: PruneConfig) -> Run:
    """The run of a configuration."""
    return next(event.run for event in execute(config) if isinstance(event, Finished))


def public(run: Run) -> Run:
    """The same run under its model's public name, with what its file held; nothing of this machine's folders."""
    config = run.config.changed(model=PUBLIC)
    about = {"model": PUBLIC, "config": config.to_dict(), "key": config.key(), "dequantised": DEQUANTISED}
    return Run({**run.report, **about}, run.packed_masks, run.packed_topn, run.permutations)


def ship_smollm2(source: Path) -> None:
    """Run SmolLM2's GGUF file, or take its finished run from a folder, and keep it under its public name."""
    run = load_run(source) if has_run(source) else finished(make_config(str(source), "2:4", DEFAULT_METHOD))
    save_run(public(run), SMOLLM2)


def main() -> None:
    """Compute what is missing and remove what is no longer wanted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--again", action="store_true", help="compute every run anew")
    parser.add_argument("--smollm2", type=Path, help="its GGUF file, or the folder of its finished run")
    options = parser.parse_args()
    if options.smollm2:
        ship_smollm2(options.smollm2)
    again, wanted = options.again, {SMOLLM2}
    for model, pattern, method in BUNDLED:
        config = make_config(model, pattern, method)
        folder = RUNS / f"{model}-{pattern.replace(':', 'of')}-{method}"
        wanted.add(folder)
        weights = ROOT / "assets" / "models" / model / "model.safetensors"
        report = folder / "report.json"
        if not again and report.is_file() and report.stat().st_mtime > weights.stat().st_mtime:
            continue
        started = time.monotonic()
        run = finished(config)
        save_run(run, folder)
        scores = run.report["evaluation"]
        dense, pruned = scores["dense"]["perplexity"], scores["pruned"]["perplexity"]
        print(f"{folder.name}: perplexity {dense:.2f} -> {pruned:.2f}, {time.monotonic() - started:.1f} s")
    for folder in RUNS.iterdir():
        if folder not in wanted:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
