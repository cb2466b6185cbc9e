"""Token by token: how hard a text is for the dense and for the pruned model, and which kinds of tokens suffer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from eggs_core.errors import EggsError
from eggs_core.heavy import no_grad, torch
from eggs_core.limits import check_text
from eggs_core.models.architectures import context_length
from eggs_core.text.windows import check_tokens, prompt_ids

if TYPE_CHECKING:  # it takes transformers seconds to import its models
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MOST_TOKENS = 512
FIRST_TOKENS = 16  # tokens with little context before them
TOKEN_KINDS = {  # name -> what it holds, the first that fits
    "first tokens": f"the {FIRST_TOKENS} at the start, with little context before them",
    "digits": "tokens with a digit",
    "punctuation": "tokens without a letter or digit",
    "names": "capitalised words within a sentence",
    "word endings": "pieces that continue a word",
    "words": "all other words",
}


@dataclass(frozen=True, slots=True)
class Prediction:
    """A model's view of one place: the loss of the token that is there, nats, and its five likeliest, with shares."""

    nats: float
    likeliest: list[tuple[str, float]]


@dataclass(frozen=True, slots=True)
class TokenChange:
    """One token of the text, before and after pruning."""

    text: str
    kind: str
    dense: Prediction
    pruned: Prediction

    @property
    def change(self) -> float:
        """Rise of the loss in nats; above 0 the token became harder."""
        return self.pruned.nats - self.dense.nats


def compare_tokens(
    tokenizer: PreTrainedTokenizerBase, dense: PreTrainedModel, pruned: PreTrainedModel, text: str
) -> tuple[str, list[TokenChange]]:
    """The text's first token, which nothing predicts, and every later one, at most MOST_TOKENS in all.

    Raises EggsError for a text of fewer than two tokens, and for a model whose output is not finite.
    """
    ids = compared_ids(tokenizer, dense, text)
    pieces = tokenizer.batch_decode([[i] for i in ids[0].tolist()])
    sides = [_predictions(tokenizer, model, ids) for model in (dense, pruned)]
    kinds = [kind_of(pieces, i) for i in range(1, len(pieces))]
    return pieces[0], [TokenChange(*row) for row in zip(pieces[1:], kinds, *sides, strict=True)]


def compared_ids(tokenizer: PreTrainedTokenizerBase, dense: PreTrainedModel, text: str) -> torch.Tensor:
    """The tokens of a text that are compared, (1, tokens) int64; raises EggsError as `compare_tokens` does."""
    check_text(text)
    ids = prompt_ids(tokenizer, text)
    ids = ids[:, : min(MOST_TOKENS, context_length(dense.config) or MOST_TOKENS)]
    if ids.shape[1] < 2:
        raise EggsError("The text has fewer than two tokens, so there is nothing to predict; write a sentence.")
    check_tokens("this model", dense, ids)
    return ids


def kind_of(pieces: list[str], index: int) -> str:
    """The kind of one token, given the texts of all; see TOKEN_KINDS."""
    piece = pieces[index]
    word = piece.strip()
    if index < FIRST_TOKENS:
        return "first tokens"
    if re.search(r"\d", word):
        return "digits"
    if not re.search(r"\w", word):
        return "punctuation"
    if piece[0].isalnum() and re.search(r"\w$", pieces[index - 1]):
        return "word endings"
    before = "".join(pieces[:index]).rstrip()
    return "names" if word[0].isupper() and before[-1:] not in '.!?:"”' else "words"


def plain_changes(first: str, changes: list[TokenChange]) -> dict[str, Any]:
    """What `compare_tokens` gives as plain values for JSON: nats to four digits, shares to three."""

    def side(predictions: list[Prediction]) -> list[list]:
        return [
            [round(p.nats, 4), [word for word, _ in p.likeliest], [round(share, 3) for _, share in p.likeliest]]
            for p in predictions
        ]

    return {
        "texts": [first, *(change.text for change in changes)],
        "dense": side([change.dense for change in changes]),
        "pruned": side([change.pruned for change in changes]),
    }


def changes_of(plain: dict[str, Any]) -> tuple[str, list[TokenChange]]:
    """What `plain_changes` was made of; raises ValueError, TypeError or LookupError for other values."""
    texts = [str(text) for text in plain["texts"]]
    sides = [
        [
            Prediction(float(nats), [(str(w), float(s)) for w, s in zip(*likeliest, strict=True)])
            for nats, *likeliest in rows
        ]
        for rows in (plain["dense"], plain["pruned"])
    ]
    kinds = [kind_of(texts, i) for i in range(1, len(texts))]
    if not kinds:
        raise ValueError("there is no token")
    return texts[0], [TokenChange(*row) for row in zip(texts[1:], kinds, *sides, strict=True)]


def mean_changes(changes: list[TokenChange]) -> dict[str, tuple[float, int]]:
    """Mean rise of the loss in nats and number of tokens, for each kind that occurs, in the order of TOKEN_KINDS."""
    result = {}
    for kind in TOKEN_KINDS:
        rises = [c.change for c in changes if c.kind == kind]
        if rises:
            result[kind] = sum(rises) / len(rises), len(rises)
    return result


@no_grad
def _predictions(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, ids: torch.Tensor) -> list[Prediction]:
    ids = ids.to(model.device)
    logits = model(input_ids=ids, use_cache=False).logits[0, :-1].float()
    if not torch.isfinite(logits).all():
        raise EggsError("The model's output holds NaN or infinite values, so no token can be judged; load it in fp32.")
    logs = logits.log_softmax(-1)
    nats = -logs.gather(1, ids[0, 1:, None])[:, 0]
    best = logs.topk(min(5, logs.shape[1]), dim=1)
    words = [tokenizer.batch_decode([[i] for i in row]) for row in best.indices.tolist()]
    shares = best.values.exp().tolist()
    return [
        Prediction(loss, list(zip(*row, strict=True)))
        for loss, row in zip(nats.tolist(), zip(words, shares, strict=True), strict=True)
    ]
