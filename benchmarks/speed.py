"""Speed of mask selection: against a plain Python loop over groups, and degree-bounded selection against topn.

    python benchmarks/speed.py [--quick] [--json FILE]

Every ratio comes from one process at one thread count. The plain loop runs on a slice of the rows and is scaled up by
the number of rows, which favours neither side: its time grows linearly.
"""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from eggs_core.masks import auto_beta, degree, diagonal, retained_score, topn
from eggs_core.pattern import NMPattern
from eggs_core.permute import lsa

SIZE = 4096
LOOP_ROWS = 16
SMALL_BETA = 0.05


def heavy_tailed_scores(size: int, seed: int = 0) -> torch.Tensor:
    """Scores like a language model's: |W| times input norms whose logarithm spreads widely; (size, size), fp32."""
    generator = torch.Generator().manual_seed(seed)
    norms = torch.randn(size, generator=generator).exp()
    return torch.randn(size, size, generator=generator).abs() * norms


def plain_loop(scores: torch.Tensor, pattern: NMPattern) -> torch.Tensor:
    """What a first version of N:M pruning looks like: torch calls inside a loop over rows and groups."""
    mask = torch.zeros_like(scores, dtype=torch.bool)
    for row in range(scores.shape[0]):
        for start in range(0, scores.shape[1], pattern.group):
            best = torch.topk(scores[row, start : start + pattern.group], pattern.keep).indices
            mask[row, start + best] = True
    return mask


def seconds(work: Callable[[], object], repeats: int) -> float:
    """Best wall time after one warm-up: other work on the machine only ever adds."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def measure(pattern: NMPattern, repeats: int, full: bool) -> dict[str, float]:
    """Seconds of every selection on SIZE × SIZE scores, and the shares of topn's score that the bounds keep."""
    scores = heavy_tailed_scores(SIZE)
    part = scores[:LOOP_ROWS].clone()
    assert torch.equal(plain_loop(part, pattern), topn(part, pattern))
    found = {
        "plain_loop": seconds(lambda: plain_loop(part, pattern), 1) * SIZE / LOOP_ROWS,
        "topn": seconds(lambda: topn(scores, pattern), repeats + 2),
        "diagonal": seconds(lambda: diagonal(scores, pattern), repeats),
        f"degree β={SMALL_BETA}": seconds(lambda: degree(scores, pattern, SMALL_BETA), repeats),
    }
    if full:
        for name, work in {
            "degree β=0.5": lambda: degree(scores, pattern, 0.5),
            "degree β=1": lambda: degree(scores, pattern, 1.0),
            "auto β": lambda: auto_beta(scores, pattern),
            "lsa": lambda: lsa(scores, pattern),
        }.items():
            found[name] = seconds(work, 1)
        best = retained_score(scores, topn(scores, pattern))
        for beta in (SMALL_BETA, 0.5, 1.0):
            print(
                f"  β={beta}: keeps {retained_score(scores, degree(scores, pattern, beta)) / best:.4%} of topn's score"
            )
    return found


def main() -> int:
    """Measure, print a table, write JSON if asked, and return 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one pattern, few repeats: under 45 s on two cores")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write checks, table, machine and versions here")
    options = parser.parse_args()

    tables, checks = {}, []
    for text in ["2:4"] if options.quick else ["1:4", "2:4", "4:8"]:
        print(f"{text}, {SIZE} × {SIZE}, {torch.get_num_threads()} threads")
        times = tables[text] = measure(NMPattern.parse(text), 3, not options.quick)
        for name, value in times.items():
            scaled = f" (scaled up from {LOOP_ROWS} rows)" if name == "plain_loop" else ""
            print(f"  {name:<14} {value:9.3f} s{scaled}")
        loop_ratio = times["plain_loop"] / times["topn"]
        degree_ratio = times[f"degree β={SMALL_BETA}"] / times["topn"]
        checks += [
            {"name": f"topn_vs_plain_loop_{text}", "value": loop_ratio, "bar": 50.0, "higher_is_better": True},
            {"name": f"degree_vs_topn_{text}", "value": degree_ratio, "bar": 8.0, "higher_is_better": False},
        ]
    missed = 0
    for check in checks:
        better = check["value"] >= check["bar"] if check["higher_is_better"] else check["value"] <= check["bar"]
        missed += not better
        print(f"{'ok  ' if better else 'MISS'} {check['name']}: {check['value']:.1f} (bar {check['bar']:g})")
    if options.json:
        result = {
            "checks": checks,
            "seconds": tables,
            "machine": {"processor": platform.machine(), "cores": os.cpu_count(), "threads": torch.get_num_threads()},
            "versions": {
                "python": platform.python_version(),
                "torch": torch.__version__,
                "numpy": np.__version__,
                "scipy": scipy.__version__,
            },
        }
        options.json.write_text(json.dumps(result, indent=2))
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
