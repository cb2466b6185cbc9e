"""OpenAI's protocol: what a request may ask for, and the objects that answer it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field
from typing_extensions import TypedDict

from eggs_core.errors import EggsError
from eggs_core.serving.settings import Settings
from eggs_core.serving.writer import Answer
from eggs_core.validation import Mismatch, check, closed

MOST_STOPS = 4
COMPLETION_TOKENS = 16  # of an answer to /v1/completions that names no number, as OpenAI's
Message = dict[str, str]


class Refused(EggsError):
    """A request that is not answered: a sentence, the HTTP status, and OpenAI's words for the kind of error."""

    def __init__(self, message: str, status: int = 400, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.param = status, code, param

    @property
    def body(self) -> dict[str, Any]:
        """The error as OpenAI writes one."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}}


class _StreamOptions(TypedDict, total=False):
    include_usage: bool | None
    include_obfuscation: bool | None


class _Common(TypedDict, total=False):
    """What both kinds of request may hold; what says nothing about the text is taken and not used."""

    model: str
    stream: bool | None
    stream_options: _StreamOptions | None
    temperature: float | None
    top_p: float | None
    seed: int | None
    max_tokens: int | None
    stop: Any
    n: Any
    logprobs: Any
    logit_bias: Any
    presence_penalty: Any
    frequency_penalty: Any
    user: str | None


@closed
class _Completion(_Common, total=False):
    prompt: Any
    best_of: Any
    echo: Any
    suffix: Any


@closed
class _Chat(_Common, total=False):
    messages: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=10_000)]
    max_completion_tokens: int | None
    top_logprobs: Any
    response_format: Any
    tools: Any
    tool_choice: Any
    functions: Any
    function_call: Any
    modalities: Any
    metadata: Any
    store: Any
    service_tier: Any
    parallel_tool_calls: Any
    safety_identifier: Any
    prompt_cache_key: Any


# What would change the answer and is not done here: the values that ask for nothing, None besides.
UNSUPPORTED: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "echo": (False,),
    "suffix": ("",),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "response_format": ({"type": "text"},),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "modalities": (["text"],),
}
ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, read and checked: the model's name, a prompt or messages, and how to answer."""

    model: str
    settings: Settings
    stream: bool
    usage: bool  # a last chunk of a stream that counts the tokens
    prompt: str | list[int] | None = None
    messages: list[Message] | None = None


def read_completion(body: Any) -> Asked:
    """A request to /v1/completions; raises Refused, or EggsError for settings out of their range."""
    asked = _checked(body, _Completion, "prompt")
    prompt = asked["prompt"]
    if isinstance(prompt, list) and len(prompt) == 1 and not isinstance(prompt[0], int):
        prompt = prompt[0]  # a list of one
    whole = isinstance(prompt, list) and all(type(token) is int for token in prompt)
    if not isinstance(prompt, str) and not whole:
        raise Refused("prompt must be one text, or one list of tokens.", param="prompt")
    return _asked(asked, asked.get("max_tokens") or COMPLETION_TOKENS, prompt=prompt)


def read_chat(body: Any) -> Asked:
    """A request to /v1/chat/completions; raises Refused, or EggsError for settings out of their range."""
    asked = _checked(body, _Chat, "messages")
    messages = [_message(message, f"messages.{number}") for number, message in enumerate(asked["messages"])]
    return _asked(asked, asked.get("max_completion_tokens") or asked.get("max_tokens"), messages=messages)


def _checked(body: Any, kind: type, *needed: str) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise Refused("The request must be a JSON object.")
    for name in ("model", *needed):
        if body.get(name) is None:
            raise Refused(f"The request lacks {name}.", param=name)
    try:
        asked: dict[str, Any] = check(body, kind)
    except Mismatch as error:
        raise Refused(f"{error.place or 'The request'} {error.message}.", param=error.place or None) from error
    for name, nothing in UNSUPPORTED.items():
        value = asked.get(name)
        same_kind = isinstance(value, bool) == isinstance(nothing[0], bool)  # 0 equals False, and asks for something
        if value is not None and not (value in nothing and same_kind):
            shown = " or ".join(str(value) for value in nothing)
            raise Refused(f"{name} is not supported here; leave it out (or {shown}).", param=name)
    for name in ("max_tokens", "max_completion_tokens"):
        if asked.get(name) is not None and asked[name] < 1:
            raise Refused(f"{name} must be at least 1; got {asked[name]}.", param=name)
    return asked


def _asked(asked: dict[str, Any], most: int | None, **prompt: Any) -> Asked:
    stop = asked.get("stop") or []
    stops = [stop] if isinstance(stop, str) else stop
    if not isinstance(stops, list) or len(stops) > MOST_STOPS or not all(isinstance(one, str) for one in stops):
        raise Refused(f"stop must be a text, or a list of at most {MOST_STOPS}.", param="stop")
    given = {name: asked[name] for name in ("temperature", "top_p", "seed") if asked.get(name) is not None}
    stream, options = bool(asked.get("stream")), asked.get("stream_options") or {}
    if options and not stream:
        raise Refused("stream_options goes with stream alone.", param="stream_options")
    return Asked(
        asked["model"],
        Settings(max_tokens=most, stop=tuple(stops), **given),
        stream,
        bool(options.get("include_usage")),
        **prompt,
    )


def _message(message: Mapping[str, Any], place: str) -> Message:
    """A message as chat templates take it: a role and one text; raises Refused for images, tools and other roles."""
    role, content = message.get("role"), message.get("content")
    if not isinstance(role, str) or role not in ROLES:
        raise Refused(f"{place}.role must be one of {', '.join(ROLES)}.", param=place)
    if message.get("tool_calls") or message.get("function_call"):
        raise Refused("Tools are not supported here; leave them out.", param=place)
    if isinstance(content, list):
        if not all(isinstance(part, dict) and isinstance(part.get("text"), str) for part in content):
            raise Refused(f"{place}.content may have parts of text only.", param=place)
        content = "".join(part["text"] for part in content)
    if not isinstance(content, str):
        raise Refused(f"{place}.content must be a text.", param=place)
    return {"role": ROLES[role], "content": content}


class Reply:
    """The objects that answer one request, whole or as the chunks of a stream."""

    def __init__(self, asked: Asked, answer: Answer) -> None:
        self.chat = asked.messages is not None
        self._answer, self._usage = answer, asked.usage
        self._kind = "chat.completion" if self.chat else "text_completion"
        name = "chatcmpl" if self.chat else "cmpl"
        self._head = {"id": f"{name}-{uuid.uuid4().hex}", "created": int(time.time()), "model": asked.model}

    def whole(self, text: str) -> dict[str, Any]:
        """The answer to a request without stream."""
        content = {"message": {"role": "assistant", "content": text, "refusal": None}} if self.chat else {"text": text}
        return self._object(self._kind, self._choice(content, self._answer.finish)) | {"usage": self.usage}

    def begin(self) -> Iterator[dict[str, Any]]:
        """What a stream begins with."""
        if self.chat:
            yield self._chunk({"delta": {"role": "assistant", "content": ""}})

    def piece(self, text: str) -> dict[str, Any]:
        """The chunk of one piece of text."""
        return self._chunk({"delta": {"content": text}} if self.chat else {"text": text})

    def end(self) -> Iterator[dict[str, Any]]:
        """The chunks that say why the answer ended, and how many tokens it took if that was asked for."""
        yield self._chunk({"delta": {}} if self.chat else {"text": ""}, self._answer.finish)
        if self._usage:
            yield self._object(self._stream_kind) | {"usage": self.usage}

    @property
    def usage(self) -> dict[str, Any]:
        """The tokens of prompt and answer; the answer's with the one that ended it."""
        prompt, written = self._answer.prompt_tokens, self._answer.tokens
        return {
            "prompt_tokens": prompt,
            "completion_tokens": written,
            "total_tokens": prompt + written,
            "prompt_tokens_details": {"cached_tokens": self._answer.known},
        }

    @property
    def _stream_kind(self) -> Literal["chat.completion.chunk", "text_completion"]:
        return "chat.completion.chunk" if self.chat else "text_completion"

    def _chunk(self, content: Mapping[str, Any], finish: str | None = None) -> dict[str, Any]:
        made = self._object(self._stream_kind, self._choice(content, finish))
        return made | {"usage": None} if self._usage else made

    def _choice(self, content: Mapping[str, Any], finish: str | None) -> dict[str, Any]:
        return {"index": 0, **content, "logprobs": None, "finish_reason": finish}

    def _object(self, kind: str, *choices: Mapping[str, Any]) -> dict[str, Any]:
        return {**self._head, "object": kind, "choices": list(choices)}
