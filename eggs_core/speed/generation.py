"""Generation: greedy and timed, dense against packed in alternation and as a race; and sampled, side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from eggs_core.errors import EggsError
from eggs_core.models.architectures import context_length
from eggs_core.packed.grid import Grid
from eggs_core.packed.kernel.library import DTYPE_NAMES, kernel_path
from eggs_core.packed.linear import PackedLinear
from eggs_core.packed.model import packed_copy
from eggs_core.pattern import Patterns
from eggs_core.report_types import Latency, Side
from eggs_core.speed.alternation import Quartiles, thread_count
from eggs_core.speed.native_step import decode_path
from eggs_core.speed.reader import Reader, written
from eggs_core.speed.sampling import Choice, drawn

if TYPE_CHECKING:  # it takes transformers seconds to import its models
    from transformers import PreTrainedModel


@torch.no_grad()
def greedy(
    model: PreTrainedModel,
    input_ids: Tensor,
    choose: Choice | None = None,
    *,
    native: bool = True,
) -> Iterator[tuple[int, float]]:
    """Decoding without an end: yields (token id, seconds it took); the first also took the whole prompt.

    `input_ids` is (1, length), int64; `choose` takes logits (1, vocabulary) to token ids (1,), the likeliest by
    default. Without `native`, every token goes through transformers, to compare. Raises EggsError when the prompt is
    empty or the model's positions are used up.
    """
    if input_ids.ndim != 2 or input_ids.shape[0] != 1 or input_ids.shape[1] < 1:
        raise EggsError(f"Generation needs one prompt of shape (1, tokens); got {tuple(input_ids.shape)}.")
    limit = context_length(model.config)
    length = input_ids.shape[1]
    steps = _tokens(Reader(model, native), input_ids, choose)
    while True:
        if limit is not None and length > limit:
            raise EggsError(f"The model reads at most {limit} tokens; shorten the prompt or generate fewer tokens.")
        start = time.perf_counter()
        token = next(steps)
        yield token, time.perf_counter() - start
        length += 1


def _tokens(reader: Reader, ids: Tensor, choose: Choice | None) -> Iterator[int]:
    """Token after token behind a prompt (1, length); the first comes when all of it was read."""
    for _ in reader.read(ids):
        pass
    yield from written(reader, choose)


def sample(model: PreTrainedModel, input_ids: Tensor, temperature: float, seed: int) -> Iterator[int]:
    """Token ids drawn as by `drawn`, without an end; arguments and errors as for greedy."""
    for token, _ in greedy(model, input_ids, drawn(temperature, seed)):
        yield token


def measure_generation(
    dense_model: PreTrainedModel,
    pruned_model: PreTrainedModel,
    input_ids: Tensor,
    masks: Mapping[str, Tensor] | None = None,
    pattern: Patterns | None = None,
    permutations: Mapping[str, Tensor] | None = None,
    *,
    new_tokens: int = 16,
    rounds: int = 3,
    threads: int | None = None,
    grids: Mapping[str, Grid] | None = None,
    others: Mapping[str, PreTrainedModel] | None = None,
) -> Latency:
    """Time prefill and greedy decoding of models on one prompt (1, length), token by token in alternation.

    `pruned_model` is packed already and runs as "packed"; or it is dense with zeros, `masks` and `pattern` are given,
    and it runs as "zeros" with a packed twin of it as "packed". `others` names further models for the same run. After
    a warm-up each, every round starts all models anew and lets them decode one token in turn, at equal threads.

    Of the result, "texts_equal" compares packed with zeros, else with dense.
    """
    models: dict[str, PreTrainedModel] = {"dense": dense_model}
    if masks is None:
        models["packed"] = pruned_model
    elif pattern is None:
        raise EggsError("Timing a pruned model in packed form needs the N:M pattern beside its masks.")
    else:
        models |= {"zeros": pruned_model, "packed": packed_copy(pruned_model, masks, pattern, permutations, grids)}
    models |= others or {}
    first: dict[str, list[float]] = {name: [] for name in models}
    later: dict[str, list[float]] = {name: [] for name in models}
    texts: dict[str, list[int]] = {}
    with thread_count(threads) as used:
        for model in models.values():
            steps = greedy(model, input_ids)
            for _ in range(3):
                next(steps)
        for _ in range(rounds):
            running = {name: greedy(model, input_ids) for name, model in models.items()}
            texts = {name: [] for name in models}
            for index in range(new_tokens):
                for name, steps in running.items():
                    token, seconds = next(steps)
                    texts[name].append(token)
                    (first if index == 0 else later)[name].append(seconds)
    length = input_ids.shape[1]
    sides = {name: _side(model, first[name], later[name], length) for name, model in models.items()}
    found = {
        "decode_path": decode_path(models["packed"]),
        "kernel": kernel_path() if input_ids.device.type == "cpu" else _paths(models["packed"]),
        "threads": used,
        "device": str(input_ids.device),
        "prompt_tokens": length,
        "new_tokens": new_tokens,
        "texts_equal": texts["packed"] == texts["zeros" if "zeros" in texts else "dense"],
        "texts": texts,
        "decode_speedup": sides["dense"]["ms_per_token"]["median"] / sides["packed"]["ms_per_token"]["median"],
        **sides,
    }
    return cast(Latency, found)  # a TypedDict cannot name the further models


def _side(model: PreTrainedModel, first: list[float], later: list[float], prompt: int) -> Side:
    return {
        "dtype": DTYPE_NAMES.get(model.dtype, str(model.dtype)),
        "ms_per_token": Quartiles.of(1e3 * t for t in later).to_dict(),
        "decode_tokens_per_s": Quartiles.of(1 / t for t in later).to_dict(),
        "first_token_ms": Quartiles.of(1e3 * t for t in first).to_dict(),
        "prefill_tokens_per_s": Quartiles.of(prompt / t for t in first).to_dict(),
    }


def _paths(model: PreTrainedModel) -> str:
    """The paths of a model's packed layers on an accelerator, each named once."""
    return " · ".join(sorted({m.path for m in model.modules() if isinstance(m, PackedLinear)}))


@dataclass(frozen=True, slots=True)
class RaceStep:
    """One token of a race: who produced it, its number from 1, and the side's own time and rate up to it."""

    side: str
    token: int
    index: int
    seconds: float  # of this side's own computing, the prompt included
    first_token: float
    tokens_per_second: float  # after the first token; 0 until there is a second


def race(
    dense_model: PreTrainedModel,
    packed_model: PreTrainedModel,
    input_ids: Tensor,
    max_new_tokens: int = 64,
    *,
    stop: Callable[[], bool] = lambda: False,
    end_token: int | None = None,
) -> Iterator[RaceStep]:
    """Let "dense" and "packed" generate from one prompt (1, length) and yield every token as it comes.

    The sides take turns, each on all threads, and whoever has used less time computes next: the tokens appear in the
    order in which two equal machines would show them. `stop()` is asked before every token; closing the generator also
    ends the race. A side ends after max_new_tokens or at `end_token`.
    """
    running = {"dense": greedy(dense_model, input_ids), "packed": greedy(packed_model, input_ids)}
    spent = dict.fromkeys(running, 0.0)
    firsts, counts = dict(spent), dict.fromkeys(running, 0)
    while running and max_new_tokens > 0 and not stop():
        side = min(running, key=lambda s: spent[s])
        token, seconds = next(running[side])
        spent[side] += seconds
        counts[side] += 1
        if counts[side] == 1:
            firsts[side] = seconds
        after = spent[side] - firsts[side]
        rate = (counts[side] - 1) / after if after > 0 else 0.0
        yield RaceStep(side, token, counts[side], spent[side], firsts[side], rate)
        if counts[side] >= max_new_tokens or token == end_token:
            del running[side]
