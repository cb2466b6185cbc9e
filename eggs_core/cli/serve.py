"""`serve`: a model behind OpenAI's protocol."""

import importlib.util
import ipaddress
import os
import socket
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from eggs_core.cli.options import Answering, Dense, Threads
from eggs_core.cli.output import open_answering, printable
from eggs_core.errors import EggsError
from eggs_core.network import KEEP_ALIVE_SECONDS

if TYPE_CHECKING:
    from eggs_core.serving.writer import Writer

NEEDED = ("fastapi", "uvicorn")


def serve(
    run: Answering,
    host: Annotated[str, typer.Option(help="The address to listen on; 0.0.0.0 lets other machines in.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port to listen on; 0 takes a free one.")] = 8000,
    dense: Dense = False,
    threads: Threads = None,
) -> None:
    """Let programs ask a model by OpenAI's protocol: completions and chats, whole or streamed."""
    from eggs_core.assets import install_command

    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        raise EggsError(f"Serving needs {missing[0]}, which is not installed: {install_command('app')}.")
    with _bound(host, port) as listening:
        writer = open_answering(run, dense)
        _run(writer, listening, threads)


def _bound(host: str, port: int) -> socket.socket:
    """A socket that listens, before the model is opened; raises EggsError where that cannot be."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family)
    except (OSError, UnicodeError) as error:
        number = getattr(error, "errno", None)  # asyncio's and socket's own words name the address once more
        reason = os.strerror(number) if number and number > 0 else str(getattr(error, "strerror", None) or error)
        raise EggsError(
            f"Nothing can listen at {host!r}, port {port}: {reason}; choose another --host or --port."
        ) from error


def _run(writer: "Writer", listening: socket.socket, threads: int | None) -> None:
    import uvicorn

    from eggs_core.heavy import torch
    from eggs_core.serving.server import create_app

    def say(line: str) -> None:
        typer.echo(printable(line), err=True)

    host, port = listening.getsockname()[:2]
    local = ipaddress.ip_address(host).is_loopback
    prepare = partial(torch.set_num_threads, threads or torch.get_num_threads())
    app = create_app(writer, local=local, log=say, prepare=prepare)
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=3,
    )
    shown = f"[{host}]" if ":" in host else host
    say(f"{writer.name} ({writer.form}, {writer.path}) answers at http://{shown}:{port}/v1; Ctrl-C ends it.")
    with suppress(KeyboardInterrupt):  # which uvicorn raises once more when it has ended
        uvicorn.Server(config).run(sockets=[listening])
