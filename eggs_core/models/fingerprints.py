"""What tells one model's weights from another's: a hash over every byte, kept by the files that it was taken from."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from safetensors import safe_open

from eggs_core.cache import Bounded
from eggs_core.errors import EggsError
from eggs_core.files import write_json
from eggs_core.heavy import torch
from eggs_core.models.stored_tensors import Stored, open_file
from eggs_core.reading import read_json

PREFIX = "sha256:"  # of a fingerprint that reads every byte; older ones are sixteen hex digits of a sample
SAMPLE = 4096  # values of each tensor that a sampled fingerprint reads
KEPT = 256  # fingerprints that are remembered, here and in the user's cache folder
SETTLED_SECONDS = 2.0  # a file that changed more recently may change again without another time
PIECE = 1 << 22  # bytes read at once


@dataclass(frozen=True, slots=True)
class WeightFiles:
    """The files that weights are read from, and each one's size, times and number when they were looked at."""

    paths: tuple[Path, ...]
    states: tuple[tuple[int, ...], ...]

    @classmethod
    def look(cls, paths: Iterable[Path]) -> WeightFiles:
        """The files as they are now; raises EggsError for one that is gone."""
        found = tuple(sorted(path.absolute() for path in paths))
        return cls(found, tuple(_state(path) for path in found))

    @property
    def folder(self) -> Path:
        """The folder of the first."""
        return self.paths[0].parent

    def unchanged(self) -> bool:
        """Are they as they were?"""
        return all(_state(path, ()) == state for path, state in zip(self.paths, self.states, strict=True))

    @property
    def key(self) -> str:
        """What they are remembered by."""
        return hashlib.sha256(repr((self.paths, self.states)).encode()).hexdigest()[:32]

    @property
    def settled(self) -> bool:
        """Was the last change long enough ago that another one would show?"""
        return time.time() - max(max(times) for _, _, *times in self.states) / 1e9 > SETTLED_SECONDS


def _state(path: Path, gone: tuple[int, ...] | None = None) -> tuple[int, ...]:
    """A file's size, number and times; `gone`, or an EggsError, for one that is not there."""
    try:
        found = path.stat()
    except OSError as error:
        if gone is None:
            raise EggsError(f"The weight file {path.name} is gone from {path.parent}; copy the whole model.") from error
        return gone
    return found.st_size, found.st_ino, found.st_mtime_ns, found.st_ctime_ns


class Known:
    """Fingerprints by the state of the files they were taken from: in memory, and in a file that may be lost."""

    def __init__(self, file: Path | None = None) -> None:
        self._file, self._lock = file, threading.Lock()
        self._found: Bounded[str, str] = Bounded(KEPT)

    def get(self, files: WeightFiles) -> str | None:
        """The fingerprint of files that are as they were."""
        if files.key not in self._found:
            with self._lock:
                self._add_written()
        return self._found.get(files.key)

    def put(self, files: WeightFiles, fingerprint: str) -> None:
        """Remember a fingerprint; those used longest ago make room."""
        with self._lock:
            self._add_written()
            self._found.put(files.key, fingerprint)
            with suppress(EggsError):  # nothing is lost but time
                write_json(self._place(), self._found.items())

    def _add_written(self) -> None:
        """Add what other processes have written meanwhile; it is older than what is known here."""
        for key, fingerprint in (self._read() | self._found.items()).items():
            self._found.put(key, fingerprint)

    def _place(self) -> Path:
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        return self._file or Path(cache) / "eggs" / "fingerprints.json"

    def _read(self) -> dict[str, str]:
        try:
            found = read_json(self._place())
        except (OSError, ValueError):
            return {}
        plain = isinstance(found, dict) and all(isinstance(v, str) and v.startswith(PREFIX) for v in found.values())
        return found if plain else {}


KNOWN = Known()


def of_files(files: WeightFiles, known: Known = KNOWN) -> str:
    """PREFIX and 32 hex digits: SHA-256 over name, dtype, shape and bytes of every tensor as it is stored.

    How tensors are spread over safetensors files does not matter; of a GGUF file all bytes are read. Raises EggsError
    for files that have changed since they were looked at.
    """
    if (found := known.get(files)) is not None:
        return found
    digests: dict[str, str] = {}
    for number, path in enumerate(files.paths):
        if path.suffix.lower() == ".gguf":
            digests[str(number or "")] = _digest_of_file(path)
        else:
            digests |= _digests_of_tensors(path)
    if not files.unchanged():
        raise EggsError(f"The weights in {files.folder} have changed since they were opened; open them again.")
    found = _joined(digests)
    if files.settled:
        known.put(files, found)
    return found


def of_tensors(tensors: Mapping[str, torch.Tensor]) -> str:
    """The fingerprint of a model that comes from no file: the same hash over its tensors in memory."""
    return _joined({name: _digest(name, tensor) for name, tensor in tensors.items()})


def _joined(digests: Mapping[str, str]) -> str:
    return PREFIX + hashlib.sha256(json.dumps(sorted(digests.items())).encode()).hexdigest()[:32]


def _digests_of_tensors(path: Path) -> dict[str, str]:
    with open_file(path.parent.name, path.parent, path.name) as opened, ThreadPoolExecutor(4) as pool:
        names = list(opened.keys())
        return dict(zip(names, pool.map(lambda name: _digest(name, opened.get_tensor(name)), names), strict=True))


def _digest(name: str, tensor: torch.Tensor) -> str:
    found = hashlib.sha256(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
    found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def _digest_of_file(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            found.update(piece)
    return found.hexdigest()


def sampled(tensors: Mapping[str, torch.Tensor]) -> str:
    """The fingerprint that runs in memory recorded before: SHA-256 over up to SAMPLE values of each tensor."""
    digest = hashlib.sha256()
    for name, tensor in tensors.items():
        flat = tensor.detach().flatten()
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(flat[:: max(1, len(flat) // SAMPLE)].float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def first_values(folder: Path, stored: Mapping[str, Stored]) -> str:
    """The fingerprint that streamed runs recorded before: SHA-256 over the first values of each tensor."""
    digest = hashlib.sha256()
    for name, place in sorted(stored.items(), key=lambda item: (item[1].file, item[0])):
        with safe_open(folder / place.file, framework="pt") as opened:
            rows = max(1, SAMPLE * place.shape[0] // max(place.count, 1)) if place.shape else 0
            piece = opened.get_slice(place.key)[:rows] if rows else opened.get_tensor(place.key)
            digest.update(f"{name} {place.shape}".encode() + piece.float().numpy().tobytes())
    return digest.hexdigest()[:16]


class Weights(Protocol):
    """A model whose weights a run may have been made with."""

    name: str

    @property
    def fingerprint(self) -> str:
        """The hash over every byte."""

    @property
    def earlier_fingerprints(self) -> list[str]:
        """What runs made before would have recorded of these weights."""


def same_weights(recorded: object, model: Weights) -> bool:
    """Are these the weights of which a run recorded this fingerprint?

    A fingerprint of every byte is compared with one of every byte, an older one with one of its own kind.
    """
    if not isinstance(recorded, str):
        return False
    return recorded == model.fingerprint if recorded.startswith(PREFIX) else recorded in model.earlier_fingerprints


def check_same_weights(report: Mapping[str, Any], model: Weights) -> None:
    """Raise EggsError unless a model's weights are those that the run of this report was made with.

    A run that recorded no fingerprint passes, as there is nothing to compare.
    """
    if report.get("fingerprint") is None or same_weights(report["fingerprint"], model):
        return
    if report["model"] != model.name:
        raise EggsError(f"The run was made on {report['model']}, and {model.name} has other weights; use that model.")
    raise EggsError(f"The weights of {model.name} have changed since this run; prune again, or bring back the old.")
