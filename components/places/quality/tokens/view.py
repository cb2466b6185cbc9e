"""How a text is compared token by token; no gradio here."""

from collections.abc import Iterator
from typing import Any

from components.jobs.prune import Follow
from components.jobs.work import Work
from components.state.results import run_id
from eggs_core.limits import check_text
from eggs_core.runs.later_measures import token_steps
from eggs_core.runs.run import Run


def compare_text(follow: Follow, run: Run, text: str) -> Iterator[Any]:
    """Places in the queue and progress, and at the end what `compare_tokens` gives for a run's two models.

    Raises EggsError for a text that is too long.
    """
    check_text(text)
    yield from follow(token_work(run, text))


def token_work(run: Run, text: str) -> Work:
    """The work of comparing a run's two models on a text; its values are those of `token_steps`."""
    return Work(("tokens", *run_id(run), text), token_steps, (run, text), run.report["model"], lasting=False)
