"""A model that answers: its name, its prompts, and one answer at a time, token by token."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from eggs_core.errors import EggsError
from eggs_core.models.architectures import context_length
from eggs_core.progress import memory_errors
from eggs_core.serving.pieces import Pieces
from eggs_core.serving.settings import Settings
from eggs_core.speed.native_step import decode_path
from eggs_core.speed.reader import Reader, written
from eggs_core.speed.sampling import drawn
from eggs_core.text.chats import prompt_text
from eggs_core.text.windows import check_tokens, prompt_ids

if TYPE_CHECKING:  # it takes transformers seconds to import its models
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MOST_TOKENS = 4096  # of an answer by a model that reads texts of any length
PART = 512  # tokens of a prompt that are read before somebody may stop it


class PromptTooLong(EggsError):
    """Prompt and answer are more tokens than the model reads."""


class Answer:
    """One answer: iterate for its pieces of text, "" where a token gave none; what is known of it grows meanwhile.

    `finish` is "stop" at the model's own end or at a stop sequence, "length" at the most tokens.
    """

    def __init__(self, writer: Writer, prompt: Tensor, settings: Settings, most: int, anew: bool) -> None:
        self._writer, self._prompt, self._settings, self._most, self._anew = writer, prompt, settings, most, anew
        self.prompt_tokens, self.tokens, self.known = prompt.shape[1], 0, 0
        self.first_seconds = self.seconds = 0.0  # until the first token, and for those after it
        self.finish: str | None = None

    def __iter__(self) -> Iterator[str]:
        writer, settings = self._writer, self._settings
        seed = random.getrandbits(62) if settings.seed is None else settings.seed
        pieces = Pieces(writer.tokenizer, self._prompt[0].tolist(), settings.stop)
        start = time.perf_counter()
        if self._anew:
            writer.reader.forget()
        with memory_errors("Writing"):
            for _ in writer.reader.read(self._prompt, PART):
                yield ""
            self.known = writer.reader.known
            for token in written(writer.reader, drawn(settings.temperature, seed, settings.top_p)):
                self.tokens += 1
                now = time.perf_counter()
                self.first_seconds = self.first_seconds or now - start
                self.seconds = now - start - self.first_seconds
                ended = token in writer.ends
                yield "" if ended else pieces.add(token)
                if ended or pieces.stopped or self.tokens == self._most:
                    break
        self.finish = "stop" if ended or pieces.stopped else "length"
        yield pieces.rest()

    @property
    def rate(self) -> float:
        """Tokens per second after the first; 0 where there is no second."""
        return (self.tokens - 1) / self.seconds if self.seconds > 0 else 0.0


class Writer:
    """A model that answers, one caller at a time; `name` and `form`, such as "packed 2:4", are for people.

    It keeps what it has read of the last text, so that a conversation that goes on is not read again.
    """

    def __init__(self, name: str, form: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self.name, self.form, self.model, self.tokenizer = name, form, model, tokenizer
        self.reader = Reader(model)
        self.path = decode_path(model)
        self.limit = context_length(model.config)

    @property
    def chats(self) -> bool:
        """Does the model come with a chat template?"""
        return bool(getattr(self.tokenizer, "chat_template", None))

    @cached_property
    def ends(self) -> frozenset[int]:
        """The tokens that end a text."""
        said = getattr(self.model.generation_config, "eos_token_id", None)
        found = [*(said if isinstance(said, list | tuple) else [said]), self.tokenizer.eos_token_id]
        return frozenset(int(token) for token in found if token is not None)

    def continued(self, text: str) -> Tensor:
        """The prompt that is a text to go on with, (1, tokens): BOS once if the model has one."""
        return self._checked(prompt_ids(self.tokenizer, text))

    def asked(self, messages: Sequence[Mapping[str, str]]) -> Tensor:
        """The prompt that is a conversation up to the model's answer, (1, tokens): BOS once if the model has one.

        Raises EggsError for a model without a chat template, and for messages that its template refuses.
        """
        return self._checked(prompt_ids(self.tokenizer, prompt_text(self.tokenizer, messages)))

    def tokens(self, ids: list[int]) -> Tensor:
        """A prompt that is tokens already, as (1, tokens); raises EggsError for some that the model does not have."""
        known = cast(int, self.model.get_input_embeddings().num_embeddings)
        if wrong := [token for token in ids if not 0 <= token < known]:
            raise EggsError(f"The model has no token {wrong[0]}; its tokens are 0 to {known - 1:,}.")
        return self._checked(torch.tensor([ids], dtype=torch.int64))

    def _checked(self, ids: Tensor) -> Tensor:
        if not ids.shape[1]:
            raise EggsError("The prompt is empty; write a few words.")
        check_tokens(self.name, self.model, ids)
        return ids.to(self.model.device)

    def room(self, prompt: Tensor) -> int:
        """How many tokens an answer to a prompt can have."""
        return MOST_TOKENS if self.limit is None else self.limit - prompt.shape[1]

    def answer(self, prompt: Tensor, settings: Settings, anew: bool = False) -> Answer:
        """The answer to a prompt, yet to be written; `anew` reads it all, as what is kept may round otherwise.

        Raises PromptTooLong where prompt and answer do not fit into the model.
        """
        length, wanted = prompt.shape[1], settings.max_tokens or 1
        if wanted > (room := self.room(prompt)):
            raise PromptTooLong(
                f"The model reads at most {self.limit:,} tokens, and {length + wanted:,} were asked for: {length:,} of "
                f"the prompt and {wanted:,} of the answer; shorten one of them."
                if self.limit is not None
                else f"An answer has at most {MOST_TOKENS:,} tokens; ask for fewer than {wanted:,}."
            )
        return Answer(self, prompt, settings, settings.max_tokens or room, anew)
