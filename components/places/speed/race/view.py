"""The race: one prompt, two models that take turns, and what the page shows of them; no gradio here."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from components.jobs.messages import bar
from components.jobs.prune import Follow
from components.jobs.queue import Work
from components.state.asked import whole_number, words
from components.state.results import run_id
from components.words.html import escape, reading, seconds
from eggs_core.errors import EggsError
from eggs_core.limits import check_text
from eggs_core.models.architectures import context_length
from eggs_core.progress import Progress
from eggs_core.runs.pruned_models import recover, weights_at_hand
from eggs_core.runs.run import Run
from eggs_core.speed.generation import race
from eggs_core.sweep.results import seconds_of

MOST_TOKENS = 448

REDRAW_SECONDS = 0.1

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
    rate = f"{lane.rate:,.0f} tokens/s" if lane.rate else "– tokens/s"
    state = f"token {done} of {most} · first token after {1e3 * lane.first:.0f} ms" if done else "waiting for the start"
    return (
        f'<section class="lane {side}" data-side="{side}" data-tokens="{done}" data-rate="{lane.rate:.2f}">'
        f'<div class="lane-head"><b>{escape(lane.title)}</b><span class="rate">{rate}</span></div>'
        f'<div class="progress"><div style="width:{done / most:.1%}"></div></div>'
        f'<div class="lane-text" tabindex="0" role="region" aria-label="Text of {escape(lane.title)}"><p>'
        f'<span class="prompt">{escape(prompt)}</span><span class="generated">{escape(text)}</span></p></div>'
        f'<p class="hint">{state}</p></section>'
    )


def empty_lanes(run: Run | None, rival: str = "zeros") -> str:
    """The lanes before a race."""
    packed = "Packed" if run is None else f"Packed {run.report['pattern']}"
    return lanes_html({"dense": Lane(RIVALS[rival]), "packed": Lane(packed)}, {}, "", 1)


def race_note(run: Run | None) -> str:
    """What a start needs, before a race."""
    if run is None or weights_at_hand(run):
        return '<p class="hint">Both sides compute in turn on all threads; each has a clock of its own.</p>'
    took = f" (it took {seconds(spent)})" if (spent := seconds_of(run.report, "prune")) is not None else ""
    return (
        '<p class="hint">This run’s re-fitted weights are not stored. Start prunes the model again first'
        f"{took}; so does Prune in the sidebar.</p>"
    )


def run_race(follow: Follow, run: Run, prompt: str, most: int, rival: str) -> Iterator[tuple[str | None, str]]:
    """Race the packed model against `rival`; yields (lanes' HTML or None, a sentence or progress) as tokens come.

    A model that reads fewer tokens than prompt and `most` together ends the race earlier. Raises EggsError for an empty
    prompt, one that fills the model, and weights that cannot be had.
    """
    prompt, most = words(prompt, "The prompt"), whole_number(most, "The number of tokens")
    if not prompt.strip():
        raise EggsError("Type a few words for the models to continue.")
    if rival not in RIVALS or not 1 <= most <= MOST_TOKENS:
        raise EggsError(f"Choose 1 to {MOST_TOKENS} tokens and one of the two rivals.")
    check_text(prompt)
    work = Work(
        ("race", *run_id(run), prompt, most, rival),
        race_steps,
        (run, prompt, most, rival),
        run.report["model"],
        alone=True,
        lasting=False,
    )
    for event in follow(work):
        yield event if isinstance(event, tuple) else (None, bar(event))


def race_steps(run: Run, prompt: str, most: int, rival: str) -> Iterator[Progress | tuple[str, str]]:
    """Progress until both models are at hand, then what `run_race` yields."""
    models = yield from recover(run)
    tokenizer, packed = models.dense.tokenizer, models.packed
    ids = tokenizer(prompt, return_tensors="pt").input_ids.to(packed.device)
    models.dense.check_tokens(ids)
    limit = context_length(packed.config)
    if limit is not None and ids.shape[1] >= limit:
        raise EggsError(
            f"The prompt has {ids.shape[1]} tokens and the model reads {limit} at most; shorten the prompt."
        )
    most = min(most, limit - ids.shape[1])  # the race ends where the model does
    lanes = {"dense": Lane(RIVALS[rival]), "packed": Lane(f"Packed {run.report['pattern']}")}
    left, drawn = models.zeros if rival == "zeros" else models.dense.model, 0.0

    def draw() -> str:
        return lanes_html(lanes, {s: tokenizer.decode(lane.tokens) for s, lane in lanes.items()}, prompt, most)

    for step in race(left, packed, ids, most):
        lane = lanes[step.side]
        lane.tokens.append(step.token)
        lane.rate, lane.seconds, lane.first = step.tokens_per_second, step.seconds, step.first_token
        if time.monotonic() - drawn > REDRAW_SECONDS:
            yield draw(), '<p class="hint">Running…</p>'
            drawn = time.monotonic()
    yield draw(), verdict(lanes, rival, models.origin)


def verdict(lanes: dict[str, Lane], rival: str, origin: str) -> str:
    """Who was faster, and whether both wrote the same text."""
    dense, packed = lanes["dense"], lanes["packed"]
    ratio = packed.rate / dense.rate if dense.rate else 0.0
    faster = f"{ratio:.2f} × as fast" if ratio >= 1 else f"slower: {ratio:.2f} × the speed"
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
        f"after the first token {faster}. {same}{again}",
        "costs",
    )
