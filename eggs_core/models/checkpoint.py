"""A safetensors checkpoint read in parts: its model on the meta device, with the tensors that are asked for."""

import copy
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import safe_open
from torch import nn
from transformers import AutoTokenizer

from eggs_core.device import best_device
from eggs_core.errors import EggsError
from eggs_core.models.architectures import find_blocks
from eggs_core.models.fingerprints import WeightFiles, first_values, of_files
from eggs_core.models.loading import check_window
from eggs_core.models.meta import compute_buffers, put, skeleton
from eggs_core.models.opening_errors import explained
from eggs_core.models.pieces import Pieces
from eggs_core.models.source import model_source, read_config
from eggs_core.models.stored_tensors import matched, most_common_dtype, open_file, read_folder, settle_ties
from eggs_core.text.windows import check_tokens


class Checkpoint:
    """A causal LM in a folder of safetensors files, of which only what was asked for is in memory.

    `model` is on the meta device. It computes in fp32 on the CPU and in the checkpoint's own dtype elsewhere, as
    `loading.load` does. Opening reads the configuration, the index and the files' headers, but no weight. It raises
    EggsError for a shard that is missing, an index that is wrong and tensors that do not fit the model.
    """

    def __init__(self, name: str, device: torch.device | None = None, folder: Path | None = None) -> None:
        source, extra = model_source(name) if folder is None else (str(folder), {})
        if extra or not os.path.isdir(source):
            raise EggsError(f"{name} is no folder of safetensors files, which is what can be read block by block.")
        self.name, self.folder, self.device = name, Path(source), device or best_device()
        with explained(name):
            found = read_folder(name, self.folder)
            options = {"local_files_only": True, "trust_remote_code": False}
            self.config = settle_ties(read_config(name, source, **options), self.folder, found)
            self.stored_dtype = most_common_dtype(found)
            self.dtype = torch.float32 if self.device.type == "cpu" else self.stored_dtype
            self.model = skeleton(copy.deepcopy(self.config), dtype=self.dtype).eval()
            self.path, self.blocks = find_blocks(self.model)
            self.stored, pieces = matched(name, self.model, found)
            self.pieces = Pieces(self.model, pieces)
            compute_buffers(self.model, name, self.device)
            self.tokenizer = AutoTokenizer.from_pretrained(source, **options)
        self.files = WeightFiles.look(self.folder / file for file in {s.file for s in found.values()})

    def __len__(self) -> int:
        return len(self.blocks)

    @property
    def nbytes(self) -> int:
        """Bytes of the tensors as they are stored."""
        return sum(s.count * s.dtype.itemsize for s in self.stored.values())

    @property
    def parameters(self) -> int:
        """Number of parameters, tied ones counted once."""
        return sum(p.numel() for p in self.model.parameters())

    def check_window(self, length: int) -> None:
        """Raise EggsError if the model cannot read windows of `length` tokens."""
        check_window(self.name, self.config, length)

    def check_tokens(self, *ids: torch.Tensor) -> None:
        """Raise EggsError if int64 ids, of any shape, hold a token that the model has no embedding for."""
        check_tokens(self.name, self.model, *ids)

    @property
    def fingerprint(self) -> str:
        """What tells the weights from others, the same as of the model in memory; see fingerprints.of_files."""
        return of_files(self.files)

    @property
    def earlier_fingerprints(self) -> list[str]:
        """What streamed runs made before recorded of these weights."""
        return [first_values(self.folder, self.stored)]

    def names(self, block: int | None = None) -> list[str]:
        """The stored tensors of one block, or of what is outside all blocks."""
        if block is not None:
            return [n for n in self.stored if n.startswith(f"{self.path}.{block}.")]
        return [n for n in self.stored if not n.startswith(f"{self.path}.")]

    def stored_tensors(self, names: list[str]) -> dict[str, torch.Tensor]:
        """Tensors as they are stored, by their names in the files."""
        found: dict[str, torch.Tensor] = {}
        for file, some in self._by_file(names):
            with self._open(file) as opened:
                found |= {self.stored[n].key: opened.get_tensor(self.stored[n].key) for n in some}
        return found

    @contextmanager
    def load_outer(self, head: bool) -> Iterator[nn.Module]:
        """The model with everything outside its blocks in memory; its LM head only if asked for, or tied."""
        output = self.model.get_output_embeddings()
        own = {id(p) for p in output.parameters()} - {id(p) for p in self.model.get_input_embeddings().parameters()}
        wanted = [n for n in self.names() if head or id(self._tensor(n)) not in own]
        with self._filled(wanted):
            yield self.model

    @contextmanager
    def load_block(self, number: int) -> Iterator[nn.Module]:
        """One block with its weights, which are let go at the end."""
        with self._filled(self.names(number)):
            yield self.blocks[number]

    def to_store(self, names: list[str]) -> dict[str, torch.Tensor]:
        """The model's tensors as the files keep them, by their names there, in the dtype of each."""
        state = self.model.state_dict()
        kept = self.pieces.split({target: state[target] for target in self.pieces.targets(names)})
        kept |= {self.stored[name].key: state[name] for name in names if name not in self.pieces}
        return {self.stored[n].key: kept[self.stored[n].key].to(self.stored[n].dtype) for n in names}

    @contextmanager
    def _filled(self, names: list[str]) -> Iterator[None]:
        filled: list[str] = []
        try:
            parts: dict[str, torch.Tensor] = {}
            for file, some in self._by_file(names):
                with self._open(file) as opened:
                    for name in some:
                        tensor = opened.get_tensor(self.stored[name].key)
                        dtype = self.dtype if tensor.is_floating_point() else tensor.dtype
                        parts[name] = tensor.to(self.device, dtype, copy=True)
            for name, tensor in self.pieces.joined(parts).items():
                put(self.model, name, tensor)
                filled.append(name)
            self.model.tie_weights()
            yield
        finally:
            for name in filled:
                tensor = self._tensor(name)
                put(self.model, name, torch.empty_like(tensor, device="meta"))
            self.model.tie_weights()

    def _tensor(self, name: str) -> torch.Tensor:
        owner, _, child = name.rpartition(".")
        return getattr(self.model.get_submodule(owner), child)

    def _by_file(self, names: Iterable[str]) -> list[tuple[str, list[str]]]:
        files = defaultdict(list)
        for name in names:
            files[self.stored[name].file].append(name)
        return sorted(files.items())

    def _open(self, file: str) -> safe_open:
        return open_file(self.name, self.folder, file)
