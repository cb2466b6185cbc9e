"""Files and folders that appear whole or not at all, and JSON and YAML from outside, read within bounds."""

import errno
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError

from eggs_core.errors import EggsError

if TYPE_CHECKING:  # torch takes seconds to import, and only tensors need it
    from torch import Tensor

PART = ".part"  # how the name of everything unfinished ends; it begins with a dot
ABANDONED_SECONDS = 3600  # an unfinished file or folder in which nothing changed for so long belongs to no one
MOST_DEPTH = 64  # of brackets inside each other in a file from outside
MOST_JSON_BYTES = 64 << 20
MOST_YAML_BYTES = 1 << 20
SHOWN = 300  # characters of a path that a sentence shows
MOST_TEXT_BYTES = 256 << 20
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\Z)', re.DOTALL)


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
                old.unlink()
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
            f"{doing} needs {needed / 1e9:.3g} GB in {folder} and {free / 1e9:.3g} GB are free; free some or choose "
            "another folder."
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
        handle, tried = tempfile.mkstemp(prefix=".eggs-", suffix=PART, dir=nearest)
        os.close(handle)
        os.unlink(tried)
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


def read_json(path: Path) -> Any:
    """A JSON file's value; raises OSError, or ValueError as `parse_json` does."""
    return parse_json(read_bytes(path, MOST_JSON_BYTES))


def read_text(path: Path, most: int = MOST_TEXT_BYTES) -> str:
    """A text file in UTF-8, its lines ended by "\\n"; raises OSError, or ValueError for other bytes or too many."""
    return read_bytes(path, most).decode().replace("\r\n", "\n").replace("\r", "\n")


def read_bytes(path: Path, most: int) -> bytes:
    """A file's bytes; raises OSError, or ValueError for more than `most` of them (some files have no end)."""
    with open(path, "rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise ValueError(f"it is larger than {most >> 20} MiB")
    return data


def parse_json(text: str | bytes) -> Any:
    """The value of JSON that somebody else may have written: any JSON but what no program can go on with.

    Raises ValueError for what is no JSON or no UTF-8, for nesting deeper than MOST_DEPTH, for NaN and infinity, and for
    halves of surrogate pairs.
    """
    data = text.encode() if isinstance(text, str) else text
    brackets = np.frombuffer(_STRING.sub(b"", data), dtype=np.uint8)
    opened = (brackets == ord("[")) | (brackets == ord("{"))
    closed = (brackets == ord("]")) | (brackets == ord("}"))
    if np.max(np.cumsum(opened.astype(np.int32) - closed, dtype=np.int32), initial=0) > MOST_DEPTH:
        raise ValueError(f"it is nested more than {MOST_DEPTH} deep")
    value = json.loads(data, parse_constant=_refused, parse_float=_finite)
    if b"\\ud" in data.lower():
        json.dumps(value, ensure_ascii=False).encode()
    return value


def parse_yaml(text: str) -> Any:
    """The value of YAML that somebody else may have written; every scalar stays text (else 2:4 is 124).

    Raises ValueError for what is no YAML, for nesting deeper than MOST_DEPTH and for aliases, which grow without end.
    """
    import yaml

    if len(text) > MOST_YAML_BYTES:
        raise ValueError(f"it is longer than {MOST_YAML_BYTES >> 20} MiB")
    loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)  # twenty times as fast, where it was compiled
    try:
        depth = 0
        for event in yaml.parse(text, Loader=loader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MOST_DEPTH:
                raise ValueError(f"it is nested more than {MOST_DEPTH} deep")
            if isinstance(event, yaml.AliasEvent):
                raise ValueError("it uses aliases (*name), which are not read")
        return yaml.load(text, Loader=loader)
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        message = getattr(error, "problem", None) or " ".join(str(error).split())
        raise ValueError(f"{message} in line {mark.line + 1}" if mark else message) from error


def _refused(word: str) -> float:
    raise ValueError(f"{word} is no number of JSON")


def _finite(digits: str) -> float:
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"{digits[:20]} is too large")
    return value


def write_error(path: Path, error: Exception) -> EggsError:
    """The sentence for a file that cannot be written: DiskFull, or an EggsError with the reason."""
    name, folder = path.name[:SHOWN], f"{str(path.parent)[:SHOWN]}{'…' * (len(str(path.parent)) > SHOWN)}"
    full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "os error 28" in str(error)
    if full:
        return DiskFull(f"The disk that holds {folder} is full: {name} could not be written.")
    reason = getattr(error, "strerror", None) or str(error)
    return EggsError(f"{name} could not be written in {folder}: {reason}; choose another folder.")
