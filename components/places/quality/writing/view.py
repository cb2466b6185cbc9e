"""Side by side: one prompt, the dense model and up to three pruned ones, which all write at once; no gradio."""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from components.jobs.messages import bar, message
from components.jobs.prune import Follow
from components.jobs.work import Work
from components.places.quality.writing.words import DENSE, Lane, Writer, lane_of, lanes_html, writing_reading
from components.state.measured import Keep, measured
from components.state.reports import is_private
from components.state.results import RESULTS, Results, run_id
from components.words.labels import run_label
from components.words.prompt import PROMPT
from eggs_core.errors import EggsError
from eggs_core.limits import check_text
from eggs_core.models.architectures import context_length
from eggs_core.progress import Progress, memory_errors
from eggs_core.runs.measured import WRITING, Measured
from eggs_core.runs.pruned_models import recover
from eggs_core.runs.run import Run
from eggs_core.text.windows import prompt_ids

MOST_RUNS, MOST_TOKENS = 3, 256
TOKENS, TEMPERATURE, SEED = 64, 0.7, 0  # until a visitor asks for others
REDRAW_SECONDS = 0.15


@dataclass(frozen=True, slots=True)
class Written:
    """What models wrote: the prompt, the lanes, how they drew, the runs' keys, and the day (UTC)."""

    prompt: str
    lanes: list[Lane]
    temperature: float
    seed: int
    runs: list[str]
    day: str


def brought(prompt: str, runs: list[Run]) -> bool:
    """Did a visitor bring any of what is asked: a prompt, or a run on a text of one's own?"""
    return prompt != PROMPT or any(is_private(run.report) for run in runs)


def written(run: Run, own: Results = RESULTS) -> Written | None:
    """What was written last while a run was in view, also by a visitor's `own` results; None if nothing was."""
    for row in reversed(measured(run, WRITING, RESULTS, own)):
        try:
            asked, lanes = row.asked, [Lane(**lane) for lane in row.found]
            if len(lanes) > 1:
                drawn = float(asked["temperature"]), int(asked["seed"]), list(asked["runs"])
                return Written(str(asked["prompt"]), lanes, *drawn, row.created[:10])
        except (ValueError, TypeError, LookupError):
            continue
    return None


def write(
    follow: Follow, runs: list[Run], prompt: str, tokens: int, temperature: float, seed: int, keep: Keep
) -> Iterator[tuple[str, str]]:
    """Let the dense model and each run's pruned one continue the prompt; yields (sentence or progress, lanes' HTML).

    All draw with the same chance at the same place (see `sample`). `keep` gets what they wrote. Raises EggsError for an
    empty prompt, one that fills the model, more than MOST_RUNS runs or none, more than MOST_TOKENS tokens, and weights
    that cannot be had.
    """
    if not (prompt or "").strip():
        raise EggsError("Type a few words for the models to continue.")
    if not 1 <= len(runs) <= MOST_RUNS:
        raise EggsError(f"Choose one to {MOST_RUNS} pruned models to write beside the dense one.")
    if not (1 <= tokens <= MOST_TOKENS and temperature >= 0 and seed >= 0):
        raise EggsError(f"Choose 1 to {MOST_TOKENS} tokens, and a temperature and a seed from 0.")
    check_text(prompt)
    key = ("write", *map(run_id, runs), prompt, tokens, temperature, seed)
    args, lanes = (runs, prompt, tokens, temperature, seed), None
    for event in follow(Work(key, write_steps, args, runs[0].report["model"], lasting=False)):
        if isinstance(event, list):
            lanes = event
            yield message("Writing…"), lanes_html(lanes, prompt)
        else:
            yield bar(event), ""
    if lanes:
        asked: dict[str, Any] = {"prompt": prompt, "runs": [run.key for run in runs]}
        asked |= {"tokens": tokens, "temperature": temperature, "seed": seed}
        keep(Measured(WRITING, asked, [asdict(lane) for lane in lanes]))
        yield writing_reading(lanes), lanes_html(lanes, prompt)


def write_steps(
    runs: list[Run], prompt: str, tokens: int, temperature: float, seed: int
) -> Iterator[Progress | list[Lane]]:
    """Progress until all models are at hand, then their lanes as they grow."""
    from eggs_core.speed.generation import sample  # here, as it imports torch at once

    models = []
    for run in runs:
        models.append((yield from recover(run)))
    dense = models[0].dense
    ids = prompt_ids(dense.tokenizer, prompt).to(dense.model.device)
    dense.check_tokens(ids)
    limit = context_length(dense.model.config)
    if limit is not None and ids.shape[1] >= limit:
        raise EggsError(f"The prompt has {ids.shape[1]} tokens, the model reads {limit} at most; shorten it.")
    writers = [Writer(DENSE), *(Writer(run_label(run)) for run in runs)]
    steps = [sample(model, ids, temperature, seed) for model in (dense.model, *(m.zeros for m in models))]
    drawn = 0.0
    with memory_errors("Writing"):
        for place in range(tokens if limit is None else min(tokens, limit - ids.shape[1])):
            for writer, lane in zip(writers, steps, strict=True):
                writer.tokens.append(next(lane))
                if writer.parted is None and writer.tokens[-1] != writers[0].tokens[-1]:
                    writer.parted = place
            if time.monotonic() - drawn > REDRAW_SECONDS:
                drawn = time.monotonic()
                yield [lane_of(writer, dense.tokenizer) for writer in writers]
    yield [lane_of(writer, dense.tokenizer) for writer in writers]
