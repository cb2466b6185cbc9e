"""The race: one prompt, and two models that take turns; no gradio here."""

import time
from collections.abc import Iterator

from components.jobs.messages import bar
from components.jobs.prune import Follow
from components.jobs.work import Work
from components.places.speed.race.words import RIVALS, Lane, lanes_html, verdict
from components.state.asked import whole_number, words
from components.state.results import run_id
from components.words.html import hint
from eggs_core.errors import EggsError
from eggs_core.limits import check_text
from eggs_core.models.architectures import context_length
from eggs_core.progress import Progress
from eggs_core.runs.patterns import pattern_label
from eggs_core.runs.pruned_models import recover
from eggs_core.runs.run import Run
from eggs_core.text.windows import prompt_ids

MOST_TOKENS = 448
REDRAW_SECONDS = 0.1


def run_race(follow: Follow, run: Run, prompt: str, most: float, rival: str) -> Iterator[tuple[str | None, str]]:
    """Race the packed model against `rival`; yields (lanes' HTML or None, a sentence or progress) as tokens come.

    A model that reads fewer tokens than prompt and `most` together ends the race earlier. Raises EggsError for an empty
    prompt, one that fills the model, and weights that cannot be had.
    """
    prompt, count = words(prompt, "The prompt"), whole_number(most, "The number of tokens")
    if not prompt.strip():
        raise EggsError("Type a few words for the models to continue.")
    if rival not in RIVALS or not 1 <= count <= MOST_TOKENS:
        raise EggsError(f"Choose 1 to {MOST_TOKENS} tokens and one of the two rivals.")
    check_text(prompt)
    work = Work(
        ("race", *run_id(run), prompt, count, rival),
        race_steps,
        (run, prompt, count, rival),
        run.report["model"],
        alone=True,
        lasting=False,
    )
    for event in follow(work):
        yield event if isinstance(event, tuple) else (None, bar(event))


def race_steps(run: Run, prompt: str, most: int, rival: str) -> Iterator[Progress | tuple[str, str]]:
    """Progress until both models are at hand, then what `run_race` yields."""
    from eggs_core.speed.generation import race  # here, as they import torch at once
    from eggs_core.speed.native_step import decode_path

    models = yield from recover(run)
    tokenizer, packed = models.dense.tokenizer, models.packed
    ids = prompt_ids(tokenizer, prompt).to(packed.device)
    models.dense.check_tokens(ids)
    limit = context_length(packed.config)
    if limit is not None and ids.shape[1] >= limit:
        raise EggsError(
            f"The prompt has {ids.shape[1]} tokens and the model reads {limit} at most; shorten the prompt."
        )
    if limit is not None:  # the race ends where the model does
        most = min(most, limit - ids.shape[1])
    lanes = {"dense": Lane(RIVALS[rival]), "packed": Lane(f"Packed {pattern_label(run.report)}")}
    left, drawn = models.zeros if rival == "zeros" else models.dense.model, 0.0

    def draw() -> str:
        return lanes_html(lanes, {s: str(tokenizer.decode(lane.tokens)) for s, lane in lanes.items()}, prompt, most)

    for step in race(left, packed, ids, most):
        lane = lanes[step.side]
        lane.tokens.append(step.token)
        lane.rate, lane.seconds, lane.first = step.tokens_per_second, step.seconds, step.first_token
        if time.monotonic() - drawn > REDRAW_SECONDS:
            yield draw(), hint("Running…")
            drawn = time.monotonic()
    yield draw(), verdict(lanes, rival, models.origin, (decode_path(left), decode_path(packed)))
