"""Files that appear whole or not at all, and one sentence when the disk does not take them."""

import errno
import json
import os
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from eggs_core.errors import EggsError


class DiskFull(EggsError):
    """The disk had no room for what was to be written; what was there before is as it was."""


@contextmanager
def replacing(path: Path):
    """A path beside `path` to write to, which takes its place when all went well and is removed otherwise.

    Raises DiskFull or EggsError, naming the folder, when it cannot be written.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        os.replace(part, path)
    except (OSError, SafetensorError) as error:
        raise _explained(path, error) from error
    finally:
        part.unlink(missing_ok=True)


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file."""
    with replacing(path) as part:
        save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, part, metadata=metadata)
        part.chmod(0o644)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file, for people to read."""
    with replacing(path) as part:
        part.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _explained(path: Path, error: Exception) -> EggsError:
    full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "os error 28" in str(error)
    if full:
        return DiskFull(f"The disk that holds {path.parent} is full: {path.name} could not be written.")
    reason = getattr(error, "strerror", None) or str(error)
    return EggsError(f"{path.name} could not be written in {path.parent}: {reason}; choose another folder.")
