"""The run store: finished runs on disk, named by their configuration's hash, bounded in size, tolerant of damage."""

import os
import shutil
import threading
from pathlib import Path
from typing import Any

from eggs_core.errors import EggsError, OtherVersion
from eggs_core.report import Report
from eggs_core.runs import REPORT, Run, load_run, read_report, save_run

FOLDER = "EGGS_STORE"  # the environment variable that names another folder
MOST_BYTES = 2 << 30
LABEL, DAMAGED = "label.txt", "damaged-"
CHECKPOINTS = ".checkpoints"  # the pruned models of streamed runs, each in a folder of its run's key
LONGEST_LABEL = 120


def store_folder() -> Path:
    """EGGS_STORE, else eggs/runs in the user's cache folder."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get(FOLDER) or Path(cache) / "eggs" / "runs")


class RunStore:
    """Runs as folders named by key; several processes may share it. Writing is atomic, the oldest runs make room."""

    def __init__(self, folder: Path | None = None, most_bytes: int = MOST_BYTES) -> None:
        self._folder = folder
        self._most_bytes = most_bytes
        self._reports: dict[Path, tuple[int, Report]] = {}  # report.json -> (its time, what it holds)
        self._lock = threading.Lock()
        self.problems: list[str] = []  # one sentence for every run that was set aside

    @property
    def folder(self) -> Path:
        """Where the runs lie."""
        return self._folder or store_folder()

    def get(self, key: str) -> Run | None:
        """The run of that key, if it is here and whole; a damaged one is set aside and `problems` says so."""
        place = self._place(key)
        if not (place / REPORT).is_file():
            return None
        try:
            run = load_run(place)
            if run.key != key:
                raise EggsError(f"The run in {place} is damaged: its report is another run's; run it again.")
            return run
        except EggsError as error:
            self._set_aside(place, str(error))
            return None

    def put(self, run: Run) -> None:
        """Write a run; raises EggsError, and leaves the store as it was, when the disk is full."""
        save_run(run, self._place(run.key))
        self._evict(keep=run.key)

    def reports(self) -> list[dict[str, Any]]:
        """The report of every run, newest first, each with its "label"; damaged ones are set aside."""
        found = []
        for file in self.folder.glob(f"*/{REPORT}"):
            if file.parent.name.startswith((DAMAGED, ".")):
                continue
            try:
                written = file.stat().st_mtime_ns
                with self._lock:
                    known = self._reports.get(file)
                if known is None or known[0] != written:
                    known = written, read_report(file)
                    if known[1]["key"] != file.parent.name:
                        raise EggsError("The report is another run's.")
                    with self._lock:
                        self._reports[file] = known
                found.append((written, known[1] | {"label": self.label(file.parent.name)}))
            except FileNotFoundError:  # removed meanwhile
                continue
            except OtherVersion:  # that version lists it
                continue
            except (OSError, EggsError) as error:
                said = str(error)
                self._set_aside(file.parent, f"The run {file.parent.name} is damaged: {said[:1].lower()}{said[1:]}")
        return [report for _, report in sorted(found, key=lambda pair: -pair[0])]

    def label(self, key: str) -> str:
        """What the user calls a run; empty without a label."""
        try:
            return (self._place(key) / LABEL).read_text(encoding="utf-8")[:LONGEST_LABEL]
        except (OSError, UnicodeDecodeError):
            return ""

    def set_label(self, key: str, text: str) -> None:
        """Call a run by a name; raises EggsError if the run is not in the store."""
        place = self._place(key)
        if not (place / REPORT).is_file():
            raise EggsError("Only runs in the store can be named; this one ships with the app or was removed.")
        try:
            (place / LABEL).write_text(" ".join(text.split())[:LONGEST_LABEL], encoding="utf-8")
        except OSError as error:
            raise EggsError(f"The name cannot be saved: {error.strerror}.") from error

    def remove(self, key: str) -> None:
        """Forget a run, and the checkpoint of a streamed one; nothing happens if it is not there."""
        self._delete(self._place(key))

    def _delete(self, place: Path) -> None:
        shutil.rmtree(place, ignore_errors=True)
        shutil.rmtree(self.folder / CHECKPOINTS / place.name, ignore_errors=True)

    def _place(self, key: str) -> Path:
        if not key.isalnum() or len(key) > 64:  # keys are hex digits: nothing leaves the folder
            raise EggsError("This is no key of a run: keys are sixteen hex digits.")
        return self.folder / key

    def _set_aside(self, place: Path, why: str) -> None:
        with self._lock:
            number = len(list(self.folder.glob(f"{DAMAGED}{place.name}-*")))
            try:
                os.replace(place, self.folder / f"{DAMAGED}{place.name}-{number}")
            except OSError:
                return  # another process was faster
            self.problems.append(f"{why} It was set aside in {DAMAGED}{place.name}-{number}.")

    def _evict(self, keep: str) -> None:
        """Remove damaged runs, then the oldest ones, until the store is small enough; `keep` stays."""
        sizes, total = [], 0
        for place in self.folder.glob("[!.]*/"):
            try:
                files = [file.stat() for file in place.iterdir()]
                size, written = sum(f.st_size for f in files), max((f.st_mtime for f in files), default=0.0)
            except OSError:
                continue
            total += size
            if place.name != keep:
                sizes.append((not place.name.startswith(DAMAGED), written, size, place))
        for _, _, size, place in sorted(sizes):
            if total <= self._most_bytes:
                return
            self._delete(place)
            total -= size


STORE = RunStore()
