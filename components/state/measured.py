"""What was measured of a run when somebody asked: kept with the run, and in memory; no gradio here.

On a public server others see only what was asked with the page's own text or prompt. The rest is the visitor's alone.
"""

from collections.abc import Callable
from contextlib import suppress

from components.state.known_runs import shipped_folder
from components.state.results import RESULTS, Results, run_id
from eggs_core.errors import EggsError
from eggs_core.limits import hosted
from eggs_core.runs.measured import Measured, read_measured
from eggs_core.runs.run import Run
from eggs_core.runs.store import STORE

Keep = Callable[[Measured], None]


def measured(run: Run, kind: str, *results: Results) -> list[Measured]:
    """What is known of a run, the newest last: what ships or is stored with it, and what `results` hold."""
    folder = shipped_folder(run)
    found = STORE.measured(run, kind) if folder is None else read_measured(folder, run, kind)
    for kept in results:
        found += map(Measured.of, kept.of(run_id(run), ("measured", kind)).values())
    return sorted({row.name: row for row in found}.values(), key=lambda row: row.created)


def keeper(run: Run, results: Results = RESULTS, stored: bool = True) -> Keep:
    """What keeps a row of a run in `results`, and where the run is stored with it."""

    def keep(row: Measured) -> None:
        results.keep(run_id(run), ("measured", row.kind), row.name, row.packed())
        if stored:
            with suppress(EggsError):  # it is shown all the same
                STORE.keep_measured(run, row)

    return keep


def visitors_keeper(run: Run, own: Results, brought: bool) -> Keep:
    """The keeper of what a visitor asks, who brought a text or a prompt, or took the page's."""
    private = brought and hosted()
    return keeper(run, own if private else RESULTS, stored=not private)
