"""How a run's speed on this machine is measured; no gradio here."""

from collections.abc import Iterator

from components.jobs.work import Work
from components.state.results import RESULTS, SPEED, Results, model_id
from eggs_core.progress import Progress
from eggs_core.runs.measurement import Measurement, measure_key
from eggs_core.runs.run import Run

MEASURE_SECONDS = 10.0  # until a first measurement tells


def measure_work(run: Run, results: Results = RESULTS) -> Work:
    """The work of measuring a run's shapes and pattern on this machine; its values are (Progress, Measurement)."""

    def keep(last: tuple[Progress, Measurement]) -> None:
        results.keep(model_id(run), SPEED, measure_key(run), last[1])

    key = (SPEED, *measure_key(run))
    return Work(key, measure_steps, (run,), run.report["model"], keep, alone=True, expected=MEASURE_SECONDS)


def measure_steps(run: Run) -> Iterator[tuple[Progress, Measurement]]:
    """What `measure_speed` yields."""
    from eggs_core.runs.measured_speed import measure_speed  # here, as it imports torch at once

    yield from measure_speed(run)
