"""The lanes of the race, and its result in words."""

from dataclasses import dataclass, field

from components.words.html import escape, hint, reading
from components.words.phrases import speed_beside
from components.words.recorded import weights_hint
from eggs_core.runs.patterns import pattern_label
from eggs_core.runs.run import Run
from eggs_core.units import rate

RIVALS = {"zeros": "Same weights, zeros stored", "dense": "The model before pruning"}


@dataclass(slots=True)
class Lane:
    """One side of the race: its name, its tokens so far, and its own clock."""

    title: str
    tokens: list[int] = field(default_factory=list)
    rate: float = 0.0  # tokens per second after the first
    seconds: float = 0.0
    first: float = 0.0  # seconds to the first token


def lanes_html(lanes: dict[str, Lane], texts: dict[str, str], prompt: str, most: int) -> str:
    """Both lanes side by side: name, running rate, how far each is, and its text."""
    drawn = "".join(_lane(side, lane, texts.get(side, ""), prompt, most) for side, lane in lanes.items())
    return f'<div class="race">{drawn}</div>'


def _lane(side: str, lane: Lane, text: str, prompt: str, most: int) -> str:
    done = len(lane.tokens)
    shown = f"{rate(lane.rate)} tokens/s" if lane.rate else "– tokens/s"
    state = f"token {done} of {most} · first token after {1e3 * lane.first:.0f} ms" if done else "waiting for the start"
    return (
        f'<section class="lane {side}" data-side="{side}" data-tokens="{done}" data-rate="{lane.rate:.2f}">'
        f'<div class="lane-head"><b>{escape(lane.title)}</b><span class="rate">{shown}</span></div>'
        f'<div class="progress"><div style="width:{done / most:.1%}"></div></div>'
        f'<div class="lane-text" tabindex="0" role="region" aria-label="Text of {escape(lane.title)}"><p>'
        f'<span class="prompt">{escape(prompt)}</span><span class="generated">{escape(text)}</span></p></div>'
        f"{hint(state)}</section>"
    )


def empty_lanes(run: Run | None, rival: str = "zeros") -> str:
    """The lanes before a race."""
    packed = "Packed" if run is None else f"Packed {pattern_label(run.report)}"
    return lanes_html({"dense": Lane(RIVALS[rival]), "packed": Lane(packed)}, {}, "", 1)


def race_note(run: Run) -> str:
    """What a start needs, before a race."""
    return weights_hint(run, "Both sides compute in turn on all threads; each has a clock of its own.")


def verdict(lanes: dict[str, Lane], rival: str, origin: str, paths: tuple[str, str]) -> str:
    """Who was faster, whether both wrote the same text, and what computed the dense side's tokens and the packed's."""
    dense, packed = lanes["dense"], lanes["packed"]
    faster = speed_beside("the other", packed.rate / dense.rate if dense.rate else 0.0)
    equal = next(
        (i for i, (a, b) in enumerate(zip(dense.tokens, packed.tokens, strict=True)) if a != b), len(packed.tokens)
    )
    if equal == len(packed.tokens):
        same = f"<b>Identical text</b>: all {equal} tokens are the same."
    elif rival == "dense":
        same = f"The texts part at token {equal + 1}: pruning changed the weights, packing did not."
    else:
        same = f"The texts part at token {equal + 1}, where rounding decided between near-equal tokens."
    again = " The weights were pruned again for this race." if origin == "pruned again" else ""
    return reading(
        f"Packed wrote {len(packed.tokens)} tokens in {packed.seconds:.2f} s, the other in {dense.seconds:.2f} s: "
        f"after the first token it is {faster}. {same}{again}",
        "costs",
    ) + hint(f"Tokens: <b>{escape(' · '.join(dict.fromkeys(paths)))}</b>.")
