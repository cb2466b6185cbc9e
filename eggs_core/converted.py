"""Where the safetensors folder lies that a GGUF file, or the files of a split one, were converted into."""

import hashlib
import os
import re
from pathlib import Path

FOLDER = "EGGS_CONVERTED"  # the environment variable that names another folder
_PART = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.IGNORECASE)


def converted_root() -> Path:
    """EGGS_CONVERTED, else eggs/converted in the user's cache folder."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get(FOLDER) or Path(cache) / "eggs" / "converted")


def converted_folder(file: Path) -> Path:
    """The folder of a GGUF file as it is now, which is there once it was converted; raises OSError for no file."""
    states = [(s.st_size, s.st_ino, s.st_mtime_ns) for s in (part.stat() for part in split_files(file))]
    return converted_root() / f"{place_of(file)}{_digest(repr(states))}"


def place_of(file: Path) -> str:
    """How the names of all folders begin that a file was converted into, as it was at any time."""
    return f"{file.stem[:80]}-{_digest(str(file.absolute()))}-"


def split_files(file: Path) -> list[Path]:
    """The file itself, or all those of a model that was split into model-00001-of-00003.gguf and so on."""
    match = _PART.fullmatch(file.name)
    if not match:
        return [file]
    count = int(match["count"])
    return [file.with_name(f"{match['stem']}-{i:05}-of-{match['count']}.gguf") for i in range(1, min(count, 1000) + 1)]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
