"""Peak memory of pruning a model block by block: a random 1.1 B Llama in fp16, seen from outside the process.

    python benchmarks/streaming.py [--quick] [--json FILE] [--folder DIR]

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

from make_random_llama import make  # noqa: E402

from benchmarks.outcome import check, conclude  # noqa: E402

LAYERS, QUICK_LAYERS = 22, 1
BAR_MB = 3000
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
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_LAYERS} of {LAYERS} blocks, the same shapes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write checks, table, machine and versions here")
    parser.add_argument("--folder", type=Path, help="keep checkpoints here, and go on from what is there")
    parser.add_argument("--method", action="append", help="default: wanda, and ria unless --quick")
    options = parser.parse_args()
    layers = QUICK_LAYERS if options.quick else LAYERS
    folder = options.folder or Path(tempfile.mkdtemp(prefix="eggs-streaming-"))
    try:
        model = folder / f"random-llama-{layers}"
        if not (model / "tokenizer.json").exists():
            make(model, layers)
        stored = sum(file.stat().st_size for file in model.glob("*.safetensors"))
        rows = {}
        for method in options.method or (["wanda"] if options.quick else ["wanda", "ria"]):
            rows[method] = row = prune(model, folder / f"pruned-{layers}-{method}", method)
            print(
                f"{method:6} {layers} blocks, {stored / 1e9:.2f} GB in fp16: peak {row['peak_mb']:.0f} MB, "
                f"{row['seconds']:.0f} s, {row['cpu_seconds']:.0f} CPU s"
            )
    finally:
        if options.folder is None:
            shutil.rmtree(folder, ignore_errors=True)
    peak = max(row["peak_mb"] for row in rows.values())
    return conclude(
        [check("streaming_peak_mb", peak, BAR_MB)],
        options.json,
        packages=("safetensors",),
        quick=options.quick,
        runs=rows,
        blocks=layers,
        stored_bytes=stored,
    )


if __name__ == "__main__":
    raise SystemExit(main())
