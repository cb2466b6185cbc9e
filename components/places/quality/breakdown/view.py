"""Where it breaks: what was measured of a run, and how it is measured; no gradio here."""

from collections.abc import Iterator
from typing import Any

from components.jobs.prune import Follow
from components.jobs.work import Work
from components.state.results import RESULTS, Results, run_id
from eggs_core.errors import EggsError
from eggs_core.evaluation.by_part import BlockDrift, PartCost
from eggs_core.runs.later_measures import breakdown_steps
from eggs_core.runs.run import Run

MOST_WINDOWS = 64
KIND = "breakdown"  # of result


def breakdown(run: Run, results: Results = RESULTS) -> tuple[int, list[BlockDrift], list[PartCost]] | None:
    """What this process has measured of a run, on the most windows so far, and their number."""
    found = [(windows, *value) for windows, value in results.of(run_id(run), KIND).items()]
    return max(found, default=None, key=lambda row: row[0])


def measure_breakdown(follow: Follow, run: Run, windows: int, results: Results = RESULTS) -> Iterator[Any]:
    """Measure drift and leave-one-in of a run on the first windows of the held-out speeches, unless that is known.

    Raises EggsError for a number of windows that is none.
    """
    if not 1 <= windows <= MOST_WINDOWS:
        raise EggsError(f"Choose 1 to {MOST_WINDOWS} windows.")
    if windows in results.of(run_id(run), KIND):
        return

    def keep(found: tuple[list[BlockDrift], list[PartCost]]) -> None:
        results.keep(run_id(run), KIND, windows, found)

    key = (KIND, *run_id(run), windows)
    yield from follow(Work(key, breakdown_steps, (run, windows), run.report["model"], keep))
