"""Conversations: rows of a data set as messages, and as the text that a model's own chat template makes of them."""

import json
from collections.abc import Mapping
from typing import Any

from transformers import PreTrainedTokenizerBase

from eggs_core.errors import EggsError
from eggs_core.text.sources import Text

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
            part = tokenizer.apply_chat_template(json.loads(line), tokenize=False, date_string=_DAY)
        except Exception as error:  # a template is a program of the model's files
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(" .")
            raise EggsError(
                f"The model's chat template cannot write conversation {number} of {text.name} ({reason}); "
                f"choose another data set."
            ) from error
        parts.append(str(part).removeprefix(first))
    return "".join(parts)
