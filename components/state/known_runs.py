"""Finished runs by their keys: those that ship with the app, and the stored ones."""

import weakref
from collections.abc import Hashable, Sequence
from functools import cache
from pathlib import Path

from components.state.results import run_id
from eggs_core.assets import ASSETS
from eggs_core.errors import EggsError
from eggs_core.runs.run import Run, load_run
from eggs_core.runs.store import STORE

DEFAULT_RUN = ("tiny-llama", "2:4", "eggs-ptp-plus")


_FOLDERS: dict[Hashable, Path] = {}  # of the runs that were read by `read_shipped`
_SHARED: weakref.WeakValueDictionary[Hashable, Run] = weakref.WeakValueDictionary()


def bundled_runs() -> tuple[Run, ...]:
    """The finished runs that ship with the app; a damaged one is left out, and `problems` says so."""
    return read_shipped()[0]


def problems() -> tuple[str, ...]:
    """One sentence for every shipped run that is damaged."""
    return read_shipped()[1]


def shipped_folder(run: Run) -> Path | None:
    """The folder of a run that ships with the app; None for any other."""
    bundled_runs()
    return _FOLDERS.get(run_id(run))


@cache
def read_shipped(place: Path = ASSETS / "runs") -> tuple[tuple[Run, ...], tuple[str, ...]]:
    """The runs in a folder, and a sentence for each one that is damaged."""
    runs, message = [], []
    for folder in sorted(place.glob("*/")):
        try:
            runs.append(run := load_run(folder))
            _FOLDERS[run_id(run)] = folder
        except EggsError as error:
            message.append(str(error).replace(str(folder), folder.name))
    return tuple(runs), tuple(message)


def find_run(key: str) -> Run | None:
    """The finished run of that key, shipped or stored; raises EggsError for what is no key."""
    shipped = next((run for run in bundled_runs() if run.key == key), None)
    if shipped or (stored := STORE.get(key)) is None:
        return shipped
    # One in memory, however many look at it.
    return _SHARED.setdefault((*run_id(stored), stored.report.get("created")), stored)


def first_run(runs: Sequence[Run] | None = None) -> Run | None:
    """The run that a first visitor sees, of those that ship with the app or of others."""
    runs = bundled_runs() if runs is None else runs
    wanted = [r for r in runs if (r.report["model"], r.report["pattern"], r.report["method"]) == DEFAULT_RUN]
    return next(iter(wanted or runs), None)
