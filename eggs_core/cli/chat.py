"""`chat`: a conversation with a model in the terminal."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Annotated

import typer

from eggs_core.cli.options import Answering, Dense, Threads
from eggs_core.cli.output import open_answering, printable
from eggs_core.errors import EggsError
from eggs_core.serving.settings import Settings

if TYPE_CHECKING:
    from eggs_core.serving.conversation import Conversation
    from eggs_core.serving.writer import Writer

HELP = "/reset begins anew, /exit or Ctrl-D leaves, Ctrl-C stops an answer."
NO_TEMPLATE = "This model has no chat template, as it was not trained to chat: it goes on with what you write."
LEFT_OUT = "The oldest turns no longer fit into what the model reads, and are left out."


def chat(
    run: Answering,
    system: Annotated[str | None, typer.Option(help="What the model is told before the conversation.")] = None,
    max_tokens: Annotated[int, typer.Option(help="The most tokens of an answer.")] = 512,
    temperature: Annotated[
        float, typer.Option(help="0 takes the likeliest token, higher ones draw more freely.")
    ] = 0.7,
    top_p: Annotated[float, typer.Option(help="Tokens are drawn among the likeliest with this share together.")] = 0.95,
    seed: Annotated[
        int | None, typer.Option(help="The same one gives the same answers; default: another one each time.")
    ] = None,
    dense: Dense = False,
    threads: Threads = None,
) -> None:
    """Talk to a model in the terminal; from a pipe, every line is a turn."""
    settings = Settings(max_tokens, temperature, top_p, seed)
    writer = open_answering(run, dense)
    from eggs_core.serving.conversation import Conversation
    from eggs_core.speed.alternation import thread_count

    conversation = Conversation(writer, system)
    person = sys.stdin.isatty() and sys.stdout.isatty()
    with thread_count(threads):
        _introduce(writer, person)
        for line in _lines(person):
            if line == "/exit":
                break
            if line == "/reset":
                conversation.forget()
            elif line:
                _turn(conversation, line, settings, person)


def _introduce(writer: "Writer", person: bool) -> None:
    reads = "" if writer.limit is None else f", reads {writer.limit:,} tokens"
    _note(f"{writer.name} ({writer.form}, {writer.path}{reads})")
    if not writer.chats:
        _note(NO_TEMPLATE)
    if person:
        _note(HELP)


def _lines(person: bool) -> Iterator[str]:
    """What is typed, or read from a pipe, line by line without the spaces around it."""
    if not person:
        yield from (_plain(line) for line in sys.stdin)
        return
    with suppress(ImportError):
        import readline  # noqa: F401 - gives `input` its editing and its history
    while True:
        try:
            yield _plain(input("> "))
        except EOFError:
            typer.echo()
            return
        except KeyboardInterrupt:
            typer.echo()
            _note(HELP)


def _plain(line: str) -> str:
    """A line without the spaces around it, and with question marks for bytes that were no UTF-8."""
    return line.strip().encode(errors="replace").decode()


def _turn(conversation: "Conversation", line: str, settings: Settings, person: bool) -> None:
    """Let the model answer a line; a person hears of what cannot be answered, and goes on."""
    text = ""
    with _interrupted(person) as stopped:
        try:
            answer = conversation.ask(line, settings)
            if conversation.left_out:
                _note(LEFT_OUT)
            for piece in answer:
                text += piece
                typer.echo(printable(piece.replace("\t", "    ")) if sys.stdout.isatty() else piece, nl=False)
                if stopped.is_set():
                    break
        except EggsError as error:
            if not person:
                raise
            _note(str(error))
            return
    typer.echo()
    if text:
        conversation.add(line, text)
    rate = f", {answer.rate:.1f} tokens/s" if answer.rate else ""
    ended = ", stopped" if stopped.is_set() else ", cut at its most tokens" if answer.finish == "length" else ""
    first = f", the first after {answer.first_seconds:.2f} s" if answer.tokens else ""
    _note(f"[{answer.tokens} token{'s' * (answer.tokens != 1)}{rate}{first}, {conversation.writer.path}{ended}]")


@contextmanager
def _interrupted(person: bool) -> Iterator[threading.Event]:
    """An event that Ctrl-C sets inside a with block, where a person sits; a second Ctrl-C ends the program."""
    stopped = threading.Event()

    def stop(*_: object) -> None:
        if stopped.is_set():
            raise KeyboardInterrupt
        stopped.set()

    if not person:
        yield stopped
        return
    before = signal.signal(signal.SIGINT, stop)
    try:
        yield stopped
    finally:
        signal.signal(signal.SIGINT, before)


def _note(text: str) -> None:
    """A line beside the conversation."""
    typer.secho(printable(text), err=True, dim=True)
