"""The page and its configuration, kept as they travel: gradio copies and compresses half a megabyte at each visit."""

from collections.abc import Collection, Hashable
from dataclasses import dataclass
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from eggs_core.cache import Bounded

PATHS = ("/", "/config", "/config/")
OWN = ("deep_link", "page")  # what of an address gradio reads for these
# Headers that the addresses in them are made of.
NAMED = ("host", "x-forwarded-host", "x-forwarded-proto", "x-gradio-server")
MOST_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server sends once: the headers and the body, compressed or not."""

    start: Message
    body: bytes


class KeptPages:
    """Middleware that answers a second visit with what it sent at the first; what it sends is the same for everybody.

    The app has no logins, and no links that hold a page's state.
    """

    def __init__(self, app: ASGIApp, most_bytes: int = MOST_BYTES) -> None:
        self._app = app
        self._kept: Bounded[Hashable, Answer] = Bounded(most_bytes, _bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI asks."""
        key = _key(scope)
        if key is None:
            await self._app(scope, receive, send)
        elif found := self._kept.get(key):
            await _answer(found, send)
        else:
            await self._app(scope, receive, self._keeping(key, send))

    def _keeping(self, key: Hashable, send: Send) -> Send:
        sent: list[Message] = []

        async def keep(message: Message) -> None:
            sent.append(_apart(message))
            if message["type"] == "http.response.body" and not message.get("more_body") and sent[0]["status"] == 200:
                self._kept.put(key, Answer(sent[0], b"".join(part.get("body", b"") for part in sent[1:])))
            await send(message)

        return keep


async def _answer(kept: Answer, send: Send) -> None:
    await send(_apart(kept.start))
    await send({"type": "http.response.body", "body": kept.body})


def _apart(message: Message) -> Message:
    """A copy, to whose headers the middleware outside may add its own."""
    return {**message, "headers": list(message["headers"])} if "headers" in message else message


def _key(scope: Scope) -> Hashable | None:
    """All that such an answer depends on; None for any other request."""
    if scope["type"] != "http" or scope["method"] != "GET" or scope["path"] not in PATHS:
        return None
    if parse_qs(scope["query_string"].decode("latin1")).keys() & set(OWN):
        return None
    headers = Headers(scope=scope)
    named = tuple(headers.get(name, "") for name in NAMED)
    compressed = "gzip" in headers.get("accept-encoding", "")
    place = scope["scheme"], scope.get("server"), scope.get("root_path", "")
    return scope["path"], *place, *named, compressed, id(scope["app"].get_blocks().config)


def _bytes(answers: Collection[Answer]) -> int:
    return sum(len(answer.body) for answer in answers)
