"""Conversations: rows of a data set as messages, and as the text that a model's own chat template makes of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from eggs_core.errors import EggsError
from eggs_core.text.sources import Text

if TYPE_CHECKING:  # it takes seconds to import
    from transformers import PreTrainedTokenizerBase

COLUMNS = ("messages", "conversations")  # that hold conversations
_ROLES = {"human": "user", "gpt": "assistant"}  # as some data sets call them
_DAY = "26 Jul 2024"  # for templates that would write today's date, and give other tokens every day


def is_chat(value: Any) -> bool:
    """Is it a conversation: a list of objects, one a message?"""
    return isinstance(value, list) and bool(value) and all(isinstance(message, Mapping) for message in value)


def line_of(value: Any) -> str:
    """A conversation as a line of JSON, each message with `role` and `content`; raises ValueError for what is none."""
    if not is_chat(value):
        raise ValueError("a row is no list of messages")
    return json.dumps([_message(message) for message in value], ensure_ascii=False)


def _message(message: Mapping[str, Any]) -> dict[str, str]:
    role, content = (message.get(name, message.get(other)) for name, other in (("role", "from"), ("content", "value")))
    if isinstance(content, list):  # parts, of which some may be images
        content = "".join(part.get("text") or "" for part in content if isinstance(part, Mapping))
    if not isinstance(role, str) or not isinstance(content, str):
        raise ValueError("a message has no role or no content")
    return {"role": _ROLES.get(role, role), "content": content}


def rendered(tokenizer: PreTrainedTokenizerBase, text: Text) -> str:
    """Conversations as a model reads them, one behind the other, without the BOS that a template may write.

    Raises EggsError for a tokenizer without a chat template, and for conversations that its template refuses.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise EggsError(
            f"{text.name} holds conversations, and this model's tokenizer has no chat template; "
            f"choose a data set of plain text, or a model that was trained to chat."
        )
    first, parts = tokenizer.bos_token or "", []
    for number, line in enumerate(text.content.splitlines(), 1):
        try:
            part = _written(tokenizer, json.loads(line), date_string=_DAY)
        except ValueError as error:
            raise EggsError(
                f"The model's chat template cannot write conversation {number} of {text.name} ({error}); "
                f"choose another data set."
            ) from error
        parts.append(part.removeprefix(first))
    return "".join(parts)


def prompt_text(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Mapping[str, str]]) -> str:
    """A conversation as a model reads it up to where its answer begins; each message has `role` and `content`.

    Raises EggsError for a tokenizer without a chat template, and for messages that its template refuses.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise EggsError("This model has no chat template, so it only goes on with a text.")
    try:
        return _written(tokenizer, [dict(message) for message in messages], add_generation_prompt=True)
    except ValueError as error:
        raise EggsError(f"The model's chat template cannot write this conversation ({error}).") from error


def _written(tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]], **options: Any) -> str:
    """What the chat template makes of a conversation, in the sandbox of transformers; raises ValueError if it fails."""
    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, **options))
    except Exception as error:  # a template is a program of the model's files
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(" .")
        raise ValueError(reason) from error
