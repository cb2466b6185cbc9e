"""Files and folders that appear whole or not at all, and what a disk must have room for."""

import errno
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from eggs_core.errors import EggsError
from eggs_core.units import size

if TYPE_CHECKING:  # torch takes seconds to import, and only tensors need it
    from torch import Tensor

PART = ".part"  # how the name of everything unfinished ends; it begins with a dot
ABANDONED_SECONDS = 3600  # an unfinished file or folder in which nothing changed for so long belongs to no one
SHOWN = 300  # characters of a path that a sentence shows


class DiskFull(EggsError):
    """The disk had no room for what was to be written; what was there before is as it was."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path of its own beside `path` to write to, which takes its place when all went well and is removed otherwise.

    Raises DiskFull or EggsError, naming the folder, when it cannot be written.
    """
    part = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep_abandoned(path.parent, path.name)
        handle, name = tempfile.mkstemp(prefix=_prefix(path.name), suffix=PART, dir=path.parent)
        os.close(handle)
        part = Path(name)
        yield part
        part.chmod(0o644)
        os.replace(part, path)
    except (OSError, SafetensorError) as error:
        raise write_error(path, error) from error
    finally:
        if part is not None:
            part.unlink(missing_ok=True)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder beside `path` to fill, which becomes `path` when all went well and is removed otherwise.

    `path` is new or an empty folder. Raises DiskFull or EggsError, naming the folder, when it cannot be written.
    """
    path = Path(os.path.realpath(path))
    part = None
    check_new(path)
    if path.exists() and (path.is_mount() or path == Path.cwd() or not os.access(path.parent, os.W_OK)):
        with filled(path) as part:  # as this one cannot be replaced
            yield part
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep_abandoned(path.parent, path.name)
        part = Path(tempfile.mkdtemp(prefix=_prefix(path.name), suffix=PART, dir=path.parent))
        yield part
        part.chmod(0o755)
        if path.exists():
            path.rmdir()
        os.replace(part, path)
    except (OSError, SafetensorError) as error:
        raise write_error(path, error) from error
    finally:
        if part is not None:
            shutil.rmtree(part, ignore_errors=True)


@contextmanager
def filled(folder: Path, instead: str = "") -> Iterator[Path]:
    """A folder inside `folder`, which is there, whose files move up when all went well; it is removed in any case.

    Files of the same name give way, and those that the pattern `instead` names; others stay. Raises DiskFull or
    EggsError, naming the folder.
    """
    part = None
    try:
        sweep_abandoned(folder)
        part = Path(tempfile.mkdtemp(prefix=_prefix(folder.name), suffix=PART, dir=folder))
        yield part
        names = {file.name for file in part.iterdir()}
        for old in [p for p in folder.iterdir() if p.is_dir() and p.name in names]:
            shutil.rmtree(old)
        for name in sorted(names):
            os.replace(part / name, folder / name)
        for old in folder.glob(instead) if instead else ():
            if old.name not in names:
                old.unlink(missing_ok=True)  # another process may be writing the same
    except (OSError, SafetensorError) as error:
        raise write_error(folder / "it", error) from error
    finally:
        if part is not None:
            shutil.rmtree(part, ignore_errors=True)


def check_new(folder: Path) -> None:
    """Raise EggsError unless `folder` is an empty folder or not there yet, and can be written."""
    try:
        taken = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    except OSError as error:
        raise write_error(folder / "it", error) from error
    if taken:
        raise EggsError(f"{folder} is not empty; choose a new folder.")
    check_writable(folder)


def sweep_abandoned(folder: Path, name: str = "") -> None:
    """Remove what `replacing` and `new_folder` left in a folder when they were killed: for `name`, or for any name."""
    for part in folder.glob(f".*{PART}"):
        if (not name or part.name.startswith(_prefix(name))) and _idle_seconds(part) > ABANDONED_SECONDS:
            if part.is_dir() and not part.is_symlink():
                shutil.rmtree(part, ignore_errors=True)
            else:
                part.unlink(missing_ok=True)


def _prefix(name: str) -> str:
    """How the names of what is unfinished of `name` begin; so short that they are no longer than a name may be."""
    return f".{os.fsdecode(os.fsencode(name)[:100])}."


def _idle_seconds(part: Path) -> float:
    try:
        return time.time() - max(p.lstat().st_mtime for p in (part, *part.rglob("*")))
    except OSError:  # it is gone, or just being moved
        return 0.0


def check_disk(folder: Path, needed: float, doing: str) -> None:
    """Raise DiskFull, before the work, if the disk that holds `folder` has fewer free bytes than are needed."""
    folder = Path(folder).absolute()
    nearest = next(p for p in (folder, *folder.parents) if p.exists())
    free = shutil.disk_usage(nearest).free
    if needed > free:
        raise DiskFull(
            f"{doing} needs {size(needed)} in {folder} and the disk has {size(free)} of free space; "
            "free some or choose another folder."
        )


def check_writable(folder: Path) -> None:
    """Raise EggsError unless files can be written into `folder`, which need not be there yet and is not made.

    What is tried is the nearest folder above that exists.
    """
    folder = Path(folder).absolute()
    try:
        nearest = next(p for p in (folder, *folder.parents) if p.exists())
        for name in folder.parts[len(nearest.parts) :]:
            if len(os.fsencode(name)) > os.pathconf(nearest, "PC_NAME_MAX"):
                raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        # On Linux such a file has no name, so that nothing stays of it where the process is killed.
        with tempfile.TemporaryFile(prefix=_prefix(folder.name), suffix=PART, dir=nearest):
            pass
    except (OSError, ValueError) as error:
        raise write_error(folder / "it", error) from error


def write_tensors(path: Path, tensors: "Mapping[str, Tensor]", metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file."""
    from safetensors.torch import save_file

    with replacing(path) as part:
        save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, part, metadata=metadata)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file, for people to read."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


def write_error(path: Path, error: Exception) -> EggsError:
    """The sentence for a file that cannot be written: DiskFull, or an EggsError with the reason."""
    name, folder = path.name[:SHOWN], f"{str(path.parent)[:SHOWN]}{'…' * (len(str(path.parent)) > SHOWN)}"
    full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "os error 28" in str(error)
    if full:
        return DiskFull(f"The disk that holds {folder} is full: {name} could not be written.")
    reason = getattr(error, "strerror", None) or str(error)
    return EggsError(f"{name} could not be written in {folder}: {reason}; choose another folder.")
