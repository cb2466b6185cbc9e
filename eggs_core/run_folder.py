"""The files of one run in a folder: replaced all at once, so that a reader finds the run before or the run after.

A run that takes another one's place is written into a hidden folder inside the target, becomes valid by one rename to
COMMITTED, and only then moves file by file to where it belongs. Readers take each file from COMMITTED if it is there:
no move changes what they find, and whoever saves next completes the moves of a process that was killed.
"""

import errno
import functools
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from safetensors.torch import save_file

from eggs_core.errors import EggsError

REPORT, MASKS, DETAILS = FILES = "report.json", "masks.safetensors", "details.safetensors"
COMMITTED = ".committed"  # the folder, inside a run's, of a newer run that is complete
READS = 100  # of a run that is replaced while it is read
T = TypeVar("T")


def current(folder: Path, name: str) -> Path:
    """Where a run's file is: in its folder, or still in COMMITTED."""
    newer = folder / COMMITTED / name
    return newer if os.path.lexists(newer) else folder / name


def has_run(folder: Path) -> bool:
    """Does the folder hold a run, whole or damaged?"""
    return stamp(folder)[0] is not None


def stamp(folder: Path) -> tuple:
    """What changes whenever the run in a folder is replaced, moved or removed, for each of FILES.

    None if it is missing, else where it is, its number on the disk, its time in ns and its bytes.
    """
    return tuple(_identity(folder, name) for name in FILES)


def _identity(folder: Path, name: str) -> tuple[str, int, int, int] | None:
    for file in (folder / COMMITTED / name, folder / name):  # in this order it cannot be missed while it moves
        try:
            found = file.stat()
        except (OSError, ValueError):
            continue
        if stat.S_ISREG(found.st_mode):
            return str(file), found.st_ino, found.st_mtime_ns, found.st_size
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
        save_file({}, part / DETAILS)
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
