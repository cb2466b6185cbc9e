"""Answers that go over the network smaller."""

from starlette.middleware.gzip import GZipMiddleware
from starlette.types import Receive, Scope, Send

LEVEL = 4  # of zlib, 1 to 9: higher ones take longer than they save on a fast network
LEAST_BYTES = 4096


class Compressed(GZipMiddleware):
    """Compresses the page, its configuration and its data, whose paths have no extension; files gradio does by itself.

    Starlette leaves event streams alone, which would wait for more to compress.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI asks."""
        if scope["type"] == "http" and "." not in scope["path"]:
            await super().__call__(scope, receive, send)
        else:
            await self.app(scope, receive, send)
