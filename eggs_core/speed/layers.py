"""Layers timed, dense against packed, always in alternation; and how fast memory is read."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from eggs_core.masks.selection import topn
from eggs_core.models.architectures import is_linear, shape_of
from eggs_core.packed.kernel import library as kernels
from eggs_core.packed.kernel.huge_pages import Arena, huge_block
from eggs_core.packed.kernel.library import DTYPE_NAMES
from eggs_core.packed.linear import PackedLinear
from eggs_core.pattern import NMPattern
from eggs_core.speed.alternation import Quartiles, alternate, thread_count

if TYPE_CHECKING:  # it takes transformers seconds to import its models
    pass

TOKENS = (1, 4, 16, 128, 1024)


@dataclass(frozen=True, slots=True)
class LayerTiming:
    """One layer shape at one token count: dense and packed in each dtype ("fp32", "bf16"), at equal threads."""

    out_features: int
    in_features: int
    tokens: int
    threads: int
    pattern: str
    dense: dict[str, Quartiles]
    packed: dict[str, Quartiles]
    paths: dict[str, str]  # dtype -> what multiplied the packed layer
    packed_bytes: dict[str, int]
    read: dict[str, Quartiles] = field(default_factory=dict)  # a loop that only reads as many bytes, where measured

    def speedup(self, dtype: str) -> float:
        """Packed against dense of the same dtype; below 1 the packed layer is slower."""
        return self.dense[dtype].median / self.packed[dtype].median

    def to_dict(self) -> dict[str, object]:
        """Plain values, ready for JSON, with the ratios."""
        ratios = {name: self.speedup(name) for name in self.dense}
        return asdict(self) | {"speedup": ratios, "best_dense": self.best_dense, "best_speedup": self.best_speedup}

    @property
    def best_dense(self) -> str:
        """The dtype in which dense is fastest: the baseline that counts."""
        return min(self.dense, key=lambda d: self.dense[d].median)

    @property
    def best_speedup(self) -> float:
        """The faster packed dtype against the faster dense one."""
        return self.dense[self.best_dense].median / min(q.median for q in self.packed.values())

    def bandwidth(self, dtype: str) -> float:
        """GB/s at which the packed weights were read, if they were read once a call."""
        return self.packed_bytes[dtype] / self.packed[dtype].median / 1e9

    def read_share(self, dtype: str) -> float:
        """How much of the memory's read bandwidth the packed product reaches: both took turns on as many bytes."""
        return self.read[dtype].median / self.packed[dtype].median

    def ceiling(self, dtype: str) -> float:
        """The speedup over dense that a product would have which took no longer than reading its packed bytes."""
        return self.dense[dtype].median / self.read[dtype].median


def random_layer(
    out_features: int, in_features: int, pattern: NMPattern, dtype: torch.dtype, device: str | torch.device = "cpu"
) -> tuple[PackedLinear, Tensor]:
    """A packed layer of random weights under a random mask, and the same weight with its zeros, (out, in)."""
    weight = torch.randn(out_features, in_features)
    pattern.check("to be measured", (out_features, in_features))
    mask = topn(weight.abs(), pattern)
    weight = (weight * mask).to(device, dtype)
    return PackedLinear.from_dense(weight, mask, pattern), weight


def layer_shapes(model: nn.Module) -> list[tuple[int, int]]:
    """The distinct (out, in) shapes of a model's linear layers, packed or dense, in order, without the LM head."""
    from transformers import PreTrainedModel

    head = model.get_output_embeddings() if isinstance(model, PreTrainedModel) else None
    shapes: dict[tuple[int, int], None] = {}
    for module in model.modules():
        if isinstance(module, PackedLinear):
            shapes[module.out_features, module.in_features] = None
        elif is_linear(module) and module is not head:
            shapes[shape_of(module)] = None
    return list(shapes)


@torch.no_grad()
def measure_layers(
    shapes: Iterable[tuple[int, int]],
    pattern: NMPattern,
    *,
    tokens: Iterable[int] = TOKENS,
    dtypes: Iterable[torch.dtype] = (torch.float32, torch.bfloat16),
    threads: int | None = None,
    rounds: int = 30,
    seconds: float = 1.0,
    beyond_cache: int = 0,
    ceiling: bool = False,
    device: str | torch.device = "cpu",
) -> Iterator[LayerTiming]:
    """Time dense and packed products of (out, in) layers, yielding one LayerTiming per shape and token count.

    `seconds` bounds each cell. With `beyond_cache` bytes > 0, as many copies of each weight take turns as exceed it, so
    that every call reads from memory as a whole model's would; otherwise one weight stays in whatever cache holds it.
    Packed weights lie in memory as pack_model lays them. With `ceiling`, a loop that only reads as many bytes on a CPU
    takes turns with the products.
    """
    cuda = torch.device(device).type == "cuda"
    for out_features, in_features in shapes:
        arena = Arena()
        layers: dict[str, list[tuple[PackedLinear, Tensor]]] = {}
        for dtype in dtypes:
            copies = 1 + beyond_cache // max(1, out_features * in_features * dtype.itemsize)
            layer, weight = random_layer(out_features, in_features, pattern, dtype, device)
            layers[DTYPE_NAMES[dtype]] = [(arena.settle(copy.deepcopy(layer)), weight.clone()) for _ in range(copies)]
        blocks = {n: [_filled(m.nbytes) for m, _ in made] for n, made in layers.items()} if ceiling else {}
        for count in tokens:
            functions: dict[str, Callable[[], object]] = {
                f"read {name}": _in_turn([partial(read_memory, block) for block in made], cuda)
                for name, made in blocks.items()
            }
            for dtype in dtypes:
                name = DTYPE_NAMES[dtype]
                x = torch.randn(count, in_features).to(device, dtype)
                packed = _in_turn([partial(layer, x) for layer, _ in layers[name]], cuda)
                dense = _in_turn([partial(_dense_layer(weight), x) for _, weight in layers[name]], cuda)
                functions |= {f"dense {name}": dense, f"packed {name}": packed}
            with thread_count(threads) as used:
                times = alternate(functions, rounds=rounds, seconds=seconds)
                unpacks = kernels.kernel() is not None and not cuda
                yield LayerTiming(
                    out_features,
                    in_features,
                    count,
                    used,
                    str(pattern),
                    {name: times[f"dense {name}"] for name in layers},
                    {name: times[f"packed {name}"] for name in layers},
                    {
                        name: made[0][0].path_with(count) + (_with_many(made[0][0], count) if unpacks else "")
                        for name, made in layers.items()
                    },
                    {name: made[0][0].nbytes for name, made in layers.items()},
                    {name: times[f"read {name}"] for name in blocks},
                )


def _dense_layer(weight: Tensor) -> nn.Linear:
    """The weight as a model has it: a call costs what a module's call costs, as a packed layer's does."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    layer.weight = nn.Parameter(weight, requires_grad=False)
    return layer


def _with_many(layer: PackedLinear, tokens: int) -> str:
    if tokens <= kernels.max_tokens(layer.dtype):
        return ""
    if not layer.takes_many:
        return ", unpacked by tiles into torch's GEMM"
    return ", unpacked by panels of rows" if layer.path_with(tokens).endswith("BF16") else ", tokens side by side"


def _in_turn(calls: list[Callable[[], object]], cuda: bool) -> Callable[[], None]:
    """One function that makes the next of `calls` each time, and on CUDA waits until it is done."""
    state = {"next": 0}

    def call() -> None:
        calls[state["next"]]()
        state["next"] = (state["next"] + 1) % len(calls)
        if cuda:
            torch.cuda.synchronize()

    return call


def _filled(size: int) -> Tensor:
    """At least `size` bytes as fp32 ones on huge pages, where packed weights lie as well."""
    return huge_block(size)[: -(-size // 4) * 4].view(torch.float32).fill_(1)


def read_memory(data: Tensor) -> None:
    """Read fp32 `data` once from beginning to end with torch's number of threads, and do nothing else."""
    found = kernels.kernel()
    if found is None:
        data.sum()
    else:
        threads, path = torch.get_num_threads(), kernels.path_number()
        found.lib.eggs_read_memory(data.data_ptr(), data.numel(), threads, path, found.parallel)


def memory_bandwidth(threads: int | None = None, megabytes: int = 512, repeats: int = 8) -> float:
    """GB/s at which this machine reads memory with that many threads: the best of some passes over a large array.

    The array lies on huge pages, as packed weights do, so that it is the limit for them.
    """
    data, best = _filled(megabytes * 1_000_000), float("inf")
    with thread_count(threads):
        for _ in range(repeats):
            start = time.perf_counter()
            read_memory(data)
            best = min(best, time.perf_counter() - start)
    return data.nbytes / best / 1e9
