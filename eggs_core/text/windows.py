"""Texts cut into windows of tokens, for calibration and for evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from transformers import PreTrainedTokenizerBase

from eggs_core.errors import EggsError
from eggs_core.limits import check_text
from eggs_core.text.sources import Text

if TYPE_CHECKING:  # it takes transformers seconds to import its models
    from transformers import PreTrainedModel


def tokenize(tokenizer: PreTrainedTokenizerBase, text: Text) -> torch.Tensor:
    """All tokens of a text as one int64 vector, without special tokens added per paragraph.

    Raises EggsError for an empty text, and for one that is longer than this server allows.
    """
    check_text(text.content)
    if not text.content.strip():
        raise EggsError(f"The text {text.name!r} is empty; paste some paragraphs, or choose the bundled text.")
    try:
        return tokenizer(text.content, return_tensors="pt", verbose=False).input_ids[0].to(torch.int64)
    except Exception as error:  # a tokenizer is a program of its files
        raise EggsError(f"The model's tokenizer cannot read the text {text.name!r}; copy the whole model.") from error


def check_tokens(name: str, model: PreTrainedModel, *ids: torch.Tensor) -> None:
    """Raise EggsError if int64 ids, of any shape, hold a token that the model has no embedding for."""
    rows = model.get_input_embeddings().get_parameter("weight").shape[0]
    highest = max((int(some.max()) for some in ids if some.numel()), default=0)
    if highest >= rows:
        raise EggsError(
            f"The tokenizer of {name} gives token {highest:,}, and its model knows {rows:,} tokens; "
            f"copy the tokenizer that belongs to the model."
        )


def calibration_windows(
    tokenizer: PreTrainedTokenizerBase, text: Text, windows: int, length: int, seed: int
) -> torch.Tensor:
    """`windows` random windows of `length` tokens, (windows, length) int64; the seed decides where they start.

    Raises EggsError if the text is shorter than one window.
    """
    ids = tokenize(tokenizer, text)
    if len(ids) < length:
        raise EggsError(
            f"The calibration text has {len(ids)} tokens, fewer than one window of {length}; "
            f"use a longer text or a shorter window."
        )
    generator = torch.Generator().manual_seed(seed)
    starts = torch.randint(0, len(ids) - length + 1, (windows,), generator=generator)
    return ids[starts[:, None] + torch.arange(length)]


def evaluation_windows(tokenizer: PreTrainedTokenizerBase, text: Text, windows: int, length: int) -> torch.Tensor:
    """The first non-overlapping windows of a text, (at most `windows`, length) int64.

    Raises EggsError if the text is shorter than one window.
    """
    ids = tokenize(tokenizer, text)
    count = min(windows, len(ids) // length)
    if count == 0:
        raise EggsError(
            f"The evaluation text has {len(ids)} tokens, fewer than one window of {length}; "
            f"use a longer text or a shorter window."
        )
    return ids[: count * length].view(count, length)
