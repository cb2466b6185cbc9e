"""What a GPU makes of it: the tests marked `gpu`, pruning by every method, and 2:4 weights against dense ones.

    python benchmarks/gpu.py [--quick] [--json FILE]

On CUDA the model is a random Llama of 1.1 B parameters in fp16; each method gets at most 40 s, and what it did by then
is said. One product is timed with torch's semi-structured weights, too. Without CUDA the model is tiny-llama on
the CPU, 2:4 weights run on the packed kernel, and the result says so. Under 8 minutes on a data-centre GPU.
"""

import argparse
import copy
import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

import make_random_llama  # noqa: E402
import torch  # noqa: E402
from transformers import PreTrainedModel  # noqa: E402

from benchmarks.outcome import check, conclude  # noqa: E402
from eggs_core.config import make_config  # noqa: E402
from eggs_core.device import best_device, describe  # noqa: E402
from eggs_core.masks.selection import topn  # noqa: E402
from eggs_core.models.architectures import linear_layers  # noqa: E402
from eggs_core.models.loading import LoadedModel, load  # noqa: E402
from eggs_core.packed.linear import PackedLinear  # noqa: E402
from eggs_core.packed.model import pack_model  # noqa: E402
from eggs_core.pattern import NMPattern  # noqa: E402
from eggs_core.pruning.loop import prune  # noqa: E402
from eggs_core.registry import METHODS  # noqa: E402
from eggs_core.text.sources import bundled_text  # noqa: E402
from eggs_core.text.windows import calibration_windows  # noqa: E402

PATTERN = NMPattern(2, 4)
TOKENS = (1, 16, 256, 2048)
SHAPES = ((2048, 2048), (5632, 2048), (2048, 5632), (4096, 4096), (11008, 4096))  # (out, in): 1.1 B and 7 B Llamas'
MOST_SECONDS = 40.0
REPEATS = 30


def gpu_tests() -> dict[str, int]:
    """How many tests marked `gpu` passed, failed and were skipped here."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tests.xml"
        command = [sys.executable, "-m", "pytest", "-m", "gpu", "tests/core", f"--junitxml={file}"]
        ended = subprocess.run(command, cwd=ROOT, env={**os.environ, "EGGS_SLOW": "1"}, capture_output=True, text=True)
        if not file.exists():
            raise SystemExit(f"the gpu tests did not run:\n{ended.stdout[-2000:]}{ended.stderr[-2000:]}")
        suite = next(ET.parse(file).iter("testsuite"))
    ran, failed, skipped = (int(suite.get(name, 0)) for name in ("tests", "failures", "skipped"))
    failed += int(suite.get("errors", 0))
    if failed:
        print(ended.stdout[-6000:])
    return {"passed": ran - failed - skipped, "failed": failed, "skipped": skipped}


def milliseconds(work: Callable[[], object], device: torch.device) -> float:
    """Median time of one call, waiting for the device each time."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    taken = []
    for number in range(REPEATS + 5):
        wait()
        started = time.perf_counter()
        work()
        wait()
        if number >= 5:
            taken.append(time.perf_counter() - started)
    return median(taken) * 1e3


def kernels_milliseconds(work: Callable[[], object], device: torch.device) -> float | None:
    """Time of one call that a GPU computes, without what the host takes to ask for it; None on a CPU."""
    if device.type != "cuda":
        return None
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as seen:
        for _ in range(REPEATS):
            work()
        torch.cuda.synchronize()
    return sum(event.self_device_time_total for event in seen.key_averages()) / 1e3 / REPEATS


def used_mb(device: torch.device, peak: bool = False) -> float | None:
    """Megabytes (10⁶ bytes) of the device's memory that tensors take, or took at most; None on a CPU."""
    if device.type != "cuda":
        return None
    return (torch.cuda.max_memory_allocated if peak else torch.cuda.memory_allocated)(device) / 1e6


def opened(device: torch.device, folder: Path) -> LoadedModel:
    """The model to prune: a random Llama on CUDA, else tiny-llama."""
    if device.type != "cuda":
        return load("tiny-llama", device)
    make_random_llama.make(folder)
    return load(str(folder), device)


def time_pruning(dense: LoadedModel, device: torch.device) -> dict[str, dict]:
    """Seconds, layers done and most memory of each method."""
    length = 512 if device.type == "cuda" else 128
    windows = calibration_windows(dense.tokenizer, bundled_text("calibration"), 32, length, 0)
    rows = {}
    for method in METHODS:
        model = copy.deepcopy(dense.model)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        config = make_config("tiny-llama", str(PATTERN), method)
        started = time.perf_counter()
        total, done, seconds = len(list(linear_layers(model))), 0, 0.0
        for _ in prune(model, windows, config):
            done += 1
            seconds = time.perf_counter() - started
            if seconds > MOST_SECONDS:
                break
        rows[method] = {"seconds": seconds, "layers": done, "of": total, "peak_mb": used_mb(device, peak=True)}
        stopped = "" if done == total else f", stopped: {done} of {total} layers"
        print(f"  {method:<16} {seconds:7.1f} s{stopped}", flush=True)
    return rows


def time_products(device: torch.device) -> list[dict]:
    """One product with a dense and with a 2:4 weight: milliseconds as called, and on the GPU alone."""
    rows, dtype = [], torch.float16 if device.type == "cuda" else torch.float32
    for out, inputs in SHAPES if device.type == "cuda" else SHAPES[:1]:
        weight = torch.randn(out, inputs, generator=torch.Generator().manual_seed(0)) / inputs**0.5
        mask = topn(weight.abs(), PATTERN)
        pruned = PackedLinear.from_dense(weight.to(dtype), mask, PATTERN)
        name, packed = two_of_four(pruned, device)
        dense = torch.nn.Linear(inputs, out, bias=False, device=device, dtype=dtype).requires_grad_(False)
        for tokens in TOKENS:
            x = torch.randn(tokens, inputs, device=device, dtype=dtype)
            row = {"dtype": str(dtype).removeprefix("torch."), "shape": [out, inputs], "tokens": tokens}
            for kind, product in (("dense", dense), ("packed", packed)):
                row[f"{kind}_ms"] = milliseconds(lambda x=x, product=product: product(x), device)
                row[f"{kind}_kernels_ms"] = kernels_milliseconds(lambda x=x, product=product: product(x), device)
            rows.append(row | {"path": name})
            print(f"  {product_words(row)}  ({name})")
    return rows


def two_of_four(pruned: PackedLinear, device: torch.device) -> tuple[str, Callable[[torch.Tensor], torch.Tensor]]:
    """The product with a 2:4 weight by what could gain on this device: torch's semi-structured form, or the kernel."""
    if device.type != "cuda":
        return pruned.path, pruned
    weight = torch.sparse.to_sparse_semi_structured(pruned.to_dense().to(device))
    return type(weight).__name__, lambda x: torch.nn.functional.linear(x, weight)


def product_words(row: dict) -> str:
    """One row of the products as a line."""
    out, inputs = row["shape"]
    called, alone = row["dense_ms"] / row["packed_ms"], row["dense_kernels_ms"]
    line = f"{out:>5} × {inputs:<5} {row['tokens']:>5} tokens: dense {row['dense_ms']:8.4f} ms, "
    line += f"2:4 {row['packed_ms']:8.4f} ms, × {called:.2f}"
    if alone is None:
        return line
    ratio = alone / row["packed_kernels_ms"]
    return f"{line}; on the GPU alone {alone:.4f} and {row['packed_kernels_ms']:.4f}, × {ratio:.2f}"


def time_model(model: PreTrainedModel, device: torch.device) -> dict[str, float]:
    """Milliseconds of a whole model's forward pass by number of tokens."""
    found = {}
    for tokens in TOKENS if device.type == "cuda" else TOKENS[:2]:
        ids = torch.zeros(1, tokens, dtype=torch.long, device=device)
        with torch.no_grad():
            found[str(tokens)] = milliseconds(lambda ids=ids: model(ids, use_cache=False, logits_to_keep=1), device)
    return found


def time_models(dense: LoadedModel, device: torch.device) -> dict[str, dict]:
    """The dense model against the same with 2:4 weights, its largest in each group."""
    rows, start = {}, used_mb(device)
    rows["dense"] = {"ms": time_model(dense.model, device), "mb": start}
    masks = {layer.name: topn(layer.weight().abs(), PATTERN) for layer in linear_layers(dense.model)}
    model = pack_model(dense.model, masks, PATTERN)
    del masks
    rows["2:4"] = {"ms": time_model(model, device), "mb": used_mb(device)}
    for name, row in rows.items():
        shown = ", ".join(f"{tokens} tokens {ms:.2f} ms" for tokens, ms in row["ms"].items())
        print(f"  {name:<6} {shown}" + ("" if row["mb"] is None else f"; {row['mb']:.0f} MB"))
    return rows


def main() -> int:
    """Measure, print, write JSON if asked, and return 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="without whole pruning runs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write checks, tables, machine and versions here")
    options = parser.parse_args()
    device = best_device()
    if device.type != "cuda":
        print("No CUDA device here: tiny-llama on the CPU instead, and no figure below is a GPU's.")
    print(f"{describe(device)}\nTests marked gpu")
    tests = gpu_tests()
    print(f"  {tests['passed']} passed, {tests['failed']} failed, {tests['skipped']} skipped")
    print("One product")
    products, pruning = time_products(device), {}
    with tempfile.TemporaryDirectory() as folder:
        dense = opened(device, Path(folder) / "model")
        if not options.quick:
            print(f"Pruning {sum(p.numel() for p in dense.model.parameters()) / 1e9:.2f} B parameters at {PATTERN}")
            pruning = time_pruning(dense, device)
        print("The whole model")
        models = time_models(dense, device)
    checks = [check("gpu_tests_failed", tests["failed"], 0)]
    if device.type == "cuda":
        checks += [check("gpu_tests_passed", tests["passed"], 1, True)]
        checks += [check("packed_vs_dense_one_token", models["2:4"]["ms"]["1"] / models["dense"]["ms"]["1"], 1.05)]
        checks += [check("packed_vs_dense_memory", models["2:4"]["mb"] / models["dense"]["mb"], 1.02)]
    results = {"tests": tests, "products": products, "pruning": pruning, "models": models}
    return conclude(checks, options.json, device=describe(device), gpu=device.type == "cuda", **results)


if __name__ == "__main__":
    raise SystemExit(main())
