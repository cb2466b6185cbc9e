"""What was measured of a finished run later, in the run's folder: a small file for each kind, read when asked for."""

import datetime
import gzip
import json
import threading
import zlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from eggs_core.errors import EggsError
from eggs_core.files import replacing
from eggs_core.reading import parse_json, read_bytes
from eggs_core.runs.run import Run

KINDS = TASKS, TOKENS, WRITING = "tasks", "tokens", "writing"
MEASURED = tuple(f"measured-{kind}.json.gz" for kind in KINDS)  # the files, in the order of KINDS
MOST_ROWS = 12  # of a kind; the oldest go
MOST_BYTES = 8 << 20  # of a file, unpacked
MOST_PACKED = 2 << 20
_LOCK = threading.Lock()  # who keeps a row reads the others first


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


@dataclass(frozen=True, slots=True)
class Measured:
    """One answer about a run: its kind, what was asked and what was found as plain JSON values, and when (UTC)."""

    kind: str
    asked: dict[str, Any]
    found: Any
    created: str = field(default_factory=_now)

    @property
    def name(self) -> str:
        """Equal for equal questions."""
        return json.dumps(self.asked, sort_keys=True)

    def packed(self) -> bytes:
        """The row in few bytes, as memory keeps it."""
        return zlib.compress(json.dumps(asdict(self), ensure_ascii=False).encode())

    @classmethod
    def of(cls, packed: bytes) -> "Measured":
        """The row that `packed` gave."""
        return cls(**json.loads(zlib.decompress(packed)))


def read_measured(folder: Path, run: Run, kind: str) -> list[Measured]:
    """What a folder keeps of a run, the oldest first: nothing of the run on other weights, or of a damaged file."""
    try:
        value = parse_json(_unpacked(read_bytes(_file(folder, kind), MOST_PACKED)))
        if value["of"] != _subject(run):
            return []
        return [_row(kind, **row) for row in value["rows"][-MOST_ROWS:]]
    except (OSError, EOFError, ValueError, TypeError, LookupError, zlib.error):
        return []


def keep_measured(folder: Path, run: Run, row: Measured) -> None:
    """Keep a row in a folder, in place of the answer to the same question; raises EggsError if it cannot be written."""
    with _LOCK:
        rows = [kept for kept in read_measured(folder, run, row.kind) if kept.name != row.name]
        rows = [*rows, row][-MOST_ROWS:]
        plain = [{"asked": one.asked, "found": one.found, "created": one.created} for one in rows]
        text = json.dumps({"of": _subject(run), "rows": plain}, ensure_ascii=False, separators=(",", ":"))
        if len(data := text.encode()) > MOST_BYTES:
            raise EggsError("What was measured is too large to be kept with the run.")
        with replacing(_file(folder, row.kind)) as part:
            part.write_bytes(gzip.compress(data, mtime=0))


def _file(folder: Path, kind: str) -> Path:
    return folder / MEASURED[KINDS.index(kind)]


def _subject(run: Run) -> list[str]:
    """What a run's answers are about: its configuration and its weights."""
    return [run.key, run.report.get("fingerprint") or ""]


def _unpacked(data: bytes) -> bytes:
    """The content of a gzip file; raises ValueError for more than MOST_BYTES."""
    unpacker = zlib.decompressobj(wbits=31)
    found = unpacker.decompress(data, MOST_BYTES + 1)
    if len(found) > MOST_BYTES or not unpacker.eof:
        raise ValueError("it is too large, or cut off")
    return found


def _row(kind: str, asked: Any, found: Any, created: Any) -> Measured:
    if not (isinstance(asked, dict) and isinstance(created, str)):
        raise ValueError("it is no row")
    return Measured(kind, asked, found, created)
