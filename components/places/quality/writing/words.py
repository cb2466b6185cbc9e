"""The lanes in which models write, and where they part, in words."""

from dataclasses import dataclass, field
from typing import Protocol

from components.charts.colors import COLORS, color
from components.words.html import escape, facts_line, reading

DENSE = "Dense"  # the first lane


class Tokenizer(Protocol):
    """What gives the text of tokens."""

    def decode(self, tokens: list[int], /) -> str | list[str]:
        """Their text; a list of texts only for a list of lists."""


@dataclass(slots=True)
class Writer:
    """A model that writes: its name, the tokens so far, and where they first differ from the dense model's."""

    title: str
    tokens: list[int] = field(default_factory=list)
    parted: int | None = None


@dataclass(frozen=True, slots=True)
class Lane:
    """What one model wrote: its name, how many tokens, and where it parted from the dense text, from 0.

    The text is `same` as far as it is the dense model's, then the `first` other token, then the `rest`.
    """

    title: str
    tokens: int
    parted: int | None
    same: str
    first: str
    rest: str


def lane_of(writer: Writer, tokenizer: Tokenizer) -> Lane:
    """A writer's text so far."""
    at = len(writer.tokens) if writer.parted is None else writer.parted
    whole = str(tokenizer.decode(writer.tokens))
    same = str(tokenizer.decode(writer.tokens[:at]))
    until = str(tokenizer.decode(writer.tokens[: at + 1]))
    if not (whole.startswith(same) and whole.startswith(until)):  # a character that is made of several tokens
        same, until = "", ""
    return Lane(writer.title, len(writer.tokens), writer.parted, same, until[len(same) :], whole[len(until) :])


def lanes_html(lanes: list[Lane], prompt: str) -> str:
    """All lanes side by side; where a lane leaves the dense text, its token is marked."""
    return f'<div class="writers">{"".join(_lane(lane, prompt) for lane in lanes)}</div>'


def _lane(lane: Lane, prompt: str) -> str:
    marked = f'<mark title="first other token">{escape(lane.first)}</mark>' if lane.first else ""
    parted = "" if lane.parted is None else lane.parted + 1
    state = f"{lane.tokens} tokens" + ("" if lane.parted is None else f" · parts at token {parted}")
    hue = COLORS["Dense"] if lane.title == DENSE else color(lane.title)
    return (
        f'<section class="lane" data-writer="{escape(lane.title)}" data-tokens="{lane.tokens}" '
        f'data-parted="{parted}" style="border-top: 4px solid {hue}">'
        f'<div class="lane-head"><b>{escape(lane.title)}</b><span class="hint">{state}</span></div>'
        f'<div class="written" tabindex="0" role="region" aria-label="Text of {escape(lane.title)}"><p>'
        f'<span class="prompt">{escape(prompt)}</span><span class="generated">{escape(lane.same)}{marked}'
        f"{escape(lane.rest)}</span></p></div></section>"
    )


def writing_reading(lanes: list[Lane]) -> str:
    """Where each pruned model leaves the dense model's text."""
    longest = max(lanes[1:], key=lambda lane: lane.tokens if lane.parted is None else lane.parted)
    if longest.parted is None:
        return reading(f"{escape(longest.title)} wrote the dense model’s text to the end.", "costs")
    others = ", ".join(f"{escape(one.title)} at token {one.parted + 1}" for one in lanes[1:] if one.parted is not None)
    return reading(
        f"With the same chance at every place, they leave the dense text: {others}. The marked token is the first that "
        "differs; after it each reads another text, so that only the first says how alike the models are.",
        "costs",
    )


def writing_facts(temperature: float, seed: int, day: str) -> str:
    """How the models wrote, and when."""
    return facts_line(f"Temperature {temperature:g}, seed {seed}; written {escape(day)}.")
