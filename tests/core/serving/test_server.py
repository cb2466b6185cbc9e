"""The server as programs meet it: a process of its own, asked by OpenAI's client and by plain HTTP."""

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import openai
import pytest
from chat_model import POSITIONS, make_chat_model

from eggs_core.assets import ASSETS
from eggs_core.runs.run import load_run, save_run
from eggs_core.serving.opening import open_writer
from eggs_core.serving.settings import Settings

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]
ROOT = Path(__file__).resolve().parents[3]
PROMPT = "My fellow citizens, the state of the"
TALK = [{"role": "user", "content": "Who are you?"}]
NAME = "model-2of4-magnitude"


class Server:
    """A running `eggs serve`, what it writes to stderr, and clients of it."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "eggs_core", "serve", *arguments, "--port", "0"]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
        self.lines: list[str] = []
        self._reading = threading.Thread(target=lambda: self.lines.extend(iter(self._line, "")), daemon=True)
        while not (found := re.search(r"answers at (http://\S+)/v1;", self._line())):
            assert self.process.poll() is None
        self.url = found[1]
        self._reading.start()
        self.openai = openai.OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0)
        self.http = httpx.Client(base_url=self.url, timeout=60)

    def _line(self) -> str:
        return self.process.stderr.readline()

    def post(self, path: str = "/v1/completions", **body) -> httpx.Response:
        return self.http.post(path, json={"model": NAME, **body})

    def said(self, words: str, count: int = 1) -> str:
        """The newest line of its log with these words, once there are so many of them."""
        for _ in range(600):
            found = [line for line in self.lines if words in line]
            if len(found) >= count:
                return found[-1]
            time.sleep(0.05)
        raise AssertionError(f"no line with {words!r}: {self.lines}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A run of a model with a chat template: a shipped one's masks, as the weights are the same."""
    place = tmp_path_factory.mktemp("serve")
    run = load_run(ASSETS / "runs" / "tiny-llama-2of4-magnitude")
    name = str(make_chat_model(place / "model"))
    run.report["model"] = run.report["config"]["model"] = name
    run.report["key"] = run.config.key()
    save_run(run, place / "run")
    return place / "run"


@pytest.fixture(scope="module")
def writer(folder, result):
    """The same model in this process."""
    return result(open_writer(str(folder)))


@pytest.fixture(scope="module")
def server(folder):
    running = Server(str(folder))
    yield running
    running.process.send_signal(signal.SIGINT)
    assert running.process.wait(20) == 0
    assert not [line for line in running.lines if "Traceback" in line]


def test_models(server):
    assert [model.id for model in server.openai.models.list()] == [NAME]
    assert server.openai.models.retrieve(NAME).object == "model"
    with pytest.raises(openai.NotFoundError, match="There is no model 'other' here"):
        server.openai.models.retrieve("other")


def test_a_completion_is_greedy_decoding(server, writer):
    expected = "".join(writer.answer(writer.continued(PROMPT), Settings(24, 0)))
    done = server.openai.completions.create(model=NAME, prompt=PROMPT, max_tokens=24, temperature=0)
    assert done.choices[0].text == expected and done.choices[0].finish_reason == "length"
    prompt = writer.continued(PROMPT)[0].tolist()
    usage = done.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (len(prompt), 24, len(prompt) + 24)
    ids = server.openai.completions.create(model=NAME, prompt=prompt, max_tokens=24, temperature=0)
    assert ids.choices[0].text == expected


def test_a_stream_is_the_same_in_pieces(server):
    asked = {"model": NAME, "messages": TALK, "max_completion_tokens": 30, "seed": 7, "temperature": 0.8, "top_p": 0.9}
    whole = server.openai.chat.completions.create(**asked)
    options = {"include_usage": True}
    chunks = list(server.openai.chat.completions.create(**asked, stream=True, stream_options=options))
    *inner, last = chunks
    assert inner[0].choices[0].delta.role == "assistant"
    pieces = [chunk.choices[0].delta.content or "" for chunk in inner]
    assert "".join(pieces) == whole.choices[0].message.content and sum(map(bool, pieces)) > 10
    assert [chunk.choices[0].finish_reason for chunk in inner[:-1]] == [None] * (len(inner) - 1)
    assert inner[-1].choices[0].finish_reason == whole.choices[0].finish_reason
    assert last.choices == [] and last.usage == whole.usage
    assert all(chunk.usage is None for chunk in inner) and len({chunk.id for chunk in chunks}) == 1
    texts = list(server.openai.completions.create(model=NAME, prompt=PROMPT, max_tokens=5, seed=1, stream=True))
    again = server.openai.completions.create(model=NAME, prompt=PROMPT, max_tokens=5, seed=1)
    assert "".join(chunk.choices[0].text for chunk in texts) == again.choices[0].text


def test_a_stream_is_server_sent_events(server):
    with server.http.stream("POST", "/v1/completions", json={"model": NAME, "prompt": "a", "stream": True}) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        *events, done, end = response.read().decode().split("\n\n")
    assert (done, end) == ("data: [DONE]", "")
    assert all(json.loads(event.removeprefix("data: "))["object"] == "text_completion" for event in events)


def test_stop_sequences(server):
    asked = {"model": NAME, "prompt": PROMPT, "max_tokens": 30, "temperature": 0}
    whole = server.openai.completions.create(**asked).choices[0].text
    stop = whole[len(whole) // 2 :][:5]
    left = whole[: whole.index(stop)]
    for given in (stop, ["never said", stop]):
        done = server.openai.completions.create(**asked, stop=given).choices[0]
        assert (done.text, done.finish_reason) == (left, "stop")
    streamed = list(server.openai.completions.create(**asked, stop=stop, stream=True))
    assert "".join(chunk.choices[0].text for chunk in streamed) == left


def test_a_conversation_that_goes_on_is_not_read_again_unless_it_must_be_exact(server):
    first = server.openai.chat.completions.create(model=NAME, messages=TALK, max_tokens=10)
    answer = {"role": "assistant", "content": first.choices[0].message.content}
    messages = [*TALK, answer, {"role": "user", "content": "Why?"}]
    second = server.openai.chat.completions.create(model=NAME, messages=messages, max_tokens=10)
    assert second.usage.prompt_tokens_details.cached_tokens >= first.usage.prompt_tokens
    for exact in ({"seed": 1}, {"temperature": 0}):
        third = server.openai.chat.completions.create(model=NAME, messages=messages, max_tokens=10, **exact)
        assert third.usage.prompt_tokens_details.cached_tokens == 0


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_away_stops_its_answer(server, stream):
    asked = {"model": NAME, "prompt": PROMPT, "max_tokens": POSITIONS - 100, "temperature": 2, "seed": 0}  # it is long
    before = sum("stopped by the client" in line for line in server.lines)
    if stream:
        running = server.openai.completions.create(**asked, stream=True)
        assert len(list(itertools.islice(running, 3))) == 3
        running.close()
    else:
        with pytest.raises(openai.APITimeoutError):
            server.openai.with_options(timeout=0.5).completions.create(**asked)
    line = server.said("stopped by the client", before + 1)
    assert int(re.search(r"(\d+) written", line)[1]) < POSITIONS - 200
    assert server.openai.completions.create(model=NAME, prompt="a", max_tokens=1).usage.completion_tokens == 1


def test_several_at_once_get_what_each_gets_alone(server):
    def ask(seed: int) -> str:
        done = server.openai.completions.create(model=NAME, prompt=PROMPT, max_tokens=40, seed=seed)
        return done.choices[0].text

    alone = [ask(seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, range(4))) == alone
    assert len(set(alone)) == 4


def test_a_prompt_too_long_is_refused_in_openais_words(server):
    with pytest.raises(openai.BadRequestError) as caught:
        server.openai.chat.completions.create(model=NAME, messages=TALK, max_tokens=POSITIONS)
    assert caught.value.code == "context_length_exceeded" and caught.value.param == "messages"
    assert "at most 4,096 tokens" in str(caught.value)


def test_an_unknown_model_is_refused(server):
    with pytest.raises(openai.NotFoundError) as caught:
        server.openai.completions.create(model="gpt-4", prompt="a")
    assert caught.value.code == "model_not_found"


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"{", 400, "is no JSON"),
        (b"\xff", 400, "is no JSON"),
        (b"[" * 100_000, 400, "is no JSON"),
        (b"[]", 400, "must be a JSON object"),
        (b"{}", 400, "lacks model"),
        (b'{"model": "m"}', 400, "lacks prompt"),
        (json.dumps({"model": NAME, "prompt": ""}).encode(), 200, ""),
        (json.dumps({"model": NAME, "prompt": "a", "n": 2}).encode(), 400, "n is not supported"),
        (json.dumps({"model": NAME, "prompt": [5000]}).encode(), 400, "no token 5000"),
        (json.dumps({"model": NAME, "prompt": "a", "temperature": 9}).encode(), 400, "temperature must lie"),
        (b" " * (9 << 20), 413, "larger than 8.4 MB"),
    ],
)
def test_bad_requests_are_one_sentence_in_openais_shape(server, body, status, said):
    response = server.http.post("/v1/completions", content=body, headers={"content-type": "application/json"})
    assert response.status_code == status
    if status != 200:
        error = response.json()["error"]
        assert error.keys() == {"message", "type", "param", "code"} and said in error["message"]
        assert "/" not in error["message"] and "Traceback" not in error["message"]


def test_only_json_for_this_machine_is_taken(server):
    """What a browser can be made to send by another site's page."""
    body = json.dumps({"model": NAME, "prompt": "a"})
    response = server.http.post("/v1/completions", content=body, headers={"content-type": "text/plain"})
    assert response.status_code == 415
    for host, status in (("evil.example", 403), ("localhost:80", 200), ("127.0.0.1", 200)):
        assert server.http.get("/v1/models", headers={"host": host}).status_code == status


def test_other_paths_say_which_there_are(server):
    for method, path, status in (("GET", "/", 404), ("GET", "/v1/completions", 405), ("POST", "/v1/embeddings", 404)):
        response = server.http.request(method, path)
        assert response.status_code == status
        assert "POST /v1/chat/completions" in response.json()["error"]["message"]
