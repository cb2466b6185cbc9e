"""How a text is compared token by token, and what of it is kept; no gradio here."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from components.jobs.prune import Follow
from components.jobs.work import Work
from components.state.measured import Keep, measured
from components.state.results import RESULTS, Results, run_id
from eggs_core.evaluation.tokens import TokenChange, changes_of, plain_changes
from eggs_core.limits import check_text
from eggs_core.runs.later_measures import token_steps
from eggs_core.runs.measured import TOKENS, Measured
from eggs_core.runs.run import Run
from eggs_core.text.sources import bundled_text

SAMPLE = bundled_text("heldout").content[:900].rsplit(" ", 1)[0]
SAMPLE_NAME = "a text of the held-out speeches"


class Compared(NamedTuple):
    """A text compared: its first token, how each later one changed, what the text is called, and the day (UTC)."""

    first: str
    changes: list[TokenChange]
    text: str
    day: str


def compared(run: Run, own: Results = RESULTS) -> Compared | None:
    """The newest comparison that is known of a run, also by a visitor's `own` results; None without one."""
    for row in reversed(measured(run, TOKENS, RESULTS, own)):
        try:
            name = SAMPLE_NAME if row.asked["text"] == SAMPLE else "a text of one’s own"
            return Compared(*changes_of(row.found), name, row.created[:10])
        except (ValueError, TypeError, LookupError):
            continue
    return None


def compare_text(follow: Follow, run: Run, text: str, keep: Keep) -> Iterator[Any]:
    """Places in the queue and progress while a run's two models are compared on a text; `keep` gets what is found.

    Raises EggsError for a text that is too long.
    """
    check_text(text)
    found = None
    for found in follow(token_work(run, text)):
        yield found
    if isinstance(found, tuple):
        keep(Measured(TOKENS, {"text": text}, plain_changes(*found)))


def token_work(run: Run, text: str) -> Work:
    """The work of comparing a run's two models on a text; its values are those of `token_steps`."""
    return Work(("tokens", *run_id(run), text), token_steps, (run, text), run.report["model"], lasting=False)
