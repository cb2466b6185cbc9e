"""The files of one run in a folder: replaced all at once, so that a reader finds the run before or the run after.

A run that takes another one's place is first written into a hidden folder inside the target. One rename to COMMITTED
makes it valid. Only then its files move, one by one, to where they belong. Readers take each file from COMMITTED if it
is there, so no move changes what they find. If the process is killed, whoever saves next completes the moves.
"""

from __future__ import annotations

import errno
import functools
import glob
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from eggs_core.errors import EggsError
from eggs_core.files import ABANDONED_SECONDS, PART
from eggs_core.heavy import safetensors_torch

REPORT, MASKS, DETAILS = FILES = "report.json", "masks.safetensors", "details.safetensors"
COMMITTED = ".committed"  # the folder, inside a run's, of a newer run that is complete
READS = 100  # of a run that is replaced while it is read
_PART = re.compile(rf"\..+\.\w{{8}}\{PART}|\.[0-9a-f]{{16}}-\w{{8}}")  # the second one until there was PART
T = TypeVar("T")


def current(folder: Path, name: str) -> Path:
    """Where a run's file is: in its folder, or still in COMMITTED."""
    newer = folder / COMMITTED / name
    return newer if os.path.lexists(newer) else folder / name


def has_run(folder: Path) -> bool:
    """Does the folder hold a run, whole or damaged?"""
    return _identity(folder, REPORT) is not None


def stamp(folder: Path) -> tuple:
    """What changes whenever the run in a folder is replaced, moved or removed, for each of FILES.

    None if it is missing, else where it is, its number on the disk, its time in ns and its bytes.
    """
    return tuple(_identity(folder, name) for name in FILES)


def _identity(folder: Path, name: str) -> tuple[str, int, int, int] | None:
    for file in (f"{folder}/{COMMITTED}/{name}", f"{folder}/{name}"):  # in this order it is not missed while it moves
        try:
            found = os.stat(file)
        except (OSError, ValueError):
            continue
        if stat.S_ISREG(found.st_mode):
            return file, found.st_ino, found.st_mtime_ns, found.st_size
    return None


def steady(read: Callable[[Path], T]) -> Callable[[Path], T]:
    """Let a function that reads the run in a folder read it again if it was replaced meanwhile.

    Raises EggsError if it never stands still; what the function raises counts only once the run stood still.
    """

    @functools.wraps(read)
    def read_again(folder: Path) -> T:
        folder = Path(folder)
        for _ in range(READS):
            before = stamp(folder)
            try:
                found = read(folder)
            except Exception:
                if stamp(folder) == before:
                    raise
            else:
                if stamp(folder) == before:
                    return found
        raise EggsError(f"The run in {folder} is being replaced over and over; try again later.")

    return read_again


def new_part(folder: Path) -> Path:
    """A new folder in which to write a run that shall be published in `folder`; raises OSError."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    place = folder if folder.is_dir() else folder.parent
    sweep_parts(place, folder.name)
    return Path(tempfile.mkdtemp(prefix=f".{folder.name[:100]}.", suffix=PART, dir=place))


def is_part(place: Path) -> bool:
    """Is this a folder that was being filled with a run: by its name, and as it holds only that and hidden files?"""
    try:
        inside = os.listdir(place) if _PART.fullmatch(place.name) and not place.is_symlink() else None
    except OSError:
        return False
    return inside is not None and all(name in FILES or name.startswith(".") for name in inside)


def sweep_parts(place: Path, name: str) -> None:
    """Remove the folders that were being filled with the run of that name when the process was killed."""
    for part in place.glob(f".{glob.escape(name[:100])}[.-]*"):
        with suppress(OSError):
            if (
                is_part(part)
                and time.time() - max(p.lstat().st_mtime for p in (part, *part.iterdir())) > ABANDONED_SECONDS
            ):
                shutil.rmtree(part, ignore_errors=True)


def publish(part: Path, folder: Path) -> None:
    """Let a complete run in the folder `part`, on the same disk, take its place in `folder`, whose other files stay.

    Raises OSError, and leaves the run in `folder` as it was, when that cannot be.
    """
    if part.parent != folder:  # there was no folder
        try:
            os.replace(part, folder)
            return
        except OSError:
            if not folder.is_dir():  # else another process made the same run meanwhile
                raise
    if not (part / DETAILS).exists():  # else the older run's would count
        safetensors_torch.save_file({}, part / DETAILS)
    while True:
        settle(folder)
        try:
            os.replace(part, folder / COMMITTED)
            break
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):  # these say that another process was faster
                raise
    settle(folder)


def settle(folder: Path) -> None:
    """Move what is in COMMITTED to its place; several processes may do so at once. Raises OSError if a file cannot."""
    newer = folder / COMMITTED
    try:
        names = sorted(os.listdir(newer))
    except (FileNotFoundError, NotADirectoryError):
        return
    for name in names:
        with suppress(FileNotFoundError):
            os.replace(newer / name, folder / name)
    with suppress(OSError):
        newer.rmdir()
