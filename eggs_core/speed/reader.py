"""A model's place in one text: prompts go through transformers, what follows through the native step where it can."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import takewhile
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from transformers import DynamicCache

from eggs_core.speed.native_model import why_not
from eggs_core.speed.native_step import NativeStep
from eggs_core.speed.sampling import Choice

if TYPE_CHECKING:  # it takes transformers seconds to import its models
    from transformers import PreTrainedModel


class Reader:
    """The tokens that a model has read and the cache that they left; for one caller at a time.

    `logits` are those of the last token read, (1, vocabulary), and `known` is how many tokens of the last prompt were
    in the cache already.
    """

    logits: Tensor

    def __init__(self, model: PreTrainedModel, native: bool = True) -> None:
        """Without `native`, every token goes through transformers."""
        self.model, self.known = model, 0
        self._covered = native and not why_not(model)
        self.forget()

    def forget(self) -> None:
        """Keep nothing of what was read."""
        self._read: list[int] = []
        self._cache: DynamicCache | None = None  # either this one goes on, or the native step
        self._step: NativeStep | None = None

    def read(self, ids: Tensor, part: int | None = None) -> Iterator[None]:
        """Read a prompt (1, tokens), int64, yielding after every `part` tokens of it; whoever stops then can go on.

        What it begins with is not read again if it was read already: the native step goes back to any place in its
        text, the cache of transformers only goes on from its end.
        """
        wanted = ids[0].tolist()
        cache, self.known = self._going_on(wanted)
        self.forget()
        step = part or len(wanted)
        for start in range(self.known, len(wanted), step):
            self._forward(ids[:, start : start + step], cache)
            self._cache, self._read = cache, wanted[: start + step]
            yield
        if self._covered:
            self._step, self._cache = NativeStep(self.model, cache, len(wanted)), None

    def step(self, token: int) -> int:
        """Read one token more; returns the likeliest next one, and `logits` say the rest."""
        self._read.append(token)
        if self._step is not None:
            best = self._step(token)
            self.logits = self._step.logits
            return best
        self._forward(torch.tensor([[token]], device=self.logits.device), self._cache)
        return self.likeliest

    @property
    def likeliest(self) -> int:
        """The likeliest next token."""
        return int(self.logits.argmax(-1))

    @torch.no_grad()
    def _forward(self, ids: Tensor, cache: DynamicCache | None) -> None:
        try:
            self.logits = self.model(input_ids=ids, cache=cache, use_cache=True, logits_to_keep=1).logits[:, -1]
        except BaseException:  # such as too little memory: how much the cache holds is not known
            self.forget()
            raise

    def _going_on(self, wanted: list[int]) -> tuple[DynamicCache, int]:
        """A cache to go on from, and how many of the tokens it holds: never all, as the last one gives the logits."""
        cache = DynamicCache(config=self.model.config)
        same = takewhile(lambda pair: pair[0] == pair[1], zip(self._read, wanted, strict=False))
        shared = min(sum(1 for _ in same), len(wanted) - 1)
        if self._step is not None and self._step.remembers(shared):
            self._step.fill(cache, shared, self.model.dtype)
            return cache, shared
        if self._cache is not None and shared == len(self._read):
            return self._cache, shared
        return cache, 0


def written(reader: Reader, choose: Choice | None = None) -> Iterator[int]:
    """Token after token behind what was read, without an end; `choose` takes the likeliest by default."""
    best = reader.likeliest
    while True:
        token = best if choose is None else int(choose(reader.logits))
        yield token
        best = reader.step(token)
