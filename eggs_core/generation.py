"""Greedy generation, timed token by token: dense against packed in alternation, and as a race to watch."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from eggs_core.errors import EggsError
from eggs_core.kernels import DTYPE_NAMES
from eggs_core.packed import kernel_path
from eggs_core.timing import Quartiles, thread_count


@dataclass(frozen=True, slots=True)
class GenerationTiming:
    """End to end, for "dense" and "packed" (or any other names): seconds for the prompt and for one decoded token."""

    prompt_tokens: int
    new_tokens: int
    threads: int
    path: str
    dtypes: dict[str, str]
    first_token: dict[str, Quartiles]  # time to first token: the whole prompt, once
    per_token: dict[str, Quartiles]
    texts_equal: bool
    texts: dict[str, list[int]] = field(repr=False)

    def decode_rate(self, name: str) -> float:
        """Decoded tokens per second."""
        return 1 / self.per_token[name].median

    def prefill_rate(self, name: str) -> float:
        """Prompt tokens per second."""
        return self.prompt_tokens / self.first_token[name].median

    def speedup(self, faster: str = "packed", slower: str = "dense") -> float:
        """Ratio of decode rates."""
        return self.per_token[slower].median / self.per_token[faster].median


@torch.no_grad()
def greedy(model: PreTrainedModel, input_ids: Tensor) -> Iterator[tuple[int, float]]:
    """Greedy decoding without an end: yields (token id, seconds it took); the first also took the whole prompt.

    `input_ids` is (1, length), int64. Raises EggsError when the prompt is empty or the model's positions are used up.
    """
    if input_ids.ndim != 2 or input_ids.shape[0] != 1 or input_ids.shape[1] < 1:
        raise EggsError(f"Generation needs one prompt of shape (1, tokens); got {tuple(input_ids.shape)}.")
    limit = getattr(model.config, "max_position_embeddings", None) or 1 << 30
    cache, ids, length = DynamicCache(config=model.config), input_ids, input_ids.shape[1]
    cuda = input_ids.is_cuda
    while True:
        if length > limit:
            raise EggsError(f"The model reads at most {limit} tokens; shorten the prompt or generate fewer tokens.")
        start = time.perf_counter()
        with torch.no_grad():
            logits = model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1).logits
            ids = logits[:, -1:].argmax(-1)
            token = int(ids)
        if cuda:
            torch.cuda.synchronize()
        yield token, time.perf_counter() - start
        length += 1


def measure_generation(
    dense_model: PreTrainedModel,
    packed_model: PreTrainedModel,
    input_ids: Tensor,
    *,
    new_tokens: int = 32,
    rounds: int = 3,
    threads: int | None = None,
    others: Mapping[str, PreTrainedModel] | None = None,
) -> GenerationTiming:
    """Time prefill and greedy decoding of models on one prompt (1, length), token by token in alternation.

    After one warm-up generation each, every round starts all models anew and lets them decode one token in turn.
    `others` names further models for the same run, such as a dense bf16 one beside fp32.
    """
    models = {"dense": dense_model, "packed": packed_model, **(others or {})}
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
    return GenerationTiming(
        prompt_tokens=input_ids.shape[1],
        new_tokens=new_tokens,
        threads=used,
        path=kernel_path(),
        dtypes={name: DTYPE_NAMES.get(model.dtype, str(model.dtype)) for name, model in models.items()},
        first_token={name: Quartiles.of(t) for name, t in first.items()},
        per_token={name: Quartiles.of(t) for name, t in later.items()},
        texts_equal=texts["dense"] == texts["packed"],
        texts=texts,
    )


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
