"""The reports of all runs, shipped and stored."""

from collections.abc import Collection

from components.state.known_runs import bundled_runs, find_run
from eggs_core.config import PruneConfig
from eggs_core.errors import EggsError
from eggs_core.limits import hosted
from eggs_core.report_types import Listed, Report
from eggs_core.runs.run import Run
from eggs_core.runs.store import STORE

SHIPPED = "ships with the app"
OWN_TEXT = "text:"  # how a configuration names a text of one's own


def all_reports(own: Collection[str] = ()) -> list[Listed]:
    """The report of every run with its "label", stored ones first, newest first.

    A public server lists a run on a visitor's own text to those alone who have its key among their `own`.
    """
    stored = [report for report in STORE.reports() if report["key"] in own or not (hosted() and is_private(report))]
    keys = {report["key"] for report in stored}
    shipped: list[Listed] = [{**run.report, "label": SHIPPED} for run in bundled_runs() if run.key not in keys]
    return [*stored, *shipped]


def is_private(report: Report) -> bool:
    """Was a run calibrated or evaluated on a text of one's own?"""
    config = PruneConfig.from_dict(report["config"])
    return any(text.startswith(OWN_TEXT) for text in (config.calibration, config.evaluation))


def open_run(key: str) -> Run:
    """A run by its key; raises EggsError if it is gone."""
    run = find_run(key)
    if run is None:
        raise EggsError("That run is no longer here; choose another, or prune again.")
    return run
