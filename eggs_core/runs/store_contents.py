"""What in the run store's folder is the store's own: runs, damaged runs, checkpoints and folders left unfinished.

All else there is somebody else's, whatever its name. It is not counted, shown or removed. No link is followed.
"""

import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from eggs_core.errors import EggsError
from eggs_core.files import ABANDONED_SECONDS, PART, write_text
from eggs_core.pruning.activation_store import LOCK, STATE, WORK
from eggs_core.reading import read_json
from eggs_core.runs.folder import COMMITTED, DETAILS, MASKS, REPORT, has_run, is_part, settle
from eggs_core.runs.measured import MEASURED

MARK = ".eggs-store"  # the file by which the store knows its folders again; its first line is the run's key
LABEL, DAMAGED = "label.txt", "damaged-"
CHECKPOINTS = ".checkpoints"  # the pruned models of streamed runs, each in a folder of its run's key
RESUMABLE_SECONDS = 7 * 86400  # an unfinished checkpoint on which nobody worked for so long is given up
_WRITTEN = {REPORT, MASKS, DETAILS, LABEL, *MEASURED}
_LITTER = {"lost+found", ".DS_Store"}  # systems put these into empty folders
_KEY = re.compile(r"[0-9a-f]{16}")  # of runs that were stored without a mark
_DAMAGED = re.compile(rf"{DAMAGED}([0-9A-Za-z]{{1,64}})-\d+")
_FILE_PART = re.compile(rf"\.({'|'.join((LABEL, MARK, *MEASURED))})\.\w{{8}}\{PART}")
_UNFINISHED = re.compile(rf"\.([0-9A-Za-z]{{1,64}})\.\w{{8}}\{PART}|\.([0-9a-f]{{16}})-\w{{8}}")


@dataclass(frozen=True, slots=True)
class Entry:
    """A folder of the store's: what it is, the key of its run, its bytes, and when it was last written (Unix time)."""

    place: Path
    kind: str  # "run", "damaged", "checkpoint" or "unfinished"
    key: str
    bytes: int
    written: float

    @property
    def idle(self) -> float:
        """Seconds since something changed in it."""
        return time.time() - self.written


def mark(key: str) -> str:
    """What the file MARK says in the folder of a run."""
    return f"{key}\nThe run store of EGGS Explorer made this folder and removes it when it needs the room.\n"


def owned(place: Path) -> str:
    """The key of the run that the store keeps in a folder, in one set aside or in an unfinished one; else empty.

    A run that was stored before there were marks is known by its name and its files, and gets its mark now.
    """
    aside, unfinished = _DAMAGED.fullmatch(place.name), _UNFINISHED.fullmatch(place.name)
    key = aside[1] if aside else unfinished[1] or unfinished[2] if unfinished else place.name
    if not _is_folder(place):
        return ""
    if _marked(place, key) or (unfinished and is_part(place)):
        return key
    if not _KEY.fullmatch(key) or unfinished or not {REPORT, MASKS} <= _names(place) <= _WRITTEN:
        return ""
    if not aside and _value(place / REPORT, "key") != key:
        return ""
    with suppress(EggsError):
        write_text(place / MARK, mark(key))
    return key


def owned_checkpoint(place: Path) -> bool:
    """Is this folder the store's checkpoint of a run, or empty and thus free to become one?"""
    if not _is_folder(place):
        return False
    if _marked(place, place.name) or not _names(place):
        return True
    return place.name in (_value(place / REPORT, "key"), _value(place / WORK / STATE, "input", "config"))


def runs(folder: Path) -> Iterator[Path]:
    """The folder of each run, whole or damaged, in no order."""
    for name in _names(folder):
        if name.isalnum() and owned(folder / name) and has_run(folder / name):
            yield folder / name


def checkpoints(folder: Path) -> Iterator[Path]:
    """The folder of each streamed run's pruned model, in no order."""
    if _is_folder(folder / CHECKPOINTS):
        places = (folder / CHECKPOINTS / name for name in _names(folder / CHECKPOINTS))
        yield from filter(owned_checkpoint, places)


def contents(folder: Path) -> Iterator[Entry]:
    """All that the store has in its folder."""
    for place in (folder / name for name in _names(folder)):
        if key := owned(place):
            kind = "unfinished" if place.name.startswith(".") else "run" if place.name == key else "damaged"
            if kind == "run" and not has_run(place):
                kind = "damaged"  # its removal was cut off
            yield _entry(place, kind, key)
    for place in checkpoints(folder):
        yield _entry(place, "checkpoint", place.name)


def is_foreign(folder: Path) -> bool:
    """Does a folder hold something, but nothing of a run store's? Raises OSError if it cannot be read."""
    found = set(os.listdir(folder)) - _LITTER - {CHECKPOINTS}
    return bool(found) and not any(owned(folder / name) for name in found) and not any(checkpoints(folder))


def resumable(checkpoint: Entry) -> bool:
    """May somebody still go on with this checkpoint, which is not finished?"""
    return checkpoint.idle <= RESUMABLE_SECONDS and (checkpoint.place / WORK / STATE).is_file()


def abandoned(entry: Entry, keys: set[str]) -> bool:
    """Will nobody go on with this: an unfinished folder, or the checkpoint of a run that is not among `keys`?"""
    if entry.kind == "checkpoint" and (entry.key in keys or resumable(entry)):
        return False
    return entry.kind in ("checkpoint", "unfinished") and entry.idle > ABANDONED_SECONDS


def remove(entry: Entry) -> int:
    """Remove what the store wrote into one of its folders, and return how many bytes that were.

    What else lies in a run's folder stays, and the folder with it; so does a checkpoint on which a process works.
    """
    if entry.kind == "unfinished":
        shutil.rmtree(entry.place, ignore_errors=True)
    elif entry.kind == "checkpoint":
        _remove_checkpoint(entry.place)
    else:
        with suppress(OSError):
            _remove_run(entry.place, entry.key)
    return entry.bytes - _entry(entry.place, entry.kind, entry.key).bytes


def sweep_run(place: Path) -> None:
    """Remove what killed processes left unfinished in the folder of a run."""
    for name in _names(place):
        if (
            name not in _WRITTEN
            and _is_left_over(place / name)
            and (found := _entry(place / name, "unfinished", "")).idle > ABANDONED_SECONDS
        ):
            shutil.rmtree(found.place) if _is_folder(found.place) else found.place.unlink(missing_ok=True)


def _is_left_over(path: Path) -> bool:
    return bool(_FILE_PART.fullmatch(path.name)) or is_part(path)


def _remove_run(place: Path, key: str) -> None:
    sweep_run(place)
    if _names(place) <= _WRITTEN | {MARK, COMMITTED}:
        going = place.with_name(
            f".{key}.{secrets.token_hex(4)}{PART}"
        )  # if this process dies it is known as unfinished
        os.rename(place, going)
        shutil.rmtree(going)
        return
    settle(place)  # else the older run would be seen once the newer one's report is gone
    for name in (REPORT, MASKS, DETAILS, LABEL, *MEASURED):
        (place / name).unlink(missing_ok=True)


def _remove_checkpoint(place: Path) -> None:
    lock = place / WORK / LOCK
    if not lock.is_file() or lock.is_symlink() or lock.parent.is_symlink():
        shutil.rmtree(place, ignore_errors=True)
        return
    with suppress(Timeout, OSError), FileLock(lock, timeout=0):
        shutil.rmtree(place, ignore_errors=True)


def _entry(place: Path, kind: str, key: str) -> Entry:
    """Measure a folder; of a run's folder only what the store wrote counts."""
    run = kind in ("run", "damaged")
    found: list[Path | str] = [] if run else [place]
    for name in _names(place):
        if not run or name in _WRITTEN or name in (MARK, COMMITTED) or _is_left_over(place / name):
            found.append(path := f"{place}/{name}")
            if name not in _WRITTEN and _is_folder(path):
                found += (f"{top}/{inner}" for top, _, files in os.walk(path) for inner in files)
    size, written = 0, 0.0
    for file in found:
        with suppress(OSError):
            status = os.lstat(file)
            size += 0 if stat.S_ISDIR(status.st_mode) else status.st_size
            written = max(written, status.st_mtime)
    return Entry(place, kind, key, size, written)


def _marked(place: Path, key: str) -> bool:
    try:
        with open(f"{place}/{MARK}", "rb") as file:
            return file.readline(100) == key.encode() + b"\n"
    except (OSError, ValueError):
        return False


def _is_folder(place: Path | str) -> bool:
    return os.path.isdir(place) and not os.path.islink(place)


def _names(place: Path) -> set[str]:
    try:
        return set(os.listdir(place))
    except (OSError, ValueError):
        return set()


def _value(file: Path, *names: str) -> Any:
    """What a JSON file holds under these names, one inside the other; None without it."""
    try:
        value = read_json(file)
        for name in names:
            value = value[name]
        return value
    except (OSError, ValueError, TypeError, LookupError):
        return None
