"""The lanes in which models write, and where they part, in words."""

from dataclasses import dataclass, field
from typing import Protocol

from components.words.html import escape, reading


class Tokenizer(Protocol):
    """What gives the text of tokens."""

    def decode(self, tokens: list[int], /) -> str | list[str]:
        """Their text; a list of texts only for a list of lists."""


@dataclass(slots=True)
class Writer:
    """One lane: its name and colour, the tokens so far, and where they first differ from the dense model's."""

    title: str
    hue: str
    tokens: list[int] = field(default_factory=list)
    parted: int | None = None


def lanes_html(writers: list[Writer], tokenizer: Tokenizer, prompt: str) -> str:
    """All lanes side by side; where a lane leaves the dense text, its token is marked."""
    return f'<div class="writers">{"".join(_lane(w, tokenizer, prompt) for w in writers)}</div>'


def _lane(writer: Writer, tokenizer: Tokenizer, prompt: str) -> str:
    at = len(writer.tokens) if writer.parted is None else writer.parted
    whole = str(tokenizer.decode(writer.tokens))
    same = str(tokenizer.decode(writer.tokens[:at]))
    until = str(tokenizer.decode(writer.tokens[: at + 1]))
    if not (whole.startswith(same) and whole.startswith(until)):  # a character that is made of several tokens
        same, until = "", ""
    marked = f'<mark title="first other token">{escape(until[len(same) :])}</mark>' if len(until) > len(same) else ""
    parted = "" if writer.parted is None else writer.parted + 1
    state = f"{len(writer.tokens)} tokens" + ("" if writer.parted is None else f" · parts at token {parted}")
    return (
        f'<section class="lane" data-writer="{escape(writer.title)}" data-tokens="{len(writer.tokens)}" '
        f'data-parted="{parted}" style="border-top: 4px solid {writer.hue}">'
        f'<div class="lane-head"><b>{escape(writer.title)}</b><span class="hint">{state}</span></div>'
        f'<div class="written" tabindex="0" role="region" aria-label="Text of {escape(writer.title)}"><p>'
        f'<span class="prompt">{escape(prompt)}</span><span class="generated">{escape(same)}{marked}'
        f"{escape(whole[len(until) :])}</span></p></div></section>"
    )


def writing_reading(writers: list[Writer]) -> str:
    """Where each pruned model leaves the dense model's text."""
    longest = max(writers[1:], key=lambda w: len(w.tokens) if w.parted is None else w.parted)
    if longest.parted is None:
        return reading(f"{escape(longest.title)} wrote the dense model’s text to the end.", "costs")
    others = ", ".join(f"{escape(w.title)} at token {w.parted + 1}" for w in writers[1:] if w.parted is not None)
    return reading(
        f"With the same chance at every place, they leave the dense text: {others}. The marked token is the first that "
        "differs; after it each reads another text, so that only the first says how alike the models are.",
        "costs",
    )
