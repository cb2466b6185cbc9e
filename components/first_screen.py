"""What a visitor sees until gradio has built the page: its outline, which travels inside the page's HTML."""

import json

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from components.address import PLACES
from components.widgets.assets import plotly, script, widgets
from eggs_core.assets import ASSETS

PLACE = b"<gradio-app"  # gradio builds the page inside


class FirstScreen:
    """Puts the outline into the page, and lets the browser fetch the scripts before gradio asks for them."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        early = f'<link rel="preload" as="script" href="{widgets().address}">'
        outline = (ASSETS / "first_screen.html").read_text(encoding="utf-8")
        logo = (ASSETS / "logo.svg").read_text(encoding="utf-8")
        places = script("places").replace("/* places */{}", json.dumps(PLACES))
        places = places.replace("/* plotly */", plotly().address)
        self._added = (early + f"<script>{places}</script>" + outline.replace("<!-- logo -->", logo)).encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI asks."""
        if scope["type"] != "http" or scope["path"] != "/" or scope["method"] != "GET":
            await self.app(scope, receive, send)
            return
        start: Message = {}
        body = b""

        async def send_with_outline(message: Message) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start":
                start = message
                return
            body += message.get("body", b"")
            if message.get("more_body"):
                return
            if Headers(raw=start["headers"]).get("content-type", "").startswith("text/html"):
                body = body.replace(PLACE, self._added + PLACE, 1)
                MutableHeaders(raw=start["headers"])["content-length"] = str(len(body))
            await send(start)
            await send({"type": "http.response.body", "body": body})

        await self.app(scope, receive, send_with_outline)
