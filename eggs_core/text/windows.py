"""Texts cut into windows of tokens, for calibration and for evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from eggs_core.bos import EVERY, FIRST, NONE
from eggs_core.errors import EggsError
from eggs_core.heavy import torch
from eggs_core.limits import check_text
from eggs_core.text.chats import rendered
from eggs_core.text.sources import Text

if TYPE_CHECKING:  # it takes transformers seconds to import its models
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def beginning(tokenizer: PreTrainedTokenizerBase) -> torch.Tensor:
    """What the tokenizer's own template puts before every text, (tokens,) int64: BOS in most models, or nothing."""
    bare, whole = (tokenizer("a", add_special_tokens=added).input_ids for added in (False, True))
    places = range(len(whole) - len(bare) + 1)
    before = next((i for i in places if whole[i : i + len(bare)] == bare), 0)
    return torch.tensor(whole[:before], dtype=torch.int64)


def has_beginning(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Does the tokenizer's own template begin a text with BOS?"""
    return len(beginning(tokenizer)) > 0


def bos_of(tokenizer: PreTrainedTokenizerBase, rule: str) -> str:
    """Where windows that are cut by a rule have BOS, in truth: NONE for a tokenizer that adds none."""
    return NONE if not has_beginning(tokenizer) else EVERY if rule == EVERY else FIRST


def prompt_ids(tokenizer: PreTrainedTokenizerBase, prompt: str) -> torch.Tensor:
    """The tokens of words that a model goes on from, (1, tokens) int64: BOS once if the model has one, no end."""
    before = beginning(tokenizer)
    ids = tokenizer(prompt, add_special_tokens=False, return_tensors="pt", verbose=False).input_ids.to(torch.int64)
    return torch.cat([before[None], _without(before, ids[0])[None]], dim=1)


def _without(before: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Tokens without the beginning that the text itself spells out, so that it does not come twice."""
    count = len(before)
    return ids[count:] if count and torch.equal(ids[:count], before) else ids


def tokenize(tokenizer: PreTrainedTokenizerBase, text: Text, special: bool = True) -> torch.Tensor:
    """All tokens of a text as one int64 vector, with what the tokenizer's template adds once, or without it.

    Raises EggsError for an empty text, and for one that is longer than this server allows.
    """
    check_text(text.content)
    if not text.content.strip():
        raise EggsError(f"The text {text.name!r} is empty; paste some paragraphs, or choose the bundled text.")
    content = rendered(tokenizer, text) if text.chats else text.content
    options = {} if special else {"add_special_tokens": False}
    try:
        ids = tokenizer(content, return_tensors="pt", verbose=False, **options).input_ids[0].to(torch.int64)
    except Exception as error:  # a tokenizer is a program of its files
        raise EggsError(f"The model's tokenizer cannot read the text {text.name!r}; copy the whole model.") from error
    return ids


def check_tokens(name: str, model: PreTrainedModel, *ids: torch.Tensor) -> None:
    """Raise EggsError if int64 ids, of any shape, hold a token that the model has no embedding for."""
    rows = cast(int, model.get_input_embeddings().num_embeddings)
    highest = max((int(some.max()) for some in ids if some.numel()), default=0)
    if highest >= rows:
        raise EggsError(
            f"The tokenizer of {name} gives token {highest:,}, and its model knows {rows:,} tokens; "
            f"copy the tokenizer that belongs to the model."
        )


def calibration_windows(
    tokenizer: PreTrainedTokenizerBase, text: Text, windows: int, length: int, seed: int, bos: str = EVERY
) -> torch.Tensor:
    """`windows` random windows of `length` tokens, (windows, length) int64; the seed decides where they start.

    With `bos` EVERY each begins with what the tokenizer's template puts before a text, which `length` includes. Raises
    EggsError if the text is shorter than one window.
    """
    before, ids, taken = _parts(tokenizer, text, length, bos, "calibration")
    generator = torch.Generator().manual_seed(seed)
    starts = torch.randint(0, len(ids) - taken + 1, (windows,), generator=generator)
    return _begun(before, ids[starts[:, None] + torch.arange(taken)])


def evaluation_windows(
    tokenizer: PreTrainedTokenizerBase, text: Text, windows: int, length: int, bos: str = EVERY
) -> torch.Tensor:
    """The first non-overlapping windows of a text, (at most `windows`, length) int64, begun as calibration_windows'.

    Raises EggsError if the text is shorter than one window.
    """
    before, ids, taken = _parts(tokenizer, text, length, bos, "evaluation")
    count = min(windows, len(ids) // taken)
    return _begun(before, ids[: count * taken].view(count, taken))


def training_windows(
    tokenizer: PreTrainedTokenizerBase,
    text: Text,
    windows: int,
    length: int,
    held_out: int,
    seed: int,
    bos: str = EVERY,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Windows to learn from, (windows, length) int64, and others to measure on, (at most `held_out`, length).

    Those to measure on are the end of the text, an eighth of it at most, which no window to learn from reaches. The
    others are spread evenly over the rest, in an order that the seed decides, and begun as calibration_windows'. Raises
    EggsError if the text is shorter than two windows.
    """
    before, ids, taken = _parts(tokenizer, text, length, bos, "recovery")
    held = max(1, min(held_out, len(ids) // taken // 8))
    last = len(ids) - (held + 1) * taken  # where a window to learn from can begin
    if last < 0:
        raise EggsError(
            f"The recovery text has {len(ids)} tokens, fewer than two windows of {taken}: one to learn from and one to "
            "measure on; use a longer text or a shorter window."
        )
    generator = torch.Generator().manual_seed(seed)
    places = (torch.arange(windows) + torch.rand(windows, generator=generator)) / windows
    starts = (places * (last + 1)).long().clamp_max(last)[torch.randperm(windows, generator=generator)]
    end = ids[len(ids) - held * taken :].view(held, taken)
    return _begun(before, ids[starts[:, None] + torch.arange(taken)]), _begun(before, end)


def _parts(
    tokenizer: PreTrainedTokenizerBase, text: Text, length: int, bos: str, side: str
) -> tuple[torch.Tensor, torch.Tensor, int]:
    """What every window begins with, all tokens of the text, and how many of them a window takes."""
    before = beginning(tokenizer) if bos == EVERY else torch.empty(0, dtype=torch.int64)
    ids = tokenize(tokenizer, text, special=not len(before))
    ids, taken = _without(before, ids), length - len(before)
    if len(ids) < taken:
        raise EggsError(
            f"The {side} text has {len(ids)} tokens, fewer than one window of {taken}; "
            f"use a longer text or a shorter window."
        )
    return before, ids, taken


def _begun(before: torch.Tensor, windows: torch.Tensor) -> torch.Tensor:
    """Windows, each behind the same beginning."""
    return torch.cat([before.expand(len(windows), -1), windows], dim=1)
