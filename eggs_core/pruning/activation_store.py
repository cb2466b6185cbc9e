"""Hidden states between two blocks, one tensor a batch, on disk so that work can go on, in memory if they fit."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from safetensors import SafetensorError

from eggs_core.errors import EggsError
from eggs_core.files import write_tensors
from eggs_core.heavy import safetensors_torch, torch

WORK = ".unfinished"  # the folder, inside that of the pruned model, of what is needed to go on
STATE, LOCK = "state.json", "lock"  # in there: how far it is, and what a process that works on it holds


class Batches(Protocol):
    """The hidden states of every batch of tokens, (windows, length, hidden) each: a list, or what stands in for one."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[torch.Tensor]: ...

    def __getitem__(self, index: int, /) -> torch.Tensor: ...

    def __setitem__(self, index: int, tensor: torch.Tensor, /) -> None: ...

    def append(self, tensor: torch.Tensor, /) -> None:
        """Add those of one more batch."""


def latest(batches: Batches, index: int) -> torch.Tensor:
    """What was written last at this place: of a Spool, the next generation's."""
    return batches.ahead(index) if isinstance(batches, Spool) else batches[index]


class Spool:
    """A list of tensors in generations: reading gives this generation's, writing makes the next one's.

    `step` turns the next generation into this one. A process that is killed before that leaves this generation whole,
    and another process goes on from it. With `in_memory` the tensors also stay in host memory: disk is only written.
    """

    def __init__(self, folder: Path, device: torch.device, in_memory: bool, generation: int = 0) -> None:
        self._folder, self._device, self._generation = folder, device, generation
        self._memory: dict[int, torch.Tensor] | None = {} if in_memory else None
        here = self._place(generation)
        self._count = len(list(here.glob("[0-9]*.safetensors"))) if here.is_dir() else 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[torch.Tensor]:
        return (self[index] for index in range(self._count))

    def __getitem__(self, index: int) -> torch.Tensor:
        if not 0 <= index < self._count:
            raise IndexError(index)
        return self._read(self._generation, index)

    def ahead(self, index: int) -> torch.Tensor:
        """The next generation's tensor, once it is written."""
        return self._read(self._generation + 1, index)

    def __setitem__(self, index: int, tensor: torch.Tensor) -> None:
        self._write(self._generation + 1, index, tensor)

    def append(self, tensor: torch.Tensor) -> None:
        """Add a tensor to this generation."""
        self._write(self._generation, self._count, tensor)
        self._count += 1

    def step(self) -> None:
        """Go on to the next generation and forget this one."""
        shutil.rmtree(self._place(self._generation), ignore_errors=True)
        self._generation += 1

    def clear(self) -> None:
        """Forget everything."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._count = 0

    def _read(self, generation: int, index: int) -> torch.Tensor:
        if self._memory is not None and index in self._memory:  # the newest generation's
            return self._memory[index].to(self._device)
        try:
            tensor = safetensors_torch.load_file(self._file(generation, index))["hidden"]
        except (OSError, SafetensorError, KeyError) as error:
            raise EggsError(
                f"The activations kept in {self._folder.parent} are damaged; delete that folder and start again."
            ) from error
        if self._memory is not None:
            self._memory[index] = tensor
        return tensor.to(self._device)

    def _write(self, generation: int, index: int, tensor: torch.Tensor) -> None:
        tensor = tensor.cpu()
        write_tensors(self._file(generation, index), {"hidden": tensor})
        if self._memory is not None:
            self._memory[index] = tensor

    def _place(self, generation: int) -> Path:
        return self._folder / f"{generation:05d}"

    def _file(self, generation: int, index: int) -> Path:
        return self._place(generation) / f"{index:05d}.safetensors"
