"""Tokens as pieces of text while they come: whole characters only, and nothing behind a stop sequence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # it takes seconds to import
    from transformers import PreTrainedTokenizerBase

BEFORE = 8  # tokens of the prompt that a piece is decoded behind: some tokenizers drop a text's first space
MOST_BYTES = 8  # tokens that may wait for the rest of a character; none has more bytes than four
INCOMPLETE = "\ufffd"  # what stands for bytes that are no character


class Pieces:
    """The text of an answer, piece by piece; `stopped` says whether a stop sequence ended it."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, prompt: Sequence[int], stops: Sequence[str] = ()) -> None:
        self._tokenizer, self._stops = tokenizer, stops
        self._tokens = list(prompt[-BEFORE:])
        self._shown = self._decoded()  # the text of tokens that were given out
        self._seen = len(self._tokens)  # how many these are
        self._held = ""  # what may be the beginning of a stop sequence
        self.stopped = False

    def add(self, token: int) -> str:
        """What one token more makes certain, perhaps nothing yet."""
        self._tokens.append(token)
        whole = self._decoded()
        if whole.endswith(INCOMPLETE) and len(self._tokens) - self._seen <= MOST_BYTES:
            return ""
        return self._release(self._moved_on(whole))

    def rest(self) -> str:
        """What was held back, when no token follows."""
        if self.stopped:
            return ""
        left = self._held + self._moved_on(self._decoded())
        self._held = ""
        return left

    def _moved_on(self, whole: str) -> str:
        """The text that the newest tokens add; the next ones are decoded behind these alone."""
        new = whole[len(self._shown) :]
        if new:
            del self._tokens[: self._seen]
            self._seen, self._shown = len(self._tokens), self._decoded()
        return new

    def _release(self, new: str) -> str:
        text = self._held + new
        ends = [place for stop in self._stops if (place := text.find(stop)) >= 0]
        if ends:
            self.stopped, self._held = True, ""
            return text[: min(ends)]
        longest = max(map(len, self._stops), default=1)
        held = next(
            (n for n in range(min(len(text), longest - 1), 0, -1) if any(s.startswith(text[-n:]) for s in self._stops)),
            0,
        )
        self._held = text[len(text) - held :]
        return text[: len(text) - held]

    def _decoded(self) -> str:
        return str(self._tokenizer.decode(self._tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False))
