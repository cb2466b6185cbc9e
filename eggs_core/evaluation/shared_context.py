"""Log-likelihoods of many texts' ends, where what texts begin with alike is read once."""

from __future__ import annotations

import copy
import inspect
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from eggs_core.errors import EggsError
from eggs_core.heavy import no_grad, torch, transformers
from eggs_core.models.architectures import vocabulary_of

if TYPE_CHECKING:  # it takes transformers seconds to import its models
    from transformers import Cache, PreTrainedModel

Request = tuple[Any, list[int], list[int]]  # lm-eval's: a key, the context's tokens, the continuation's tokens
Answer = tuple[float, bool]  # log-probability of the continuation, and whether each of its tokens is the likeliest

MOST_TOKENS = 2048  # that a call reads, and whose keys and values it attends to
MOST_LOGITS = 2**25  # that a call returns, 128 MB in fp32
A_CALL = 40  # tokens that may be read in vain to save a call


@dataclass(slots=True)
class _Text:
    """A context and a continuation; `scored` is where the latter begins."""

    number: int
    tokens: list[int]
    scored: int


@dataclass(slots=True)
class _Group:
    """Texts whose first `shared` tokens are the same: all but the last token of a text are read."""

    texts: list[_Text]
    shared: int

    @property
    def first(self) -> int:
        """The first position whose logits count."""
        return min(text.scored for text in self.texts) - 1


class SharedContext:
    """Answers requests by calls of a model that read what texts begin with, and calls that go on from its cache."""

    def __init__(self, model: PreTrainedModel, dtype: torch.dtype | None) -> None:
        """`dtype` is what log-probabilities are computed in, the logits' own by default."""
        self._model, self._dtype = model, dtype
        taken = inspect.signature(model.forward).parameters
        self._goes_on, self._keeps = "cache" in taken, "logits_to_keep" in taken
        self._found: dict[int, list[tuple[torch.Tensor, bool]]] = {}

    @no_grad
    def answers(self, requests: Sequence[Request], most: int) -> Iterator[dict[int, Answer]]:
        """Yield after each call what it answered, by the request's place; `most` is how many tokens the model reads.

        Requests are left out that are longer, or empty, and all where the model keeps anything but the keys and values
        of every token. Raises EggsError if the model's output is not finite.
        """
        texts = [_Text(n, start + end, len(start)) for n, (_, start, end) in enumerate(requests) if start and end]
        most = min(most, self._longest(texts[0].tokens[:2])) if texts and self._goes_on else 0
        texts = [text for text in texts if len(text.tokens) - 1 <= most]
        for batch, shared in _batches(_groups(texts), vocabulary_of(self._model)):
            first = min(shared - 1, *(group.first for group in batch))
            logits, cache = self._read([group.texts[0].tokens[:shared] for group in batch], shared - first)
            rows = [(text, row) for row, group in enumerate(batch) for text in group.texts]
            yield self._score(rows, logits, first)
            rows = [(text, row) for text, row in rows if len(text.tokens) > shared + 1]
            for part in _parts(rows, shared, logits.shape[-1]):
                yield self._rest(part, shared, cache)

    def _longest(self, tokens: list[int]) -> int:
        """How long texts may be so that the model can go on from any part of them; 0 if it never can.

        Where a window slides or rotary angles change with the length, it is another model from there on.
        """
        from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

        _, cache = self._read([tokens], 1)
        if type(cache) is not transformers.DynamicCache:
            return 0
        if not {type(layer) for layer in cache.layers} <= {DynamicLayer, DynamicSlidingWindowLayer}:
            return 0
        if cache.get_seq_length() != len(tokens):
            return 0
        windows = [layer.sliding_window for layer in cache.layers if isinstance(layer, DynamicSlidingWindowLayer)]
        ropes = getattr(self._model.config.get_text_config(), "rope_parameters", None) or {}
        ropes = [ropes, *(part for part in ropes.values() if isinstance(part, dict))]
        turns = [rope["original_max_position_embeddings"] for rope in ropes if rope.get("rope_type") == "longrope"]
        return min([sys.maxsize, *windows, *turns])

    def _rest(self, rows: list[tuple[_Text, int]], shared: int, cache: Cache) -> dict[int, Answer]:
        """Score what follows the first tokens; of each text the row in the cache is given."""
        begun = copy.copy(cache)
        begun.layers = [copy.copy(layer) for layer in cache.layers]
        begun.batch_select_indices(torch.tensor([row for _, row in rows], device=self._model.device))
        rests = [text.tokens[shared:-1] for text, _ in rows]
        longest = max(map(len, rests))
        first = max(shared, min(text.scored for text, _ in rows) - 1)
        padded = [rest + rest[:1] * (longest - len(rest)) for rest in rests]
        logits, _ = self._read(padded, shared + longest - first, begun)
        return self._score([(text, row) for row, (text, _) in enumerate(rows)], logits, first)

    def _read(self, rows: list[list[int]], keep: int, cache: Cache | None = None) -> tuple[torch.Tensor, Any]:
        """The last `keep` logits of each row, (rows, keep, vocabulary), and the cache."""
        ids = torch.tensor(rows, device=self._model.device)
        options: dict[str, Any] = {"logits_to_keep": keep} if self._keeps else {}
        if cache is not None:
            options["cache"] = cache
        output = self._model(ids, use_cache=True, **options)
        return output.logits[:, -keep:], getattr(output, "cache", None)

    def _score(self, rows: list[tuple[_Text, int]], logits: torch.Tensor, first: int) -> dict[int, Answer]:
        """Score tokens by the logits of the positions from `first` on; returns what is answered then."""
        places, targets, counts = [], [], []
        end = first + logits.shape[1]
        for text, row in rows:
            scored = range(max(text.scored - 1, first), min(len(text.tokens) - 1, end))
            places += [(row, position - first) for position in scored]
            targets += [text.tokens[position + 1] for position in scored]
            counts.append(len(scored))
        if not places:
            return {}
        at, position = torch.tensor(places, device=logits.device).T
        wanted = torch.tensor(targets, device=logits.device)
        logs = torch.log_softmax(logits, -1, dtype=self._dtype)[at, position, wanted].cpu()
        check_finite(logs)
        likeliest = (logits.argmax(-1)[at, position] == wanted).cpu()
        answered: dict[int, Answer] = {}
        for (text, _), log, best in zip(rows, logs.split(counts), likeliest.split(counts), strict=True):
            parts = self._found.setdefault(text.number, [])
            parts.append((log, bool(best.all())))
            if len(text.tokens) - 1 <= end:
                parts = self._found.pop(text.number)
                total = torch.cat([part for part, _ in parts]).sum()
                answered[text.number] = (float(total), all(best for _, best in parts))
        return answered


def check_finite(values: torch.Tensor) -> None:
    """Raise EggsError for logits, or what comes of them, that are not finite."""
    if not torch.isfinite(values).all():
        raise EggsError("The model's output holds NaN or infinite values, so it answers nothing; load it in fp32.")


def _groups(texts: list[_Text]) -> list[_Group]:
    """Texts that begin alike, together where that saves reading: a text joins if a quarter of it is known."""
    groups: list[_Group] = []
    for text in sorted(texts, key=lambda text: text.tokens):
        read = text.tokens[:-1]
        if groups:
            last = groups[-1]
            shared = _same(last.texts[0].tokens[: last.shared], read)
            known = len(last.texts)
            if 4 * shared >= len(read) and shared * known > last.shared * (known - 1):
                last.texts.append(text)
                last.shared = shared
                continue
        groups.append(_Group([text], len(read)))
    return groups


def _same(one: list[int], other: list[int]) -> int:
    """How many tokens two texts begin with alike."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _batches(groups: list[_Group], vocabulary: int) -> Iterator[tuple[list[_Group], int]]:
    """Groups whose first tokens are read in one call, and how many of these: as many of each, longest first."""
    batch: list[_Group] = []
    extra, size, first = 0, 0, 0
    for group in sorted(groups, key=lambda group: (-group.shared, group.first)):
        if batch:
            again = (size - len(batch)) * (batch[-1].shared - group.shared)
            start = min(first, group.first)
            logits = (len(batch) + 1) * max(1, group.shared - start) * vocabulary
            tokens = (len(batch) + 1) * group.shared
            if extra + again > A_CALL or logits > MOST_LOGITS or tokens > MOST_TOKENS:
                yield batch, batch[-1].shared
                batch, extra, size = [], 0, 0
            else:
                extra += again
        first = min(first, group.first) if batch else group.first
        batch.append(group)
        size += len(group.texts)
    if batch:
        yield batch, batch[-1].shared


def _parts(rows: list[tuple[_Text, int]], shared: int, vocabulary: int) -> Iterator[list[tuple[_Text, int]]]:
    """Texts whose rests are read in one call, longest first, with few tokens of padding."""
    part: list[tuple[_Text, int]] = []
    padding = 0
    for row in sorted(rows, key=lambda row: -len(row[0].tokens)):
        if part:
            longest = len(part[0][0].tokens)
            again = longest - len(row[0].tokens)
            logits = (len(part) + 1) * (longest - shared) * vocabulary
            if padding + again > A_CALL or logits > MOST_LOGITS or (len(part) + 1) * longest > MOST_TOKENS:
                yield part
                part, padding = [], 0
            else:
                padding += again
        part.append(row)
    if part:
        yield part
