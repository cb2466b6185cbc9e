"""What was measured of a run on other texts than its own; no gradio here."""

from collections.abc import Iterator
from typing import Any

from components.jobs.prune import Follow
from components.jobs.work import Work
from components.state.results import RESULTS, Results, run_id
from eggs_core.limits import check_text
from eggs_core.runs.later_measures import text_steps
from eggs_core.runs.run import Run
from eggs_core.text.sources import Text

KIND = "text"  # of result


def text_rows(run: Run, results: Results = RESULTS) -> list[dict[str, Any]]:
    """The rows that this process has measured for a run, newest last: protocol, dense and pruned scores."""
    return list(results.of(run_id(run), KIND).values())


def measure_text(follow: Follow, run: Run, text: Text, results: Results = RESULTS) -> Iterator[Any]:
    """Evaluate dense and pruned on a text, in windows as long as the run's own, and keep the row."""
    check_text(text.content)

    def keep(row: dict) -> None:
        results.keep(run_id(run), KIND, row["sha256"], row)

    yield from follow(Work((KIND, *run_id(run), text.sha256), text_steps, (run, text), run.report["model"], keep))
