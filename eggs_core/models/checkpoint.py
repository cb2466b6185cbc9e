"""A safetensors checkpoint read in parts: its model on the meta device, with the tensors that are asked for."""

from __future__ import annotations

import copy
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import safe_open

from eggs_core.device import best_device
from eggs_core.errors import EggsError
from eggs_core.heavy import nn, torch, transformers
from eggs_core.models.architectures import check_window, find_blocks
from eggs_core.models.fingerprints import WeightFiles, first_values, of_files
from eggs_core.models.folder import CONFIG, read_object
from eggs_core.models.meta import compute_buffers, plain_config, put, skeleton
from eggs_core.models.opening_errors import explained
from eggs_core.models.pieces import Pieces, plain_names
from eggs_core.models.quantised import VALUES_PER_BYTE, is_quantised, method_of
from eggs_core.models.source import model_source, read_config
from eggs_core.models.stored_tensors import (
    DTYPES,
    Stored,
    matched,
    most_common_dtype,
    open_file,
    read_folder,
    settle_ties,
)
from eggs_core.models.text_part import text_tensors
from eggs_core.text.windows import check_tokens

if TYPE_CHECKING:  # it takes transformers seconds to import its models
    from transformers import PreTrainedConfig, PreTrainedModel


class Checkpoint:
    """A causal LM in a folder of safetensors files, of which only what was asked for is in memory.

    `model` is on the meta device. It computes in fp32 on the CPU and in the checkpoint's own dtype elsewhere, as
    `loading.load` does. Opening reads the configuration, the index and the files' headers, but no weight. It raises
    EggsError for a shard that is missing, an index that is wrong and tensors that do not fit the model.

    Of a model that also sees or hears it is the text part. Quantised weights are dequantised as they are read. Both are
    written as an ordinary model, under other names than in their files or in another dtype.
    """

    def __init__(
        self,
        name: str,
        device: torch.device | None = None,
        folder: Path | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        source, extra = model_source(name) if folder is None else (str(folder), {})
        if extra or not os.path.isdir(source):
            raise EggsError(f"{name} is no folder of safetensors files, which is what can be read block by block.")
        self.name, self.folder, self.device = name, Path(source), device or best_device()
        with explained(name):
            found = read_folder(name, self.folder)
            options = {"local_files_only": True, "trust_remote_code": False}
            self.config, self.left_out = read_config(name, source, **options)
            self.quantised = method_of(read_object(name, self.folder / CONFIG))
            if self.left_out:
                found = text_tensors(name, skeleton(copy.deepcopy(self.config)), found)
            settle_ties(self.config, self.folder, found)
            self.stored_dtype = self._plain_dtype(found)
            self.dtype = dtype or (torch.float32 if self.device.type == "cpu" else self.stored_dtype)
            self.model = skeleton(copy.deepcopy(self.config), dtype=self.dtype).eval()
            self.path, self.blocks = find_blocks(self.model)
            advice = "its text part cannot be opened by itself; choose a model of text alone"
            plain = "copy the whole model"
            self.stored, pieces = matched(name, self.model, found, advice if self.left_out else plain)
            self.pieces = Pieces(self.model, pieces)
            compute_buffers(self.model, name, self.device)
            self.tokenizer = transformers.AutoTokenizer.from_pretrained(source, **options)
        self.files = WeightFiles.look(self.folder / file for file in {s.file for s in found.values()})

    def __len__(self) -> int:
        return len(self.blocks)

    @property
    def rewritten(self) -> bool:
        """Are the tensors written otherwise than they are stored?"""
        return bool(self.left_out or self.quantised)

    @property
    def nbytes(self) -> int:
        """Bytes of the tensors as they are written."""
        return self.written_bytes(self.stored)

    def written_bytes(self, names: Iterable[str]) -> int:
        """Bytes that some of the tensors take as they are written."""
        return sum(self._values(place) * self._written(place).itemsize for place in map(self.stored.__getitem__, names))

    def values(self, names: Iterable[str]) -> int:
        """How many values some of the tensors have once they are dequantised."""
        return sum(self._values(self.stored[name]) for name in names)

    @property
    def saved_config(self) -> PreTrainedConfig:
        """The configuration that belongs to what is written."""
        if not self.rewritten:
            return self.config
        config = plain_config(self.model)
        config.dtype = self.stored_dtype
        return config

    def whole(self) -> PreTrainedModel:
        """The model itself with all of its weights; the checkpoint is of no use afterwards."""
        self._fill([*self.stored])
        if (self.folder / "generation_config.json").is_file():
            self.model.generation_config = transformers.GenerationConfig.from_pretrained(self.folder)
        model = self.model
        model.config = plain_config(model)
        return model

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

    def outer_tensors(self) -> dict[str, torch.Tensor]:
        """What is outside all blocks, as it is written."""
        if not self.rewritten:
            return self.stored_tensors(self.names())
        with self.load_outer(head=True):
            return self.to_store(self.names())

    @contextmanager
    def load_outer(self, head: bool) -> Iterator[nn.Module]:
        """The model with everything outside its blocks in memory; its LM head only if asked for, or tied."""
        output = self.model.get_output_embeddings()
        own = {id(p) for p in output.parameters()} - {id(p) for p in self.model.get_input_embeddings().parameters()}
        wanted = [n for n in self.names() if head or id(self._tensor(self.pieces.target(n))) not in own]
        with self._filled(wanted):
            yield self.model

    @contextmanager
    def load_block(self, number: int) -> Iterator[nn.Module]:
        """One block with its weights, which are let go at the end."""
        with self._filled(self.names(number)):
            yield self.blocks[number]

    def to_store(self, names: list[str]) -> dict[str, torch.Tensor]:
        """The model's tensors as they are written: as the files keep them, by their names there, in the dtype of each.

        Those that are rewritten get the names that transformers would give them.
        """
        state = self.model.state_dict()
        if self.rewritten:
            dtypes = {n: self._written(self.stored[n]) for n in names if n not in self.pieces}
            dtypes |= dict.fromkeys(self.pieces.targets(names), self.stored_dtype)
            return plain_names(self.model, {name: state[name].to(dtype) for name, dtype in dtypes.items()})
        kept = self.pieces.split({target: state[target] for target in self.pieces.targets(names)})
        kept |= {self.stored[name].key: state[name] for name in names if name not in self.pieces}
        return {self.stored[n].key: kept[self.stored[n].key].to(self.stored[n].dtype) for n in names}

    def _fill(self, names: list[str]) -> list[str]:
        """Give values to stored tensors of these names; returns what the model calls them."""
        parts: dict[str, torch.Tensor] = {}
        for file, some in self._by_file(names):
            with self._open(file) as opened:
                for name in some:
                    tensor = opened.get_tensor(self.stored[name].key)
                    packed = name in self.pieces and self.quantised
                    dtype = self.dtype if tensor.is_floating_point() and not packed else tensor.dtype
                    parts[name] = tensor.to(self.device, dtype, copy=True)
        with explained(self.name):
            joined = self.pieces.joined(parts)
        for name, tensor in joined.items():
            if tensor.shape != (expected := self._tensor(name).shape):
                raise EggsError(
                    f"{self.name} is damaged: what it stores for {name} has shape {tuple(tensor.shape)}, its model "
                    f"expects {tuple(expected)}."
                )
            put(self.model, name, tensor.to(self.dtype) if tensor.is_floating_point() else tensor)
        self.model.tie_weights()
        return list(joined)

    @contextmanager
    def _filled(self, names: list[str]) -> Iterator[None]:
        filled: list[str] = []
        try:
            filled = self._fill(names)
            yield
        finally:
            for name in filled:
                tensor = self._tensor(name)
                put(self.model, name, torch.empty_like(tensor, device="meta"))
            self.model.tie_weights()

    def _plain_dtype(self, found: dict[str, Stored]) -> torch.dtype:
        """The dtype of most tensors; of quantised weights, which dtype the configuration says they are instead of."""
        if not is_quantised(self.config):
            return most_common_dtype(found)
        said = getattr(self.config, "dtype", None)
        return said if isinstance(said, torch.dtype) and said.is_floating_point else torch.bfloat16

    def _values(self, place: Stored) -> int:
        packed = VALUES_PER_BYTE.get(self.quantised or "", 1) if place.kind not in DTYPES else 1
        return place.count * packed

    def _written(self, place: Stored) -> torch.dtype:
        return place.dtype if place.kind in DTYPES else self.stored_dtype

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
