"""The run store: finished runs on disk, named by their configuration's hash, bounded in size, tolerant of damage."""

import itertools
import os
import threading
from contextlib import suppress
from pathlib import Path

from eggs_core.errors import EggsError, OtherVersion
from eggs_core.files import write_text
from eggs_core.report_types import Listed, Report
from eggs_core.runs.folder import FILES, REPORT, current, has_run, stamp, steady
from eggs_core.runs.measured import Measured, keep_measured, read_measured
from eggs_core.runs.run import Run, load_run, read_report, save_run
from eggs_core.runs.store_contents import (
    CHECKPOINTS,
    DAMAGED,
    LABEL,
    MARK,
    abandoned,
    contents,
    is_foreign,
    mark,
    owned,
    owned_checkpoint,
    remove,
    resumable,
    runs,
    sweep_run,
)
from eggs_core.units import size

FOLDER = "EGGS_STORE"  # the environment variable that names another folder
GB = "EGGS_STORE_GB"  # and the one that sets another size, in units of 10⁹ bytes
MOST_BYTES = 2 * 10**9
LONGEST_LABEL = 120
ANOTHER = f"choose an empty folder with {FOLDER}, or with --store for a sweep"


def store_folder() -> Path:
    """EGGS_STORE, else eggs/runs in the user's cache folder."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get(FOLDER) or Path(cache) / "eggs" / "runs")


def store_bytes() -> int:
    """EGGS_STORE_GB in bytes, else MOST_BYTES; raises EggsError if it is no size."""
    wanted = os.environ.get(GB) or MOST_BYTES / 1e9
    with suppress(ValueError, OverflowError):
        if (found := int(float(wanted) * 1e9)) > 0:
            return found
    raise EggsError(f"{GB} is {wanted!r}; it takes a number of gigabytes such as 2 or 0.5.")


class RunStore:
    """Runs as folders named by key; several processes may share it. Writing is atomic, the oldest runs make room.

    Only what the store itself wrote into its folder is ever listed, counted or removed.
    """

    def __init__(self, folder: Path | None = None, most_bytes: int | None = None) -> None:
        self._folder = folder
        self._most_bytes = most_bytes
        self._reports: dict[Path, tuple[tuple, Report]] = {}  # a run's folder -> (its stamp, its report)
        self._lock = threading.Lock()
        self._said: list[str] = []

    @property
    def folder(self) -> Path:
        """Where the runs lie."""
        return self._folder or store_folder()

    @property
    def problems(self) -> list[str]:
        """Why nothing is stored, if so, and one sentence for every run that was set aside."""
        try:
            self.check()
        except EggsError as error:
            return [str(error), *self._said]
        return list(self._said)

    def check(self) -> None:
        """Raise EggsError unless the folder is a run store, empty, or not there yet."""
        try:
            if is_foreign(self.folder):
                raise EggsError(f"{self.folder} is neither empty nor a run store, so runs are not kept; {ANOTHER}.")
            store_bytes()
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise EggsError(f"The run store {self.folder} cannot be read: {reason}; {ANOTHER}.") from error

    def get(self, key: str) -> Run | None:
        """The run of that key, if it is here and whole; a damaged one is set aside and `problems` says so."""
        place = self._place(key)
        if not owned(place) or not has_run(place):
            return None
        before = stamp(place)
        try:
            run = load_run(place)
            if run.key != key:
                raise EggsError(f"The run in {place} is damaged: its report is another run's; run it again.")
            return run
        except EggsError as error:
            if stamp(place) == before:  # else it was removed or replaced meanwhile
                self._set_aside(place, str(error))
            return None

    def put(self, run: Run) -> None:
        """Write a run and let older ones make room.

        Raises EggsError, and leaves the store as it was, when the disk is full or the folder is not the store's.
        """
        place, most = self._place(run.key), self._most_bytes or store_bytes()
        if not owned(place):
            self.check()
            self._check_free(place)
        save_run(run, place, {MARK: mark(run.key)})
        self._make_room(run.key, most)

    def checkpoint(self, key: str) -> Path:
        """Where the pruned model of a streamed run goes; raises EggsError if that is not the store's to write to."""
        self.check()
        place = self.folder / CHECKPOINTS / self._place(key).name
        if os.path.lexists(place) and not owned_checkpoint(place):
            raise EggsError(f"{place} was not made by the run store; move it away and try again.")
        return place

    def claim(self, key: str, count: int) -> None:
        """Make the folder of a checkpoint of `count` bytes; raises EggsError if the store may not hold so many."""
        place, most = self.checkpoint(key), self._most_bytes or store_bytes()
        if count > most:
            raise EggsError(
                f"The pruned model takes {size(count)} and the run store holds {size(most)} at most; "
                f"set {GB} to more, or prune with `python -m eggs_core prune --out FOLDER`."
            )
        write_text(place / MARK, mark(key))

    def reports(self) -> list[Listed]:
        """The report of every run, newest first, each with its "label"; damaged ones are set aside."""
        found, places = [], list(runs(self.folder))
        with self._lock:
            self._reports = {place: self._reports[place] for place in places if place in self._reports}
        for place in places:
            if (before := stamp(place))[0] is None:  # removed meanwhile
                continue
            try:
                with self._lock:
                    known = self._reports.get(place)
                if known is None or known[0] != before:
                    known = before, _read_report(place)
                    with self._lock:
                        self._reports[place] = known
                found.append((before, Listed(**known[1], label=_label(place))))
            except OtherVersion:  # that version lists it
                continue
            except EggsError as error:
                if has_run(place) and stamp(place) == before:
                    self._set_aside(place, str(error))
        newest = sorted(found, key=lambda pair: -pair[0][0][2])
        return [report for _, report in newest]

    def label(self, key: str) -> str:
        """What the user calls a run; empty without a label."""
        place = self._place(key)
        return _label(place) if owned(place) else ""

    def set_label(self, key: str, text: str) -> None:
        """Call a run by a name; raises EggsError if the run is not in the store."""
        place = self._place(key)
        if not owned(place) or not has_run(place):
            raise EggsError("Only runs in the store can be named; this one ships with the app or was removed.")
        write_text(place / LABEL, _plain(text))

    def measured(self, run: Run, kind: str) -> list[Measured]:
        """What was measured of a stored run later, the oldest first; see `read_measured`."""
        place = self._place(run.key)
        return read_measured(place, run, kind) if owned(place) else []

    def keep_measured(self, run: Run, row: Measured) -> None:
        """Keep what was measured with a run that is in the store; raises EggsError if it cannot be written."""
        place = self._place(run.key)
        if owned(place) and has_run(place):
            keep_measured(place, run, row)

    def remove(self, key: str) -> None:
        """Forget a run, and the checkpoint of a streamed one; nothing happens if it is not there."""
        name = self._place(key).name
        for entry in list(contents(self.folder)):
            if entry.key == name and entry.kind in ("run", "checkpoint"):
                remove(entry)

    def _place(self, key: str) -> Path:
        if not (isinstance(key, str) and key.isascii() and key.isalnum() and len(key) <= 64):
            raise EggsError("This is no key of a run: keys are sixteen hex digits.")  # nothing leaves the folder
        return self.folder / key

    def _check_free(self, place: Path) -> None:
        with suppress(OSError):
            taken = place.is_symlink() or (os.path.lexists(place) and (not place.is_dir() or any(place.iterdir())))
            if taken and not owned(place):  # looked at again: another process may have put the same run just now
                raise EggsError(f"{place} was not made by the run store; move it away, then the run can be kept.")

    def _set_aside(self, place: Path, why: str) -> None:
        with self._lock:
            if all(os.access(file, os.R_OK) for name in FILES if (file := current(place, name)).exists()):
                for number in itertools.count():
                    aside = self.folder / f"{DAMAGED}{place.name}-{number}"
                    if not os.path.lexists(aside):
                        break
                with suppress(OSError):  # another process was faster, or nothing can be written
                    os.rename(place, aside)
                    why += f" It was set aside in {aside.name}."
            if why not in self._said and (os.path.lexists(place) or "set aside" in why):
                self._said.append(why)

    def _make_room(self, keep: str, most: int) -> None:
        """Remove what is abandoned, then damaged and the oldest runs until all fits into `most` bytes; `keep` stays."""
        found = list(contents(self.folder))
        keys = {entry.key for entry in found if entry.kind == "run"}
        checkpoints = {entry.key: entry for entry in found if entry.kind == "checkpoint"}
        for entry in found:
            if entry.kind == "run":
                with suppress(OSError):
                    sweep_run(entry.place)
        total = sum(entry.bytes for entry in found)
        for entry in sorted(found, key=lambda e: (not abandoned(e, keys), e.kind == "run", e.written)):
            if abandoned(entry, keys):
                total -= remove(entry)
            elif total > most and (entry.kind == "damaged" or (entry.kind == "run" and entry.key != keep)):
                total -= remove(entry)
                checkpoint = checkpoints.get(entry.key) if entry.kind == "run" else None
                if checkpoint and not resumable(checkpoint):
                    total -= remove(checkpoint)


@steady
def _read_report(place: Path) -> Report:
    try:
        report = read_report(place)
    except FileNotFoundError as error:
        raise EggsError(f"The run {place.name} is damaged: {REPORT} is missing.") from error
    except OtherVersion:
        raise
    except EggsError as error:
        message = str(error)
        raise EggsError(f"The run {place.name} is damaged: {message[:1].lower()}{message[1:]}") from error
    if report["key"] != place.name:
        raise EggsError(f"The run {place.name} is damaged: its report is another run's.")
    return report


def _label(place: Path) -> str:
    try:
        with open(place / LABEL, encoding="utf-8") as file:
            return _plain(file.read(8 * LONGEST_LABEL))
    except (OSError, ValueError):
        return ""


def _plain(label: str) -> str:
    """One line of what can be printed."""
    return " ".join("".join(c for c in label if c.isprintable() or c.isspace()).split())[:LONGEST_LABEL]


STORE = RunStore()
