"""The page is made once for all who ask in the same way."""

import asyncio
from types import SimpleNamespace

import pytest

from components.kept_pages import KeptPages

ASKED = {"type": "http", "method": "GET", "scheme": "http", "path": "/", "query_string": b"", "headers": []}


class Server:
    """Answers with the number of the request, in two parts, as a server that KeptPages stands before."""

    def __init__(self, status: int = 200) -> None:
        self.count, self.status = 0, status
        self._blocks = SimpleNamespace(config={})
        self.kept = KeptPages(self)

    async def __call__(self, scope, receive, send) -> None:
        self.count += 1
        await send({"type": "http.response.start", "status": self.status, "headers": [(b"a", b"b")]})
        await send({"type": "http.response.body", "body": b"number ", "more_body": True})
        await send({"type": "http.response.body", "body": str(self.count).encode()})

    def get_blocks(self):
        return self._blocks

    def ask(self, headers=(), **values) -> tuple[list, bytes]:
        sent = []

        async def send(message) -> None:
            if message["type"] == "http.response.start":
                message["headers"].append((b"from", b"outside"))  # as middleware around this one does
            sent.append(message)

        scope = {**ASKED, "headers": [(k.encode(), v.encode()) for k, v in headers], "app": self, **values}
        asyncio.run(self.kept(scope, None, send))
        return sent[0]["headers"], b"".join(message.get("body", b"") for message in sent)


def test_a_second_visit_gets_what_was_sent_at_the_first():
    server = Server()
    first = server.ask()
    assert first == ([(b"a", b"b"), (b"from", b"outside")], b"number 1")
    assert server.ask(query_string=b"run=0123&tab=masks") == first == server.ask() and server.count == 1


@pytest.mark.parametrize(
    "other",
    [
        {"headers": [("host", "example.org")]},
        {"headers": [("x-forwarded-host", "example.org")]},
        {"headers": [("x-forwarded-proto", "https")]},
        {"headers": [("accept-encoding", "gzip")]},
        {"path": "/config"},
        {"scheme": "https"},
        {"root_path": "/eggs"},
        {"method": "HEAD"},
        {"query_string": b"deep_link=abc"},
    ],
)
def test_what_is_asked_in_another_way_is_another_answer(other):
    server = Server()
    server.ask()
    assert server.ask(**other)[1] == b"number 2"
    assert server.ask()[1] == b"number 1"


def test_events_and_failures_are_not_kept():
    server = Server()
    assert [server.ask(path="/gradio_api/run/predict")[1] for _ in range(2)] == [b"number 1", b"number 2"]
    server = Server(status=500)
    assert [server.ask()[1] for _ in range(2)] == [b"number 1", b"number 2"]


def test_strangers_who_ask_in_many_ways_fill_no_memory():
    server = Server()
    server.kept = KeptPages(server, most_bytes=80)
    for number in range(100):
        server.ask(headers=[("host", f"{number}.org")])
    assert server.kept._kept.used() <= 80
