"""The reports of all runs, shipped and stored."""

from components.state.known_runs import bundled_runs, find_run
from eggs_core.errors import EggsError
from eggs_core.report_types import Listed
from eggs_core.runs.run import Run
from eggs_core.runs.store import STORE

SHIPPED = "ships with the app"


def all_reports() -> list[Listed]:
    """The report of every run with its "label", stored ones first, newest first."""
    stored = STORE.reports()
    keys = {report["key"] for report in stored}
    shipped: list[Listed] = [{**run.report, "label": SHIPPED} for run in bundled_runs() if run.key not in keys]
    return [*stored, *shipped]


def open_run(key: str) -> Run:
    """A run by its key; raises EggsError if it is gone."""
    run = find_run(key)
    if run is None:
        raise EggsError("That run is no longer here; choose another, or prune again.")
    return run
