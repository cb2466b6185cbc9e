"""GGUF files: what their headers say, and their conversion, once, into a safetensors folder that is mapped later."""

from __future__ import annotations

import mmap
import shutil
import struct
import tempfile
from bisect import bisect_right
from dataclasses import dataclass, field
from glob import escape
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from eggs_core.converted import converted_folder, converted_root, place_of, split_files
from eggs_core.device import check_room
from eggs_core.errors import EggsError
from eggs_core.files import PART, check_disk, new_folder
from eggs_core.heavy import torch, transformers
from eggs_core.models.architectures import find_blocks
from eggs_core.models.building import from_files
from eggs_core.models.meta import save_plain
from eggs_core.models.stored_tensors import check_complete

if TYPE_CHECKING:  # it takes transformers seconds to import its models
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MAGIC = b"GGUF"
MOST_DIMENSIONS = 8
PIECE = 1 << 24  # bytes copied at once
ALIGNMENT = "general.alignment"
PEAK = 1.5  # times its fp32 weights that a conversion takes; 1.4 measured on SmolLM2-135M
_WIDTHS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9


@dataclass(slots=True)
class Tensor:
    """A tensor of a GGUF file: the bytes of its entry before the offset, its number of values, and its offset."""

    entry: bytes
    count: int
    offset: int


@dataclass(slots=True)
class Header:
    """What stands before a GGUF file's values: plain numbers by key, the bytes of all keys, the tensors."""

    version: int
    keys: int
    numbers: dict[str, Any] = field(default_factory=dict)
    written: bytes = b""
    tensors: list[Tensor] = field(default_factory=list)
    start: int = 0  # of the values

    @property
    def alignment(self) -> int:
        """Of each tensor's offset."""
        return int(self.numbers.get(ALIGNMENT, 32))


class _Reader:
    """Reads a header from its bytes; raises struct.error or IndexError where they end too early."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data, self.place = data, 0

    def number(self, kind: str) -> Any:
        found = struct.unpack_from(f"<{kind}", self.data, self.place)[0]
        self.place += struct.calcsize(f"<{kind}")
        return found

    def text(self) -> bytes:
        length = self.number("Q")
        if length > len(self.data) - self.place:
            raise IndexError("a text is longer than the file")
        self.place += length
        return self.data[self.place - length : self.place]

    def value(self, kind: int) -> Any:
        """A plain number; None for texts and lists, which are passed over."""
        if kind in _WIDTHS:
            return self.number(_WIDTHS[kind])
        if kind == _STRING:
            self.text()
        elif kind == _ARRAY:
            inner, count = self.number("I"), self.number("Q")
            if inner in _WIDTHS:
                self.place += count * struct.calcsize(f"<{_WIDTHS[inner]}")
            else:
                for _ in range(count):
                    self.value(inner)
        else:
            raise IndexError(f"there is no kind {kind}")
        return None


def read_header(file: Path) -> Header:
    """A GGUF file's header; raises struct.error or IndexError for one that is cut off or damaged, ValueError too."""
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
        reader = _Reader(data)
        reader.place = len(MAGIC)
        version, tensors, keys = (reader.number(kind) for kind in "IQQ")
        header, begun = Header(version, keys), reader.place
        for _ in range(keys):
            name = reader.text().decode()
            header.numbers[name] = reader.value(reader.number("I"))
        header.written = data[begun : reader.place]
        for _ in range(tensors):
            begun = reader.place
            reader.text()
            if (dimensions := reader.number("I")) > MOST_DIMENSIONS:
                raise IndexError("a tensor has too many dimensions")
            count = prod(reader.number("Q") for _ in range(dimensions))
            reader.number("I")
            header.tensors.append(Tensor(data[begun : reader.place], count, reader.number("Q")))
        header.start = _aligned(reader.place, header.alignment)
    return header


def _aligned(place: int, alignment: int) -> int:
    return -(-place // alignment) * alignment


def files_of(name: str, file: Path) -> list[Path]:
    """The files of a GGUF model; raises EggsError for one that is missing, not the first, or something else."""
    files = split_files(file)
    if file != files[0] and len(files) > 1:
        raise EggsError(f"{file.name} is a part of a model; give its first file, {files[0].name}.")
    for part in files:
        if not part.is_file():
            which = f"{name} lacks its file {part.name}" if part != file else f"There is no GGUF file {name[:200]!r}"
            raise EggsError(f"{which}; check the path, or fetch it again.")
        with part.open("rb") as opened:
            if opened.read(len(MAGIC)) != MAGIC:
                raise EggsError(f"{part.name} is not a GGUF file; it may be damaged or only partly downloaded.")
    return files


def converted(name: str, file: Path) -> Path:
    """The safetensors folder of a GGUF model, which is made now if it is not there yet.

    Its values are fp32, as which they are computed with; memory and disk are asked for that room before. Raises
    EggsError, OutOfMemory and DiskFull, and whatever transformers raises for a file that it cannot read.
    """
    files = files_of(name, file)
    folder = converted_folder(file)
    if folder.is_dir():
        return folder
    headers = [read_header(part) for part in files]
    grown = 4 * sum(tensor.count for header in headers for tensor in header.tensors)
    check_room(PEAK * grown, torch.device("cpu"), f"Opening {file.name}, whose weights grow to fp32,")
    joined = sum(part.stat().st_size for part in files) if len(files) > 1 else 0
    check_disk(folder.parent, grown + joined, f"Converting {file.name} to safetensors")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.parent / ".lock"):
        if not folder.is_dir():
            model, tokenizer = _loaded(name, files, headers)
            with new_folder(folder) as part:
                save_plain(model, model.state_dict(), part)
                tokenizer.save_pretrained(part)
    for old in folder.parent.glob(f"{escape(place_of(file))}*"):  # of the file as it was before
        if old != folder:
            shutil.rmtree(old, ignore_errors=True)
    return folder


def _loaded(name: str, files: list[Path], headers: list[Header]) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A model and its tokenizer as transformers reads them from GGUF, in fp32; a split one is joined first."""
    with tempfile.TemporaryDirectory(prefix=".", suffix=PART, dir=converted_root()) as place:
        file = files[0]
        if len(files) > 1:
            file = Path(place) / "whole.gguf"
            join(files, headers, file)
        options = {"local_files_only": True, "trust_remote_code": False, "gguf_file": file.name}
        tokenizer = transformers.AutoTokenizer.from_pretrained(str(file.parent), **options)
        model, lost = from_files(str(file.parent), dtype=torch.float32, **options)
    find_blocks(model)  # an unsupported architecture is refused here
    check_complete(name, [key for key in model.state_dict() if key in lost])
    return model, tokenizer


def join(files: list[Path], headers: list[Header], whole: Path) -> None:
    """Write one GGUF file with the tensors of all files and the keys of the first."""
    first = headers[0]
    entries, copies, place = b"", [], 0
    for file, header in zip(files, headers, strict=True):
        ends = sorted([tensor.offset for tensor in header.tensors] + [file.stat().st_size - header.start])
        for tensor in header.tensors:
            length = ends[bisect_right(ends, tensor.offset)] - tensor.offset
            entries += tensor.entry + struct.pack("<Q", place)
            copies.append((file, header.start + tensor.offset, length, place))
            place = _aligned(place + length, first.alignment)
    tensors = sum(len(header.tensors) for header in headers)
    with whole.open("wb") as out:
        out.write(MAGIC + struct.pack("<IQQ", first.version, tensors, first.keys) + first.written + entries)
        start = _aligned(out.tell(), first.alignment)
        for file, begin, length, at in copies:
            out.seek(start + at)
            with file.open("rb") as opened:
                opened.seek(begin)
                for done in range(0, length, PIECE):
                    out.write(opened.read(min(PIECE, length - done)))
