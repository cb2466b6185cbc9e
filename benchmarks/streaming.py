"""Peak memory of pruning a model block by block, seen from outside the process: random models of 1.1 to 1.2 B in fp16.

    python benchmarks/streaming.py [--quick] [--mixture] [--json FILE] [--folder DIR]

The model is a Llama, with --mixture a Mixtral of eight experts a block.

The command line prunes the checkpoint in a process of its own; the peak is that process's maximum resident set, which
the kernel tells when it ends (wait4), mapped files included. Calibration is 8 × 128 tokens, evaluation 4 × 128.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

import make_random_llama  # noqa: E402
import make_random_mixtral  # noqa: E402

from benchmarks.outcome import check, conclude  # noqa: E402

LAYERS, MIXTURE_LAYERS, QUICK_LAYERS = 22, 12, 1
BAR_MB, MIXTURE_BAR_MB = 3000, 4500
WINDOWS = [
    "--calibration-windows",
    "8",
    "--calibration-length",
    "128",
    "--evaluation-windows",
    "4",
    "--evaluation-length",
    "128",
]


def prune(model: Path, out: Path, method: str) -> dict[str, float]:
    """Prune in a process of its own; seconds, CPU seconds and peak resident megabytes (10⁶ bytes)."""
    command = [sys.executable, "-m", "eggs_core", "prune", "--stream", "--model", str(model), "--out", str(out)]
    started = time.perf_counter()
    child = os.posix_spawn(
        sys.executable, [*command, "--method", method, *WINDOWS], {**os.environ, "PYTHONPATH": str(ROOT)}
    )
    _, status, usage = os.wait4(child, 0)
    if os.waitstatus_to_exitcode(status):
        raise SystemExit(f"pruning with {method} failed")
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {
        "seconds": time.perf_counter() - started,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_mb": peak / 1e6,
    }


def main() -> int:
    """Measure, print, write JSON if asked, and return 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_LAYERS} block instead of all, the same shapes")
    parser.add_argument("--mixture", action="store_true", help="a Mixtral instead of a Llama")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write checks, table, machine and versions here")
    parser.add_argument("--folder", type=Path, help="keep checkpoints here, and go on from what is there")
    parser.add_argument("--method", action="append", help="default: wanda, and ria unless --quick")
    options = parser.parse_args()
    kind, tool = ("mixtral", make_random_mixtral) if options.mixture else ("llama", make_random_llama)
    layers = QUICK_LAYERS if options.quick else MIXTURE_LAYERS if options.mixture else LAYERS
    folder = options.folder or Path(tempfile.mkdtemp(prefix="eggs-streaming-"))
    try:
        model = folder / f"random-{kind}-{layers}"
        if not (model / "tokenizer.json").exists():
            tool.make(model, layers)
        stored = sum(file.stat().st_size for file in model.glob("*.safetensors"))
        rows = {}
        for method in options.method or (["wanda"] if options.quick else ["wanda", "ria"]):
            rows[method] = row = prune(model, folder / f"pruned-{kind}-{layers}-{method}", method)
            print(
                f"{method:6} {layers} blocks, {stored / 1e9:.2f} GB in fp16: peak {row['peak_mb']:.0f} MB, "
                f"{row['seconds']:.0f} s, {row['cpu_seconds']:.0f} CPU s"
            )
    finally:
        if options.folder is None:
            shutil.rmtree(folder, ignore_errors=True)
    peak, name = (
        max(row["peak_mb"] for row in rows.values()),
        "streaming_mixture_peak_mb" if options.mixture else "streaming_peak_mb",
    )
    return conclude(
        [check(name, peak, MIXTURE_BAR_MB if options.mixture else BAR_MB)],
        options.json,
        packages=("safetensors",),
        quick=options.quick,
        runs=rows,
        blocks=layers,
        stored_bytes=stored,
    )


if __name__ == "__main__":
    raise SystemExit(main())
