"""A model behind OpenAI's protocol: /v1/models, /v1/completions, /v1/chat/completions, on FastAPI."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response, StreamingResponse

from eggs_core.errors import EggsError, OutOfMemory
from eggs_core.limits import check_text, sentence
from eggs_core.reading import parse_json
from eggs_core.serving.protocol import Asked, Refused, Reply, read_chat, read_completion
from eggs_core.serving.turns import Turn, Turns
from eggs_core.serving.writer import Answer, PromptTooLong, Writer
from eggs_core.units import size

MOST_BODY = 8 << 20  # bytes of a request
WAIT_SECONDS = 120.0  # for one's turn
LOCAL = ("127.0.0.1", "localhost", "::1")
PATHS = "GET /v1/models, POST /v1/completions and POST /v1/chat/completions"

LOG = logging.getLogger(__name__)


class Service:
    """One model and those who ask it."""

    def __init__(self, writer: Writer, log: Callable[[str], None], prepare: Callable[[], object]) -> None:
        self.writer, self.log, self.turns = writer, log, Turns(prepare)
        self.card = {"id": writer.name, "object": "model", "created": int(time.time()), "owned_by": "eggs-explorer"}
        self._tokenizer = asyncio.Lock()  # long prompts take turns, too
        writer.continued("a")  # some tokenizers set themselves up at their first text, which no other thread may see
        self._watching: set[asyncio.Task[None]] = set()  # they end with the connection, or with the response

    async def respond(self, request: Request, read: Callable[[Any], Asked]) -> Response:
        """Answer a request, whole or as a stream; raises EggsError for what cannot be answered."""
        asked = read(await _json_of(request))
        self.check_model(asked.model)
        async with self._tokenizer:
            answer = await run_in_threadpool(self._answer, asked)
        if self.turns.full:
            raise Refused("Too many wait for this model; try again later.", 429, "rate_limit_exceeded")
        turn, reply = self.turns.begin(answer), Reply(asked, answer)
        gone = asyncio.create_task(_stop_when_gone(request, turn))
        self._watching.add(gone)
        gone.add_done_callback(self._watching.discard)
        try:
            await turn.begun(WAIT_SECONDS)
            if asked.stream:
                return StreamingResponse(self._stream(turn, reply, answer), headers=STREAM)
            text = "".join([piece async for piece in turn.pieces()])
        except TimeoutError:
            turn.stop()
            raise Refused("Others keep this model busy; try again later.", 503) from None
        except asyncio.CancelledError:
            turn.stop()
            raise
        self._note(reply, answer)
        return JSONResponse(reply.whole(text))

    def check_model(self, name: str) -> None:
        """Raise Refused for a model that is not here."""
        if name != self.writer.name:
            message = f"There is no model {name[:100]!r} here; this server has {self.writer.name!r}."
            raise Refused(message, 404, "model_not_found", "model")

    def _answer(self, asked: Asked) -> Answer:
        writer, name = self.writer, "prompt" if asked.messages is None else "messages"
        for text in [asked.prompt] if asked.messages is None else [m["content"] for m in asked.messages]:
            check_text(text if isinstance(text, str) else "")
        try:
            if asked.messages is None:
                text = asked.prompt
                prompt = writer.continued(text) if isinstance(text, str) else writer.tokens(text or [])
            elif writer.chats:
                prompt = writer.asked(asked.messages)
            else:
                raise Refused("This model has no chat template; ask /v1/completions to go on with a text.")
            return writer.answer(prompt, asked.settings, anew=asked.settings.exact)
        except PromptTooLong as error:
            raise Refused(str(error), 400, "context_length_exceeded", name) from error

    async def _stream(self, turn: Turn, reply: Reply, answer: Answer) -> AsyncIterator[str]:
        try:
            for chunk in reply.begin():
                yield _event(chunk)
            async for piece in turn.pieces():
                if piece:
                    yield _event(reply.piece(piece))
            for chunk in reply.end():
                yield _event(chunk)
            yield "data: [DONE]\n\n"
        except Exception as error:  # the status is sent already
            yield _event(_refused(error).body)
        finally:
            turn.stop()
            self._note(reply, answer)

    def _note(self, reply: Reply, answer: Answer) -> None:
        kind = "chat" if reply.chat else "completion"
        known = f", {answer.known} of them known" if answer.known else ""
        self.log(
            f"{kind}: {answer.prompt_tokens} tokens read{known}, {answer.tokens} written, {answer.rate:.1f} tokens/s, "
            f"{answer.finish or 'stopped by the client'}"
        )


STREAM = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


def create_app(
    writer: Writer,
    *,
    local: bool = True,
    log: Callable[[str], None] = lambda _: None,
    prepare: Callable[[], object] = lambda: None,
) -> FastAPI:
    """The server of one model. A `local` one answers requests to this machine's own names only, so that no page of a
    browser reaches it by a name of its own. `prepare` is called once in the thread that writes; `log` takes a line for
    each answer.
    """
    service = Service(writer, log, prepare)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        service.turns.close()

    def check_host(request: Request) -> None:
        with suppress(ValueError):
            if not local or request.url.hostname in LOCAL:
                return
        raise Refused("This server answers on its own machine only; start it with --host to let others in.", 403)

    app = FastAPI(
        docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan, dependencies=[Depends(check_host)]
    )

    @app.get("/v1/models")
    def models() -> dict[str, Any]:
        return {"object": "list", "data": [service.card]}

    @app.get("/v1/models/{name:path}")
    def model(name: str) -> dict[str, Any]:
        service.check_model(name)
        return service.card

    @app.post("/v1/completions")
    async def completions(request: Request) -> Response:
        return await service.respond(request, read_completion)

    @app.post("/v1/chat/completions")
    async def chat_completions(request: Request) -> Response:
        return await service.respond(request, read_chat)

    async def refuse(request: Request, error: Exception) -> JSONResponse:
        status = getattr(error, "status_code", None)
        if status is not None:  # no such path, or another method of it
            error = Refused(f"There is no {request.method} {request.url.path[:100]} here, but {PATHS}.", status)
        found = _refused(error)
        return JSONResponse(found.body, found.status)

    for kind in (404, 405, EggsError, Exception):
        app.add_exception_handler(kind, refuse)
    return app


def _refused(error: Exception) -> Refused:
    """An error as the one who asked hears of it: its sentence, or only that something went wrong."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, EggsError):
        return Refused(sentence(error), 500 if isinstance(error, OutOfMemory) else 400)
    LOG.error("An answer failed", exc_info=error)
    return Refused(sentence(error), 500)


async def _json_of(request: Request) -> Any:
    """A request's JSON, of MOST_BODY bytes at most; raises Refused for anything else.

    Pages of other sites can make a browser send a text without asking it, and JSON not.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Refused("Send JSON, with the header Content-Type: application/json.", 415)
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MOST_BODY:
            raise Refused(f"The request is larger than {size(MOST_BODY)}.", 413)
    try:
        return await run_in_threadpool(parse_json, body)
    except (ValueError, RecursionError) as error:
        raise Refused(f"The request is no JSON: {str(error)[:200].rstrip('.')}.") from error


async def _stop_when_gone(request: Request, turn: Turn) -> None:
    """Stop an answer once nobody waits for it."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    turn.stop()


def _event(chunk: dict[str, Any]) -> str:
    return f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n"
