"""Turns: one answer after the other, a bounded number of others, and nothing written for nobody."""

import asyncio
import threading
import time
from pathlib import Path

import httpx
import pytest

from eggs_core.serving import server, turns
from eggs_core.serving.server import create_app
from eggs_core.serving.turns import Turns
from eggs_core.serving.writer import Writer


async def text_of(turn) -> str:
    return "".join([piece async for piece in turn.pieces()])


def slowly(text: str, seen: list | None = None):
    for letter in text:
        time.sleep(0.005)
        if seen is not None:
            seen.append((letter, threading.get_ident()))
        yield letter


def test_answers_are_written_in_order_in_one_thread_that_was_prepared():
    async def ask():
        prepared, seen = [], []
        open_turns = Turns(lambda: prepared.append(threading.get_ident()))
        asked = [open_turns.begin(slowly(text, seen)) for text in ("abc", "def", "ghi")]
        assert await asyncio.gather(*map(text_of, asked)) == ["abc", "def", "ghi"]
        assert "".join(letter for letter, _ in seen) == "abcdefghi"
        assert {thread for _, thread in seen} == set(prepared) and threading.get_ident() not in prepared
        open_turns.close()

    asyncio.run(ask())


def test_a_stopped_answer_is_left_at_the_next_token_and_one_that_waits_is_never_begun():
    async def ask():
        seen, later = [], []
        open_turns = Turns()
        first, second = open_turns.begin(slowly("a" * 10_000, seen)), open_turns.begin(slowly("b", later))
        await first.begun(5)
        with pytest.raises(TimeoutError):
            await second.begun(0.05)
        second.stop()
        first.stop()
        assert len(await text_of(first)) < 1000
        assert await text_of(second) == "" and not later
        open_turns.close()

    asyncio.run(ask())


def test_so_many_wait_and_no_more(monkeypatch):
    monkeypatch.setattr(turns, "MOST_WAITING", 2)

    async def ask():
        open_turns = Turns()
        asked = [open_turns.begin(slowly("a" * 1000)) for _ in range(3)]
        assert open_turns.full
        asked[2].stop()
        assert not open_turns.full, "whoever went away makes room at once"
        open_turns.close()
        assert [len(await text_of(turn)) < 1000 for turn in asked[:1]] == [True]

    asyncio.run(ask())


def test_what_writing_raises_is_raised_to_the_one_who_asked():
    def broken():
        yield "a"
        raise ValueError("no")

    async def ask():
        open_turns = Turns()
        with pytest.raises(ValueError, match="no"):
            await text_of(open_turns.begin(broken()))
        assert await text_of(open_turns.begin(["b"])) == "b"
        open_turns.close()

    asyncio.run(ask())


@pytest.fixture
def ask(bundled, monkeypatch):
    """Ask a server in this process for a completion; gives the writer that can be changed, and the function."""
    writer = Writer("m", "dense", bundled().model, bundled().tokenizer)

    def post(count: int = 1, **body) -> list[httpx.Response]:
        async def go():
            transport = httpx.ASGITransport(create_app(writer), raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                asked = {"model": "m", "prompt": "a", "max_tokens": 100, "temperature": 0} | body
                return await asyncio.gather(*(client.post("/v1/completions", json=asked) for _ in range(count)))

        return asyncio.run(go())

    return writer, post


def test_what_is_unexpected_tells_no_more_than_that_it_happened(ask, monkeypatch):
    writer, post = ask
    monkeypatch.setattr(writer, "answer", lambda *_, **__: Path("/no/such/secret").read_text())
    [response] = post()
    assert response.status_code == 500 and response.json()["error"]["type"] == "server_error"
    assert "Something unexpected went wrong" in response.text and "secret" not in response.text


@pytest.mark.parametrize("stream", [False, True])
def test_a_failure_while_writing_is_a_sentence(ask, monkeypatch, stream):
    writer, post = ask

    def fail(_: int) -> int:
        raise MemoryError

    monkeypatch.setattr(writer.reader, "step", fail)
    [response] = post(stream=stream)
    assert response.status_code == (200 if stream else 500)  # that of a stream is sent before
    assert "ran out of memory" in response.text and "server_error" in response.text


def test_too_many_at_once_and_too_long_a_wait_are_refused(ask, monkeypatch):
    writer, post = ask
    step = writer.reader.step

    def slow(token: int) -> int:  # so that all have asked before the first is done
        time.sleep(0.03)
        return step(token)

    monkeypatch.setattr(writer.reader, "step", slow)
    monkeypatch.setattr(turns, "MOST_WAITING", 1)
    found = post(5, max_tokens=50)
    assert sorted(response.status_code for response in found) == [200, 200, 429, 429, 429]
    refused = next(response for response in found if response.status_code == 429)
    assert "try again later" in refused.json()["error"]["message"]
    monkeypatch.setattr(server, "WAIT_SECONDS", 0.001)
    assert 503 in {response.status_code for response in post(2)}
