"""A conversation with a model, turn after turn; with a model that has no chat template, a text that both write."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain

from torch import Tensor

from eggs_core.errors import EggsError
from eggs_core.serving.settings import Settings
from eggs_core.serving.writer import MOST_TOKENS, Answer, Writer


class Conversation:
    """What was said so far, and the next answer to it; the oldest of it goes when the model reads no more.

    `left_out` says whether something went at the last turn.
    """

    def __init__(self, writer: Writer, system: str | None = None) -> None:
        """Raises EggsError for a `system` prompt to a model that has no chat template."""
        if system is not None and not writer.chats:
            raise EggsError("This model has no chat template, so it takes no system prompt.")
        self.writer, self.left_out = writer, False
        self._first = [] if system is None else [{"role": "system", "content": system}]
        self.forget()

    def forget(self) -> None:
        """Begin anew; the system prompt stays."""
        self._said: list[tuple[str, str]] = []  # what was asked, and the answer
        self._turns = 0  # with those that went

    def ask(self, text: str, settings: Settings) -> Answer:
        """The answer to a turn, yet to be written; raises PromptTooLong where the model does not read this turn alone.

        What was said before goes, the oldest first, until half of what the model reads is left for the answer, or as
        much as it may have. Each turn draws with another seed, made of that of the settings.
        """
        writer, self.left_out = self.writer, False
        most = settings.max_tokens or MOST_TOKENS
        enough = most if writer.limit is None else min(most, writer.limit // 2)
        while (room := writer.room(prompt := self._prompt(text))) < enough and self._said:
            self._said, self.left_out = self._said[1:], True
        seed = None if settings.seed is None else settings.seed + self._turns
        return writer.answer(prompt, replace(settings, max_tokens=min(most, max(room, 1)), seed=seed))

    def add(self, asked: str, answer: str) -> None:
        """Keep a turn, whole or as far as it was written."""
        self._said.append((asked, answer))
        self._turns += 1

    def _prompt(self, text: str) -> Tensor:
        if not self.writer.chats:
            return self.writer.continued("".join(f"{asked}{answer}\n" for asked, answer in self._said) + text)
        turns = (
            ({"role": "user", "content": asked}, {"role": "assistant", "content": answer})
            for asked, answer in self._said
        )
        return self.writer.asked([*self._first, *chain(*turns), {"role": "user", "content": text}])
