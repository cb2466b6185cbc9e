"""What a rotation did, in one sentence."""

from components.words.html import escape, hint, reading
from eggs_core.runs.rotated import rotation_words
from eggs_core.runs.run import Run

NOT_ROTATED = (
    "This run was not rotated. With the rotation “learned” in the sidebar, another basis is learned first, in which "
    "what the pattern drops matters less; it folds into the weights."
)


def rotation_reading(run: Run | None) -> str:
    """What became of the run's rotation."""
    words = rotation_words(run.report) if run else ""
    return reading(escape(words)) if words else hint(NOT_ROTATED)
