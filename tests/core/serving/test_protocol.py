"""OpenAI's protocol: what is asked for is read whole or refused in its words."""

import pytest

from eggs_core.errors import EggsError
from eggs_core.serving.protocol import Refused, read_chat, read_completion

TEXT = {"model": "m", "prompt": "a"}
CHAT = {"model": "m", "messages": [{"role": "user", "content": "a"}]}


def test_what_is_read():
    asked = read_completion(TEXT | {"temperature": 0, "top_p": 0.5, "seed": -1, "stop": "x", "n": 1, "echo": False})
    assert (asked.model, asked.prompt, asked.messages, asked.stream) == ("m", "a", None, False)
    settings = asked.settings
    assert (settings.max_tokens, settings.temperature, settings.top_p, settings.seed) == (16, 0, 0.5, -1)
    assert settings.stop == ("x",) and settings.exact
    assert read_completion(TEXT | {"prompt": ["b"]}).prompt == "b"
    assert read_completion(TEXT | {"prompt": [1, 2]}).prompt == [1, 2]
    assert read_completion(TEXT | {"prompt": [[1, 2]]}).prompt == [1, 2]
    chat = read_chat(CHAT | {"max_completion_tokens": 5, "stream": True, "stream_options": {"include_usage": True}})
    assert chat.settings.max_tokens == 5 and chat.stream and chat.usage and not chat.settings.exact
    assert read_chat(CHAT).settings.max_tokens is None
    assert read_chat(CHAT | {"max_tokens": 7, "stop": None, "logprobs": False, "tools": []}).settings.max_tokens == 7


def test_messages_are_a_role_and_a_text():
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    asked = read_chat(CHAT | {"messages": [{"role": "developer", "content": "c"}, {"role": "user", "content": parts}]})
    assert asked.messages == [{"role": "system", "content": "c"}, {"role": "user", "content": "ab"}]


@pytest.mark.parametrize(
    ("changes", "said", "param"),
    [
        ({"model": None}, "lacks model", "model"),
        ({"prompt": None}, "lacks prompt", "prompt"),
        ({"prompt": ["a", "b"]}, "one text, or one list", "prompt"),
        ({"prompt": {}}, "one text, or one list", "prompt"),
        ({"prompt": [True]}, "one text, or one list", "prompt"),
        ({"prompt": [1, "a"]}, "one text, or one list", "prompt"),
        ({"top_k": 5}, "unknown part 'top_k'", None),
        ({"temperature": "hot"}, "should be a valid number", "temperature"),
        ({"stream": "yes"}, "should be a valid boolean", "stream"),
        ({"max_tokens": 0}, "at least 1", "max_tokens"),
        ({"max_tokens": 1.5}, "should be a valid integer", "max_tokens"),
        ({"stop": ["a"] * 5}, "at most 4", "stop"),
        ({"stop": [1]}, "stop must be", "stop"),
        ({"stream_options": {"include_usage": True}}, "with stream alone", "stream_options"),
        ({"n": 2}, "n is not supported", "n"),
        ({"n": True}, "n is not supported", "n"),
        ({"best_of": 2}, "best_of is not supported", "best_of"),
        ({"echo": True}, "echo is not supported", "echo"),
        ({"logprobs": 0}, "logprobs is not supported", "logprobs"),
        ({"logit_bias": {"5": 1}}, "logit_bias is not supported", "logit_bias"),
        ({"presence_penalty": 0.5}, "presence_penalty is not supported", "presence_penalty"),
        ({"suffix": "b"}, "suffix is not supported", "suffix"),
    ],
)
def test_what_is_refused(changes, said, param):
    with pytest.raises(Refused, match=said) as caught:
        read_completion(TEXT | changes)
    error = caught.value.body["error"]
    assert (error["type"], error["param"], error["message"]) == ("invalid_request_error", param, str(caught.value))
    assert error["message"].endswith((".", ")."))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "a"}, "should be a valid list"),
        ({"messages": [{"role": "tool", "content": "a"}]}, "messages.0.role must be one of"),
        ({"messages": [{"role": [], "content": "a"}]}, "messages.0.role must be one of"),
        ({"messages": [{"role": "user"}]}, "content must be a text"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "parts of text only"),
        ({"messages": [{"role": "assistant", "content": None, "tool_calls": [1]}]}, "Tools are not supported"),
        ({"tools": [{}]}, "tools is not supported"),
        ({"tool_choice": "required"}, "tool_choice is not supported"),
        ({"response_format": {"type": "json_object"}}, "response_format is not supported"),
        ({"logprobs": True}, "logprobs is not supported"),
        ({"prompt": "a"}, "unknown part 'prompt'"),
    ],
)
def test_what_chats_refuse(changes, said):
    with pytest.raises(Refused, match=said):
        read_chat(CHAT | changes)


@pytest.mark.parametrize("body", [None, [], "a", 5])
def test_what_is_no_object(body):
    with pytest.raises(Refused, match="must be a JSON object"):
        read_chat(body)


def test_ranges_are_those_of_the_settings():
    with pytest.raises(EggsError, match="temperature must lie between 0 and 2"):
        read_chat(CHAT | {"temperature": 2.5})
