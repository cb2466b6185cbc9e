"""Compute the finished runs that ship with the app, by the same pipeline that the app uses.

    python tools/build_runs.py            # every bundled run that is missing or older than its model
    python tools/build_runs.py --again    # all of them

Run it on a machine that does nothing else: the runs hold measured latencies.
"""

import argparse
import shutil
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from eggs_core.config import make_config  # noqa: E402
from eggs_core.registry import METHODS  # noqa: E402
from eggs_core.runs.events import Finished  # noqa: E402
from eggs_core.runs.execute import execute  # noqa: E402
from eggs_core.runs.run import save_run  # noqa: E402

RUNS = ROOT / "assets" / "runs"
BUNDLED = [("tiny-llama", "2:4", method) for method in METHODS] + [
    ("tiny-opt", "2:4", method) for method in ("wanda", "eggs-ptp", "eggs-ptp-plus")
]


def main() -> None:
    """Compute what is missing and remove what is no longer wanted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--again", action="store_true", help="compute every run anew")
    again = parser.parse_args().again
    wanted = set()
    for model, pattern, method in BUNDLED:
        config = make_config(model, pattern, method)
        folder = RUNS / f"{model}-{pattern.replace(':', 'of')}-{method}"
        wanted.add(folder)
        weights = ROOT / "assets" / "models" / model / "model.safetensors"
        report = folder / "report.json"
        if not again and report.is_file() and report.stat().st_mtime > weights.stat().st_mtime:
            continue
        started = time.monotonic()
        for event in execute(config):
            if isinstance(event, Finished):
                save_run(event.run, folder)
                evaluation = event.run.report["evaluation"]
                dense, pruned = evaluation["dense"]["perplexity"], evaluation["pruned"]["perplexity"]
                print(f"{folder.name}: perplexity {dense:.2f} -> {pruned:.2f}, {time.monotonic() - started:.1f} s")
    for folder in RUNS.iterdir():
        if folder not in wanted:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
