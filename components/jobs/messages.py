"""Lines of HTML that say how a job stands: a progress bar, a place in the queue, a refusal."""

from components.jobs.work import Waiting
from components.words.html import escape, hint
from eggs_core.limits import sentence
from eggs_core.progress import Progress
from eggs_core.units import seconds


def progress_bar(share: float, text: str, left: float | None = None) -> str:
    """A progress bar with what is being done and the time left."""
    remaining = f" · about {seconds(left)} left" if left is not None and left >= 1 else ""
    return (
        f'<div class="progress" role="progressbar" aria-label="{escape(text)}" aria-valuenow="{100 * share:.0f}">'
        f'<div style="width:{share:.1%}"></div></div>' + hint(escape(text) + remaining)
    )


def message(text: str, bad: bool = False) -> str:
    """A line where the progress bar was."""
    return hint(escape(text), bad)


def refusal(error: Exception) -> str:
    """What is said of an error, where the progress bar was."""
    return message(sentence(error), bad=True)


def waiting(event: Waiting) -> str:
    """How long it is until a work's turn comes, in words."""
    ahead = f"{event.place} job{'s' if event.place > 1 else ''} ahead of you"
    return ahead + (f", about {seconds(event.seconds)}" if event.seconds is not None and event.seconds >= 1 else "")


def bar(event: object) -> str:
    """The line for a place in the queue or for progress; empty for any other value of a work."""
    if isinstance(event, Waiting):
        return message(waiting(event))
    return progress_bar(event.share, event.text, event.seconds_left) if isinstance(event, Progress) else ""
