"""Where the page's cheap events arrive: gradio answers them, but asks nobody whether they have logged in."""

import json
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any

from gradio.data_classes import PredictBody
from gradio.routes import API_PREFIX
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

PATH = f"{API_PREFIX}/run/predict"
UNREADABLE = "This request cannot be read; reload the page and try again."

Answer = Callable[[str, PredictBody, Request, str | None], Awaitable[Response]]


async def answer(request: Request) -> Response:
    """What gradio answers to an event that does not queue.

    Gradio goes to another thread first to see whether a login is needed. This app has no logins, and on a busy server
    that way takes longer than many an answer.
    """
    try:
        body = PredictBody(**json.loads(await request.body()))
    except (ValueError, TypeError, RecursionError):  # pydantic's errors are ValueErrors
        return JSONResponse({"detail": UNREADABLE}, 422)
    return await _gradios(request.app)("predict", body, request, None)


@lru_cache(maxsize=1)
def _gradios(app: Starlette) -> Answer:
    """The function by which gradio answers there; raises LookupError if it has none."""
    for place in app.router.routes:
        included: Any = getattr(place, "original_router", None)
        routes: list[Any] = included.routes if included else [place]
        for one in routes:
            if getattr(one, "path", "") == f"{API_PREFIX}/run/{{api_name}}":
                return one.endpoint
    raise LookupError("gradio answers no events here")


def route() -> Route:
    """The route, which must come before gradio's own."""
    return Route(PATH, answer, methods=["POST"])
