"""What was measured of a run's speed on this machine, and how it is measured; no gradio here."""

from components.jobs.work import Work
from components.state.results import RESULTS, Results, model_id
from eggs_core.progress import Progress
from eggs_core.runs.measured_speed import Measurement, measure_key, measure_speed
from eggs_core.runs.run import Run

KIND = "speed"  # of result
MEASURE_SECONDS = 10.0  # until a first measurement tells


def measured(run: Run, results: Results = RESULTS) -> Measurement | None:
    """The complete measurement of a run's shapes and pattern that this process took last."""
    return results.of(model_id(run), KIND).get(measure_key(run))


def measure_work(run: Run, results: Results = RESULTS) -> Work:
    """The work of measuring a run's shapes and pattern on this machine; its values are (Progress, Measurement)."""

    def keep(last: tuple[Progress, Measurement]) -> None:
        results.keep(model_id(run), KIND, measure_key(run), last[1])

    key = (KIND, *measure_key(run))
    return Work(key, measure_speed, (run,), run.report["model"], keep, alone=True, expected=MEASURE_SECONDS)
