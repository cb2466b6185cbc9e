"""Folders of files that are made for visitors: each goes after a while, and on a public server each has a share."""

import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Hashable
from pathlib import Path

from eggs_core.errors import EggsError
from eggs_core.limits import limits

KEPT_SECONDS = 3600.0  # by then it is downloaded; gradio serves a copy of its own, which goes as well


class Handed:
    """The folders of one server; safe to share between threads."""

    def __init__(self, seconds: float = KEPT_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._made: dict[Path, tuple[float, Hashable]] = {}  # folder -> when it was made, and whose it is
        self._lock = threading.Lock()

    def folder(self, kind: str, owner: Hashable) -> Path:
        """A new folder, whose name tells its kind; raises EggsError beyond a visitor's share, OSError if none fits."""
        with self._lock:
            self._sweep()
            mine, most = sum(other == owner for _, other in self._made.values()), limits().folders
            if most is not None and mine >= most:
                raise EggsError(
                    f"{most} downloads were made for you within the hour, which is one visitor’s share here; "
                    "try again later."
                )
            made = Path(tempfile.mkdtemp(prefix=f"eggs-{kind}-"))
            self._made[made] = self._clock(), owner
            return made

    def empty(self, folder: Path) -> None:
        """Remove a folder's files, which gradio has copied by now; it counts as before."""
        shutil.rmtree(folder, ignore_errors=True)

    def _sweep(self) -> None:
        now = self._clock()
        for folder in [folder for folder, (made, _) in self._made.items() if now - made > self._seconds]:
            del self._made[folder]
            shutil.rmtree(folder, ignore_errors=True)


HANDED = Handed()
