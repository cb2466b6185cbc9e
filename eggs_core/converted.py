"""Where the safetensors folder lies that a GGUF file was converted into."""

import hashlib
import os
from pathlib import Path

FOLDER = "EGGS_CONVERTED"  # the environment variable that names another folder


def converted_root() -> Path:
    """EGGS_CONVERTED, else eggs/converted in the user's cache folder."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get(FOLDER) or Path(cache) / "eggs" / "converted")


def converted_folder(file: Path) -> Path:
    """The folder of a GGUF file as it is now, which is there once the file was converted; raises OSError without it.

    A file that changes gets another one. A split model goes by its first file.
    """
    state = file.stat()
    known_by = repr((str(file.absolute()), state.st_size, state.st_ino, state.st_mtime_ns))
    return converted_root() / f"{file.stem[:80]}-{hashlib.sha256(known_by.encode()).hexdigest()[:16]}"
