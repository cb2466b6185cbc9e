"""Prune or quantise: perplexity, bytes and tokens/s of N:M with few bits, of plain bits, and of llama.cpp's types.

    python benchmarks/front.py [--quick] [--json FILE] [--front FILE] [--models NAME ...] [--method NAME]
                               [--no-speed] [--recovery TOKENS] [--points N:M/VALUES ...]

Bits are those of the decoder's linear layers. Our points are pruned, re-fitted and rounded by one method; 1:1 keeps
every weight and is quantisation alone. Plain types of llama.cpp are made by its own package `gguf`, K-types by its own
C code (in xllamacpp), from the same weights; rows that are no whole blocks of 256 get the type that llama.cpp takes
instead. Where weights have 8 bits or fewer, embedding and head have 8 in every point, and inputs of products are
rounded to 8 bits as the makers' kernels do it; the figure without that stands beside. llama.cpp's speed is its own
(xllamacpp), on files in which all matrices have the type; none for K-types, which `gguf` does not write. Models as in
quality.py.

With --recovery each of our points learns from the calibration text after rounding, plain bits too, with the same number
of tokens; llama.cpp's types stay as they are.

Finished cells are kept under build/quality: perplexities can be computed on one machine (--no-speed, on CUDA where
there is one), and joined with speeds measured on another that has those files. `--front` writes what the app shows.
"""

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from benchmarks import llama_types  # noqa: E402
from benchmarks.front_picture import draw  # noqa: E402
from benchmarks.front_scores import llama_scores, pruned_scores  # noqa: E402
from benchmarks.outcome import check, conclude, machine  # noqa: E402
from benchmarks.quality import DATA, SMOLLM2, Opened, known_cells, open_model  # noqa: E402
from eggs_core.config import make_config  # noqa: E402
from eggs_core.errors import EggsError  # noqa: E402
from eggs_core.evaluation.front import EVERY_WEIGHT, LLAMA_CPP, OURS, Front, Point, beside_plain, leaders  # noqa: E402
from eggs_core.evaluation.perplexity import evaluate  # noqa: E402
from eggs_core.masks.selection import topn  # noqa: E402
from eggs_core.models.architectures import linear_layers, tables  # noqa: E402
from eggs_core.models.gguf_writing import write_gguf  # noqa: E402
from eggs_core.packed.grid import (  # noqa: E402
    Grid,
    bits_per_weight,
    rounds_tables,
)
from eggs_core.packed.kernel import library as kernels  # noqa: E402
from eggs_core.packed.linear import PackedLinear  # noqa: E402
from eggs_core.packed.model import packed_copy  # noqa: E402
from eggs_core.pattern import NMPattern  # noqa: E402
from eggs_core.registry import METHODS, entry  # noqa: E402
from eggs_core.speed.alternation import thread_count  # noqa: E402
from eggs_core.speed.generation import measure_generation  # noqa: E402

TABLE = 8.5  # bits of a number of embedding and head, where weights have as many or fewer
QUICK = (("2:4", "int4"), (EVERY_WEIGHT, "int4"), (EVERY_WEIGHT, "int3"))
POINTS = (
    *((EVERY_WEIGHT, values) for values in ("int8", "int4", "int3", "int2")),
    ("3:4", "int4"),
    *((pattern, values) for pattern in ("2:4", "4:8", "1:4") for values in ("bf16", "int8", "int4")),
)
WEIGHTS = {"smollm2": "Q4_1, which flatters types of four bits"}
PROMPT, NEW, ROUNDS = 32, 24, 4  # tokens and repeats of a timing


def whole_bytes(model, bits: float, few: bool) -> int:
    """Bytes of a model whose layers take `bits` bits a weight, its tables TABLE if they have `few`, the rest 16."""
    layers = sum(rows * columns for rows, columns in (layer.shape for layer in linear_layers(model)))
    weights = {id(one.weight): one.weight.numel() for one in tables(model)}
    rest = sum(p.numel() for p in model.parameters()) - layers - sum(weights.values())
    return round((layers * bits + sum(weights.values()) * (TABLE if few else 16)) / 8) + 2 * rest


def packed_like(model, pattern: NMPattern, values: str):
    """A packed copy with a point's shapes, pattern and bits: speed depends on nothing else."""
    layers = [layer for layer in linear_layers(model) if layer.shape[1] % pattern.group == 0]
    masks = {layer.name: topn(layer.weight().abs(), pattern) for layer in layers}
    bits = entry("values", values).bits
    grids = {} if bits is None else {layer.name: Grid.ones(layer.shape, pattern, bits) for layer in layers}
    return packed_copy(model, masks, pattern, grids=grids)


def thread_counts() -> list[int]:
    """One, and all that there are."""
    return list(dict.fromkeys((1, torch.get_num_threads())))


def our_speeds(opened: Opened, points) -> dict[str, float]:
    """Tokens a second of the dense model and of each point, token by token in turn, with the better thread count."""
    found = []
    for count in thread_counts():
        with thread_count(count):
            found.append(speeds_as_set(opened, points))
    return {name: max(speeds[name] for speeds in found) for name in found[0]}


def speeds_as_set(opened: Opened, points) -> dict[str, float]:
    """The same with the threads that torch has now."""
    model = opened.dense.model
    others = {f"{pattern} {values}": packed_like(model, NMPattern.parse(pattern), values) for pattern, values in points}
    first = next(iter(others))
    prompt = opened.evaluation[:1, :PROMPT]
    found: dict[str, Any] = dict(
        measure_generation(model, others.pop(first), prompt, new_tokens=NEW, rounds=ROUNDS, others=others)
    )
    named = {"dense": "dense", first: "packed"} | {name: name for name in others}
    return {name: found[side]["decode_tokens_per_s"]["median"] for name, side in named.items()}


def llama_speed(opened: Opened, kind: str) -> float | None:
    """Tokens a second of llama.cpp with all matrices in a type, the better thread count's; None where it can't run."""
    try:
        import xllamacpp
    except ImportError:
        return None
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.gguf"
        model = opened.dense.model
        try:
            write_gguf(model.state_dict(), model.config, opened.dense.tokenizer, file, kind, "front")
        except EggsError:  # llama.cpp does not have the architecture
            return None
        found = []
        for count in thread_counts():
            parameters = xllamacpp.CommonParams()
            parameters.model.path = str(file)
            parameters.n_ctx, parameters.n_parallel, parameters.n_gpu_layers = 256, 1, 0
            parameters.cpuparams.n_threads = count
            server = xllamacpp.Server(parameters)
            asked = {"prompt": opened.evaluation[0, :PROMPT].tolist(), "n_predict": NEW, "ignore_eos": True}
            answers = [server.handle_completions(asked | {"temperature": 0}) for _ in range(ROUNDS)]
            found.append(statistics.median(answer["timings"]["predicted_per_second"] for answer in answers))
    return max(found)


def kernel_ratios(size: int = 2048, copies: int = 10, rounds: int = 30) -> list[dict[str, Any]]:
    """One token times 2:4 layers of size², bf16 values against 8 and 4 bits in turn, read from memory, on each path."""
    pattern, weight, x = NMPattern(2, 4), torch.randn(size, size), torch.randn(1, size)
    mask = topn(weight.abs(), pattern)
    kinds = {
        name: Grid.ones((size, size), pattern, entry("values", name).bits or 0) for name in ("bf16", "int8", "int4")
    }
    layers = {
        name: [PackedLinear.from_dense(weight, mask, pattern, grid=grid) for _ in range(copies)]
        for name, grid in kinds.items()
    }
    found, best = [], kernels.path_number()
    for path in dict.fromkeys((kernels.PATHS[min(best, 1)], kernels.PATHS[min(best, 2)])):
        seconds: dict[str, list[float]] = {name: [] for name in layers}
        with kernels.force_path(path):
            for _ in range(rounds):
                for name, same in layers.items():
                    started = time.perf_counter()
                    for layer in same:
                        layer(x)
                    seconds[name].append(time.perf_counter() - started)
        median = {name: statistics.median(times) / copies for name, times in seconds.items()}
        row = {name: median["bf16"] / median[name] for name in ("int8", "int4")}
        print(
            f"2:4, {size}², {path}: {row['int8']:.2f} × bf16 values with 8 bits, {row['int4']:.2f} × with 4", flush=True
        )
        found.append({"size": size, "path": path, "bf16_ms": 1e3 * median["bf16"], "speed_against_bf16": row})
    return found


def our_points(name: str, opened: Opened, cell, options) -> list[Point]:
    """The dense model, and each of our points."""
    dense = opened.dense.model
    rows = {("dense", "model"): cell("dense", lambda: evaluate(dense, opened.evaluation).to_dict())}
    for pattern, values in options.points:
        learns = {"recovery": "distil", "recovery_tokens": options.recovery} if options.recovery else {}
        known = "tiny-llama" if name == "smollm2" else name
        config = make_config(known, pattern, options.method, values=values, **opened.windows, **learns)
        key = f"front {pattern} {options.method} 0 {values}" + f" recovery {options.recovery}" * bool(learns)
        rows[pattern, values] = cell(key, lambda c=config: pruned_scores(opened, c))
        print(f"{name} {pattern} {values}: {rows[pattern, values]['perplexity']:.2f}", flush=True)
    speeds = our_speeds(opened, options.points) if options.speed else {}
    found = []
    for (pattern, values), row in rows.items():
        whole, bits = pattern in ("dense", EVERY_WEIGHT), entry("values", values).bits
        each = 16.0 if bits is None else bits_per_weight(bits, NMPattern.parse(EVERY_WEIGHT if whole else pattern))
        label = "dense" if bits is None else f"{bits} bits" if whole else f"{pattern} + {bits} bits"
        speed = speeds.get("dense" if pattern == "dense" else f"{pattern} {values}")
        size, kept = whole_bytes(dense, each, rounds_tables(bits)), EVERY_WEIGHT if whole else pattern
        found.append(_point(label, OURS, kept, each, size, row, speed))
    return found


def llama_points(name: str, opened: Opened, cell, options) -> list[Point]:
    """Each of llama.cpp's types that can be made here."""
    found = []
    kinds = llama_types.PLAIN + (() if options.quick or llama_types.library() is None else llama_types.K_TYPES)
    for kind in kinds:
        row = cell(f"llama.cpp {kind} rounded", lambda k=kind: llama_scores(opened, k))
        speed = llama_speed(opened, kind) if options.speed and kind in llama_types.PLAIN else None
        print(f"{name} {kind}: {row['perplexity']:.2f}, {speed} tokens/s", flush=True)
        size = whole_bytes(opened.dense.model, row["bits"], True)
        found.append(_point(kind, LLAMA_CPP, EVERY_WEIGHT, row["bits"], size, row, speed))
    return found


def _point(name, maker, pattern, bits, size, row, speed) -> Point:
    whole = row.get("whole_inputs")
    return Point(name, maker, pattern, bits, size, row["perplexity"], row["window_nats"], speed, whole)


def front_of(name: str, options) -> Front:
    """All points of a model."""
    opened, cell = open_model(name, options.smollm2, options.data), known_cells(name)
    if options.speed and opened.dense.model.device.type != "cpu":
        raise SystemExit(
            "Speeds are those of a CPU: use --no-speed here, and measure them where there is no accelerator."
        )
    points = [*our_points(name, opened, cell, options), *llama_points(name, opened, cell, options)]
    windows, length = opened.evaluation.shape
    found = machine()
    where = f"{found['processor']}, 1 or {found['threads']} threads, whichever is faster, {platform.system()}"
    text = f"{windows} × {length} tokens of {opened.evaluation_text.name}"
    shown, method = "SmolLM2-135M" if name == "smollm2" else name, METHODS[options.method].label
    if options.recovery:
        shown, method = f"{shown}, recovered", f"{method}, recovered on {options.recovery:,} tokens,"
    return Front(shown, WEIGHTS.get(name, "fp16"), text, where, method, points)


def print_front(front: Front) -> None:
    """The points as a table, with what pruning is beside plain bits."""
    best = {id(point) for point in leaders(front.points)}
    print(f"\n{front.model}, {front.text}, {front.method}")
    for point in sorted(front.points, key=lambda p: p.bytes):
        ratio = beside_plain(point, front.points) if point.pruned else None
        beside = f"  {ratio.value:.3f} × plain bits [{ratio.low:.3f}, {ratio.high:.3f}]" if ratio else ""
        speed = "" if point.tokens_per_s is None else f"{point.tokens_per_s:7.1f}/s"
        print(
            f"{'*' if id(point) in best else ' '} {point.maker:13} {point.name:14} {point.bits:6.2f} bits "
            f"{point.bytes / 1e6:7.2f} MB  {point.perplexity:9.2f} {speed:9}{beside}"
        )


def checks_of(front: Front) -> list[dict[str, Any]]:
    """The goals: the best pruned point of few bits beside plain bits, and 2:4 + 8 bits beside llama.cpp's Q8_0."""
    few = [p for p in front.points if p.pruned and p.bits <= 3.5]
    ratios = [ratio.value for p in few if (ratio := beside_plain(p, front.points))]
    checks = [check(f"{front.model}_pruned_against_plain_bits", min(ratios), 1.0)] if ratios else []
    speed = {p.name: p.tokens_per_s for p in front.points}
    if speed.get("2:4 + 8 bits") and speed.get("Q8_0"):
        ratio = speed["2:4 + 8 bits"] / speed["Q8_0"]
        checks.append(check(f"{front.model}_2of4_int8_speed_against_Q8_0", ratio, 1.2, higher_is_better=True))
    return checks


def main() -> int:
    """Measure, print, write, and return 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="tiny-llama, three points by SparseGPT's sweep")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result here")
    parser.add_argument("--front", type=Path, metavar="FILE", help="write what the app shows here")
    parser.add_argument("--models", nargs="+", default=["tiny-llama", "tiny-opt"])
    parser.add_argument("--method", default="eggs-ptp-plus", choices=list(METHODS))
    parser.add_argument("--smollm2", type=Path, default=SMOLLM2, help="the GGUF file, or a folder of safetensors")
    parser.add_argument("--data", type=Path, default=DATA, help="the folder of the two texts")
    parser.add_argument("--no-speed", dest="speed", action="store_false", help="perplexities alone, on any device")
    parser.add_argument("--recovery", type=int, default=0, metavar="TOKENS", help="that our points learn from")
    parser.add_argument("--points", nargs="+", default=POINTS, type=lambda said: tuple(said.split("/")))
    options = parser.parse_args()
    if options.quick:
        options.models, options.method, options.points = ["tiny-llama"], "sparsegpt", QUICK
    fronts = [front_of(name, options) for name in options.models]
    for front in fronts:
        print_front(front)
    ratios = kernel_ratios() if options.speed else []
    shown = [asdict(front) for front in fronts]
    if options.front:
        options.front.parent.mkdir(parents=True, exist_ok=True)
        options.front.write_text(json.dumps(shown, indent=1) + "\n", encoding="utf-8")
    if options.json and not options.quick:
        draw(fronts, options.json.with_suffix(".png"))
    checks = [one for front in fronts for one in checks_of(front)]
    return conclude(checks, options.json, packages=("gguf",), quick=options.quick, fronts=shown, kernel=ratios)


if __name__ == "__main__":
    raise SystemExit(main())
