"""Latency and size of packed N:M weights against dense ones.

    python benchmarks/latency.py [--quick] [--part NAME ...] [--json FILE]

Every ratio compares things that took turns in this run. Beside it stands its ceiling: a loop that only reads as many
bytes, on huge pages, took turns with them. Parts that were measured by this code are kept under build/latency, so an
interrupted run goes on where it was; parts that are named are measured anew. --quick measures layers, two patterns of
the kernel and bytes. The full run adds SmolLM2-135M (fetched once with pip), a random Llama of 1.1 B parameters, and
llama.cpp where xllamacpp is installed.
"""

import argparse
import copy
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from transformers import LlamaConfig, LlamaForCausalLM  # noqa: E402

from benchmarks.decoding import DTYPES, P24, PAIRS, decode_row, magnitude_masks, peer_row, smollm2_pair  # noqa: E402
from benchmarks.outcome import check, conclude  # noqa: E402
from benchmarks.quality import known_cells  # noqa: E402
from eggs_core.packed.byte_counts import size_breakdown  # noqa: E402
from eggs_core.packed.hf_folder import save_hf  # noqa: E402
from eggs_core.packed.kernel import library as kernels  # noqa: E402
from eggs_core.packed.kernel.huge_pages import Arena  # noqa: E402
from eggs_core.packed.model import pack_model  # noqa: E402
from eggs_core.packed.writing import save_packed  # noqa: E402
from eggs_core.pattern import NMPattern  # noqa: E402
from eggs_core.speed.alternation import alternate, thread_count  # noqa: E402
from eggs_core.speed.layers import measure_layers, memory_bandwidth, random_layer  # noqa: E402

TIMED = ("packed", "speed", "pattern.py")  # what decides a figure
THREADS = tuple(sorted({1, min(2, os.cpu_count() or 1)}))
BEYOND_CACHE = 160 << 20  # bytes of weights in turn, several times the last-level cache
KERNEL_PATTERNS = ("1:4", "2:4", "3:4", "2:8", "4:8")
SHAPES = [(576, 576), (192, 576), (1536, 576), (576, 1536), (2048, 2048), (4096, 4096)]
PREFILL = (16, 64, 256, 1024)
CONTEXTS = (64, 1024)


def paths() -> dict[str, str]:
    """This processor's best path, and AVX2 where it has more: short name -> name."""
    best = kernels.PATHS[kernels.path_number()]
    return {"best": best} | ({"avx2": "AVX2"} if kernels.path_number() > 1 else {})


def layer_rows(
    shapes, tokens, threads: int, seconds: float, pattern: NMPattern = P24, beyond_cache: int = 0, ceiling: bool = False
) -> list[dict]:
    """measure_layers as plain rows, printed as they come."""
    rows = []
    measured = measure_layers(
        shapes, pattern, tokens=tokens, threads=threads, seconds=seconds, rounds=200,
        beyond_cache=beyond_cache, ceiling=ceiling,
    )  # fmt: skip
    for t in measured:
        rates = {"gb_per_s": {d: t.bandwidth(d) for d in t.packed}, "ceiling": {d: t.ceiling(d) for d in t.read}}
        rates["read_share"] = {d: t.read_share(d) for d in t.read}
        rows.append(t.to_dict() | {"path": kernels.kernel_path(), "beyond_cache": bool(beyond_cache)} | rates)
        title = f"{pattern}, {t.out_features}×{t.in_features}, {t.tokens} tokens, {t.threads} threads"
        print(f"  {kernels.kernel_path()}, {title}{' from memory' if beyond_cache else ''}:", end="")
        for d in t.dense:
            micros = f"{1e6 * t.dense[d].median:.0f} → {1e6 * t.packed[d].median:.0f} µs"
            limit = f" (of reading {t.read_share(d):.2f})" if d in t.read else ""
            print(f" {d} {micros} × {t.speedup(d):.2f}{limit};", end="")
        print(flush=True)
    return rows


def layers_part(quick: bool) -> dict:
    """One token times layers of 4096²: out of the cache as it comes, from memory, and on both kinds of pages."""
    seconds, large = (1.0, [(4096, 4096)]) if quick else (3.0, [(4096, 4096), (11008, 4096)])
    found: dict = {"bandwidth_gb_per_s": {str(n): memory_bandwidth(n, 256, 4 if quick else 12) for n in THREADS}}
    print("  memory read, GB/s by threads:", found["bandwidth_gb_per_s"], flush=True)
    found["one"] = [row for n in THREADS for row in layer_rows([(4096, 4096)], (1,), n, seconds, ceiling=True)]
    found["from_memory"] = layer_rows(large, (1,), THREADS[-1], seconds, beyond_cache=BEYOND_CACHE, ceiling=True)
    found["pages_ms"] = {str(n): pages_row(n, seconds) for n in THREADS}
    found["call_overhead_us"] = call_overhead()
    print("  call overhead:", ", ".join(f"{k} {v:.1f} µs" for k, v in found["call_overhead_us"].items()), flush=True)
    return found


def pages_row(threads: int, seconds: float) -> dict[str, float]:
    """ms of 4096² in fp32, dense and packed, each on ordinary pages and on the huge pages that pack_model asks for.

    torch's own weights lie on ordinary pages; this says which part of a speedup comes from the pages.
    """
    packed, weight = random_layer(4096, 4096, P24, torch.float32)
    arena = Arena()
    moved, huge = arena.settle(copy.deepcopy(packed)), arena.take(weight)
    x = torch.randn(1, 4096)
    functions = {
        "dense": lambda: torch.nn.functional.linear(x, weight),
        "dense, huge pages": lambda: torch.nn.functional.linear(x, huge),
        "packed": lambda: packed(x),
        "packed, huge pages": lambda: moved(x),
    }
    with torch.no_grad(), thread_count(threads):
        times = alternate(functions, rounds=200, seconds=seconds)
    found = {name: 1e3 * q.median for name, q in times.items()}
    print(f"  pages, {threads} threads:", ", ".join(f"{k} {v:.2f} ms" for k, v in found.items()), flush=True)
    return found


def call_overhead() -> dict[str, float]:
    """µs of a call on a layer too small to matter: nn.Linear, PackedLinear; three siblings apart and joined."""
    names = ("q_proj", "k_proj", "v_proj")
    with torch.no_grad(), thread_count(1):
        packed, weight = random_layer(16, 64, P24, torch.float32)
        dense = torch.nn.Linear(64, 16, bias=False)
        dense.weight.data = weight
        parent = torch.nn.Module()
        for name in names:
            setattr(parent, name, torch.nn.Linear(64, 16, bias=False))
        pack_model(parent, dict.fromkeys(names, weight != 0), P24)
        trio, apart = [getattr(parent, n) for n in names], [random_layer(16, 64, P24, torch.float32)[0] for _ in names]
        inputs = [torch.randn(1, 1, 64) for _ in range(8)]

        def repeat(function: Callable) -> Callable:
            return lambda: [function(inputs[i & 7]) for i in range(200)]

        functions = {
            "nn.Linear": repeat(dense),
            "PackedLinear": repeat(packed),
            "three packed": repeat(lambda x: [m(x) for m in apart]),
            "three joined": repeat(lambda x: [m(x) for m in trio]),
            "three nn.Linear": repeat(lambda x: [dense(x) for _ in range(3)]),
        }
        times = alternate(functions, rounds=40)
    return {name: 1e6 * q.median / 200 for name, q in times.items()}


def kernel_part(quick: bool) -> dict:
    """How near the kernel comes to reading its bytes from memory and doing nothing else, by path and pattern."""
    rows = []
    for path in paths().values():
        with kernels.force_path(path):
            for pattern in ("2:4", "4:8") if quick else KERNEL_PATTERNS:
                for threads in THREADS:
                    seconds, kind = 0.6 if quick else 1.5, NMPattern.parse(pattern)
                    rows += layer_rows([(2048, 4096)], (1,), threads, seconds, kind, BEYOND_CACHE, True)
    return {"rows": rows}


# torch as it is on a processor without AVX-512: what AVX2 with many tokens is fairly compared with.
AVX2_ONLY = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}


def by_path(part: str, quick: bool) -> dict:
    """The rows of a part by the best path, and by AVX2 in a process in which torch, too, knows no more than that."""
    rows, others = ROWS[part](quick), [name for name in paths().values() if name != paths()["best"]]
    for path in others:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "rows.json"
            command = [sys.executable, __file__, "--rows", part, path, str(file), *(["--quick"] if quick else [])]
            subprocess.run(command, env=os.environ | AVX2_ONLY, check=True)
            rows += json.loads(file.read_text())
    return {"rows": rows}


def sweep_rows(quick: bool) -> list[dict]:
    """Layer shapes by number of tokens: what is never to be slower than dense."""
    shapes, counts = (SHAPES[:5:2], (1, 16)) if quick else (SHAPES, (1, 4, 16, 64, 256, 1024))
    return layer_rows(shapes, counts, THREADS[-1], 0.15 if quick else 0.5)


RESIDENT = """
import os, sys, torch
torch.set_num_threads(1)
from eggs_core.packed.file import load_packed
from transformers import AutoModelForCausalLM
for path in sys.argv[1:]:
    sys.stdout.flush()
    if os.fork() == 0:  # every file in a process of its own, which has the imports
        packed = path.endswith('.safetensors')
        model = load_packed(path) if packed else AutoModelForCausalLM.from_pretrained(path, dtype='auto')
        for _ in range(2):
            model(torch.zeros(1, 1, dtype=torch.long))
        print(next(x for x in open('/proc/self/status') if x.startswith('VmRSS')).split()[1], flush=True)
        os._exit(0)
    os.wait()
"""


def resident(*files: Path) -> list[int]:
    """Bytes of resident memory of processes that each opened one model and read a token."""
    command = [sys.executable, "-c", RESIDENT, *map(str, files)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [1024 * int(line) for line in done.stdout.split()]


def bytes_part(quick: bool) -> dict:
    """Packed against dense bytes of the pruned layers: counted, resident in processes of their own, and on disk."""
    wide, depth = (1024, 3) if quick else (2048, 4)
    torch.manual_seed(0)
    sizes = {"hidden_size": wide, "intermediate_size": 4 * wide, "num_attention_heads": 16}
    rows = {}
    for name, dtype in DTYPES.items():
        with tempfile.TemporaryDirectory() as folder:
            files, disk = [], []
            for layers in (1, 1 + depth):  # equal shapes, so that both run the same code
                model = LlamaForCausalLM(LlamaConfig(vocab_size=32, num_hidden_layers=layers, **sizes)).to(dtype)
                masks = magnitude_masks(model, model.get_output_embeddings())
                files.append(save_hf(model, None, Path(folder) / f"{layers}-dense"))
                files.append(save_packed(model, Path(folder) / f"{layers}.safetensors", masks=masks, pattern=P24))
                disk += [(files[-2] / "model.safetensors").stat().st_size, files[-1].stat().st_size]
            counted, held = size_breakdown(model, masks, P24), resident(*files)
        row = rows[name] = {
            "dense_bytes": counted["dense_pruned"],
            "counted": counted["packed_pruned"] / counted["dense_pruned"],
            "resident": (held[3] - held[1]) / (held[2] - held[0]),
            "on_disk": (disk[3] - disk[1]) / (disk[2] - disk[0]),
            "formula": counted["formula"],
        }
        shown = ", ".join(f"{key} {row[key]:.4f}" for key in ("counted", "resident", "on_disk"))
        print(f"  {name}: {shown} of dense", flush=True)
    return rows


def decode_part(model: str, dtype: str) -> dict:
    """One token, dense and packed, by path, threads and context; SmolLM2's also by transformers."""
    pair, rows = PAIRS[model](dtype), []
    seconds = 2.0 if model == "smollm2" else 3.5
    for path in paths().values():
        with kernels.force_path(path):
            for threads in THREADS:
                compare = model == "smollm2" and threads == THREADS[-1] and path == paths()["best"]
                rows += [decode_row(pair, threads, context, seconds, compare) for context in CONTEXTS]
    return {"rows": rows}


@torch.no_grad()
def prefill_rows(_quick: bool) -> list[dict]:
    """Whole prompts through SmolLM2, dense and packed in turn."""
    rows, path = [], kernels.PATHS[kernels.path_number()]
    for dtype in DTYPES:
        pair = smollm2_pair(dtype)
        for tokens in PREFILL:
            ids = torch.arange(tokens)[None] * 37 % 40000
            models = {"dense": pair.dense, "packed": pair.packed}
            functions = {
                name: lambda model=model, ids=ids: model(input_ids=ids, use_cache=True, logits_to_keep=1)
                for name, model in models.items()
            }
            with thread_count(THREADS[-1]):
                times = alternate(functions, rounds=30, seconds=2.0, warm_up=1)
            row = {"dtype": dtype, "path": path, "tokens": tokens}
            row |= {"ms": {name: 1e3 * q.median for name, q in times.items()}}
            row["speedup"] = times["dense"].median / times["packed"].median
            rows.append(row)
            print(f"  {path}, {dtype}, {tokens} tokens: × {row['speedup']:.3f}", row["ms"], flush=True)
    return rows


ROWS = {"sweep": sweep_rows, "prefill": prefill_rows}


def peer_part() -> dict:
    """SmolLM2 in bf16 beside llama.cpp's BF16."""
    pair, rows = smollm2_pair("bf16"), []
    with tempfile.TemporaryDirectory() as folder:
        for threads in THREADS:
            row = peer_row(pair, Path(folder), threads)
            rows += [row] if row else []
    return {"rows": rows}


def decode_checks(part: str, found: dict) -> Iterator[dict]:
    """The bars of a decode part, each by its worst cell."""
    model = part.replace("-", "_")
    for short, path in paths().items():
        rows = [row for row in found["rows"] if row["path"] == path or (short == "best" and row["path"] != "AVX2")]
        yield check(f"{model}_{short}_of_memory_limit", min(r["of_memory_limit"] for r in rows), 0.70, True)
        yield check(f"{model}_{short}_speedup_of_bytes", min(r["speedup_of_bytes"] for r in rows), 0.9, True)
        for row in rows:
            if "of_transformers" in row:
                name = f"{model}_{short}_of_transformers_context_{row['context']}"
                yield check(name, row["of_transformers"], 3.5, True)


def checks_of(tables: dict[str, dict]) -> list[dict]:
    """The bars, for what was measured."""
    checks = []
    for row in tables.get("layers", {}).get("one", ()):
        for dtype, bars in (("fp32", (2.0, 3.5)), ("bf16", (2.5, 2.0))):
            bar, name = bars[row["threads"] > 1], f"packed_4096_{dtype}_{row['threads']}threads"
            checks.append(check(name, row["speedup"][dtype], bar, True))
    if "kernel" in tables:
        for short, path in paths().items():
            rows = [r for r in tables["kernel"]["rows"] if (r["path"] == "AVX2") == (path == "AVX2")]
            share = min(value for row in rows for value in row["read_share"].values())
            checks.append(check(f"kernel_{short}_of_reading", share, 0.9 if path == "AVX2" else 0.75, True))
    if "sweep" in tables:
        one = [v for r in tables["sweep"]["rows"] for v in r["speedup"].values() if r["tokens"] == 1]
        checks.append(check("slowest_layer_one_token", min(one), 1.0, True))
    for dtype, row in tables.get("bytes", {}).items():
        worst = max(row[name] for name in ("counted", "resident", "on_disk"))
        checks.append(check(f"packed_bytes_{dtype}", worst, 0.54 if dtype == "fp32" else 0.57))
    for part, found in tables.items():
        if part.partition("-")[0] in PAIRS:
            checks += decode_checks(part, found)
    if "prefill" in tables:
        checks.append(check("smollm2_prefill", min(r["speedup"] for r in tables["prefill"]["rows"]), 0.95, True))
    for row in tables.get("peer", {}).get("rows", ()):
        checks.append(check(f"smollm2_bf16_of_llama_cpp_{row['threads']}threads", row["of_peer"], 1.4, True))
    return checks


def table_of(tables: dict[str, dict]) -> list[str]:
    """The decode parts as rows of a table in Markdown."""
    lines = [
        "| Model | Path | Threads | Context | Dense, ms | Packed, ms | Against dense | of the bytes' ratio "
        "| of the memory's limit | Against transformers |",
        "|" + "---|" * 10,
    ]
    for part, found in tables.items():
        for row in found["rows"] if part.partition("-")[0] in PAIRS else ():
            ms = row["ms_per_token"]
            users = f"{row['of_transformers']:.1f} ×" if "of_transformers" in row else ""
            lines.append(
                f"| {part} | {row['path']} | {row['threads']} | {row['context']:,} | {ms['dense']:.2f} "
                f"| {ms['packed']:.2f} | {row['speedup']:.2f} × | {row['speedup_of_bytes']:.2f} "
                f"| {row['of_memory_limit']:.0%} | {users} |"
            )
    return lines if len(lines) > 2 else []


def parts(quick: bool) -> dict[str, Callable[[], dict]]:
    """What is measured, by name."""
    found = {
        "layers": lambda: layers_part(quick),
        "kernel": lambda: kernel_part(quick),
        "sweep": lambda: by_path("sweep", quick),
        "bytes": lambda: bytes_part(quick),
    }
    if quick:
        return found
    for model in PAIRS:
        for dtype in DTYPES:
            found[f"{model}-{dtype}"] = lambda model=model, dtype=dtype: decode_part(model, dtype)
    return found | {"prefill": lambda: by_path("prefill", quick), "peer": peer_part}


def main() -> int:
    """Measure, print, write JSON if asked, and return 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer parts and repeats: at most 45 s on two cores")
    parser.add_argument("--part", nargs="+", choices=list(parts(False)), help="measure these anew")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--rows", nargs=3, metavar=("PART", "PATH", "FILE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    begin = time.monotonic()
    kernels.kernel()
    if options.rows:
        part, path, file = options.rows
        with kernels.force_path(path):
            Path(file).write_text(json.dumps(ROWS[part](options.quick)))
        return 0
    print(f"kernel: {kernels.kernel_note()}")
    torch.manual_seed(0)
    cell = known_cells("latency", ROOT / "build" / "latency", TIMED)
    tables, seconds = {}, {}
    for name, measure in parts(options.quick).items():
        if options.part and name not in options.part:
            continue
        started = time.monotonic()
        print(name, flush=True)
        tables[name] = measure() if options.quick else cell(name, measure, anew=bool(options.part))
        seconds[name] = round(time.monotonic() - started, 1)
    print(f"{time.monotonic() - begin:.0f} s", seconds)
    print("\n".join(table_of(tables)))
    return conclude(checks_of(tables), options.json, quick=options.quick, tables=tables, kernel=kernels.kernel_path())


if __name__ == "__main__":
    raise SystemExit(main())
