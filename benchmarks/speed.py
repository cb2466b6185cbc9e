"""Speed of mask selection, against a plain Python loop over groups and against topn, and of whole runs against Wanda.

    python benchmarks/speed.py [--quick] [--json FILE]

Every ratio comes from one process at one thread count. The plain loop runs on a slice of the rows and is scaled up by
the number of rows, which favours neither side: its time grows linearly. Whole runs, without --quick, prune SmolLM2-135M
on the texts of benchmarks/quality.py, and say where their time goes.
"""

import argparse
import contextlib
import copy
import functools
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.outcome import check, conclude
from benchmarks.quality import DATA, SMOLLM2, open_model
from eggs_core.config import make_config
from eggs_core.masks.selection import auto_beta, degree, diagonal, retained_score, topn
from eggs_core.pattern import NMPattern
from eggs_core.pruning import activations, block_order, permutation, reconstruction, stagewise
from eggs_core.pruning import loop as prune
from eggs_core.pruning.permutation import lsa
from eggs_core.registry import CUSTOM
from eggs_core.text.windows import calibration_windows

SIZE = 4096
LOOP_ROWS = 16
SMALL_BETA = 0.05
# name -> (method, choices that differ from it, most times Wanda's seconds)
RUNS: dict[str, tuple[str, dict[str, str], float | None]] = {
    "wanda": ("wanda", {}, None),
    "eggs-ptp": ("eggs-ptp", {}, 1.3),
    "lsa + admm": (CUSTOM, {"score": "ria", "selection": "degree", "permutation": "lsa", "reconstruction": "admm"}, 4),
    "eggs-ptp-plus": ("eggs-ptp-plus", {}, 3),
}


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


@contextlib.contextmanager
def clocks(spent: dict[str, float]) -> Iterator[None]:
    """Add up the seconds that a run spends in each of its parts."""

    def clocked(name: str, work: Callable) -> Callable:
        @functools.wraps(work)
        def timed(*args, **kwargs):
            started = time.perf_counter()
            try:
                return work(*args, **kwargs)
            finally:
                spent[name] = spent.get(name, 0.0) + time.perf_counter() - started

        return timed

    parts = [(prune, "score"), (prune, "_select"), (prune, "topn"), (prune, "measure")]
    with contextlib.ExitStack() as stack:
        for module, name in parts:
            stack.enter_context(mock.patch.object(module, name, clocked(name.strip("_"), getattr(module, name))))
        for part, module, names in (
            ("channel order", permutation, ("zigzag", "lsa")),
            ("reconstruct", reconstruction, ("none", "obs", "admm")),
        ):
            for name in names:
                stack.enter_context(mock.patch.object(module, name, clocked(part, getattr(module, name))))
        update = clocked("statistics", activations.InputStatistics.update)
        stack.enter_context(mock.patch.object(activations.InputStatistics, "update", update))
        for module in (activations, block_order, stagewise):  # the hooks inside it are counted on their own too
            stack.enter_context(mock.patch.object(module, "run_block", clocked("blocks", module.run_block)))
        yield


def whole_runs() -> dict[str, dict[str, float]]:
    """Seconds of whole pruning runs over SmolLM2-135M at 2:4, in all and by part."""
    opened, found = open_model("smollm2"), {}
    for name, (method, choices, _) in RUNS.items():
        config = make_config("tiny-llama", "2:4", method, **choices, **opened.windows)
        windows = calibration_windows(
            opened.dense.tokenizer, opened.calibration, config.calibration_windows, config.calibration_length, 0
        )
        model, spent = copy.deepcopy(opened.dense.model), {}
        started = time.perf_counter()
        with clocks(spent):
            for _ in prune.prune(model, windows, config):
                pass
        found[name] = {"all": time.perf_counter() - started, **spent}
        shown = "  ".join(f"{part} {value:.0f}" for part, value in sorted(spent.items(), key=lambda x: -x[1]))
        print(f"  {name:<14} {found[name]['all']:6.0f} s: {shown}", flush=True)
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
            check(f"topn_vs_plain_loop_{text}", loop_ratio, 50.0, True),
            check(f"degree_vs_topn_{text}", degree_ratio, 8.0),
        ]
    runs = {}
    if not options.quick and SMOLLM2.exists() and DATA.is_dir():
        print(f"SmolLM2-135M, 2:4, 64 × 512 tokens of calibration, {torch.get_num_threads()} threads")
        runs = whole_runs()
        for name, (*_, bar) in RUNS.items():
            if bar:
                ratio = runs[name]["all"] / runs["wanda"]["all"]
                key = f"smollm2_{name.replace(' + ', '_').replace('-', '_')}_vs_wanda"
                checks.append(check(key, ratio, bar))
    return conclude(checks, options.json, quick=options.quick, seconds=tables, whole_runs=runs)


if __name__ == "__main__":
    raise SystemExit(main())
