"""A safetensors checkpoint read in parts: its model on the meta device, with the tensors that are asked for."""

import copy
import hashlib
import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers import AutoTokenizer
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightRenaming, rename_source_key

from eggs_core.adapters import find_blocks
from eggs_core.device import best_device
from eggs_core.errors import EggsError
from eggs_core.models import SAMPLE, check_window, explained, model_source, read_config
from eggs_core.skeleton import compute_buffers, put, skeleton

INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


@dataclass(frozen=True, slots=True)
class Stored:
    """Where a tensor of the model lies: file, name there, shape and dtype."""

    file: str
    key: str
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def count(self) -> int:
        """Number of values."""
        return torch.Size(self.shape).numel()


class Checkpoint:
    """A causal LM in a folder of safetensors files, of which only what is held is in memory.

    `model` is on the meta device; on the CPU it computes in fp32, elsewhere in the checkpoint's own dtype, as
    `models.load` does. Opening reads the configuration, the index and the files' headers, no weight, and raises
    EggsError for a shard that is missing, an index that is wrong and tensors that do not fit the model.
    """

    def __init__(self, name: str, device: torch.device | None = None, folder: Path | None = None):
        source, extra = model_source(name) if folder is None else (str(folder), {})
        if extra or not os.path.isdir(source):
            raise EggsError(f"{name} is no folder of safetensors files, which is what can be read block by block.")
        self.name, self.folder, self.device = name, Path(source), device or best_device()
        with explained(name):
            options = {"local_files_only": True, "trust_remote_code": False}
            self.config = read_config(name, source, **options)
            self.tokenizer = AutoTokenizer.from_pretrained(source, **options)
        found = self._headers()
        self.stored_dtype = Counter(s.dtype for s in found.values()).most_common(1)[0][0]
        self.dtype = torch.float32 if self.device.type == "cpu" else self.stored_dtype
        self.model = skeleton(copy.deepcopy(self.config), dtype=self.dtype).eval()
        self.path, self.blocks = find_blocks(self.model)
        self.stored = self._matched(found)
        compute_buffers(self.model, name, self.device)

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

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits that tell weights apart: SHA-256 over names, shapes and first values of tensors."""
        digest = hashlib.sha256()
        for file, names in self._by_file(self.stored):
            with self._open(file) as opened:
                for name in sorted(names):
                    stored = self.stored[name]
                    rows = max(1, SAMPLE * stored.shape[0] // max(stored.count, 1)) if stored.shape else 0
                    piece = opened.get_slice(stored.key)[:rows] if rows else opened.get_tensor(stored.key)
                    digest.update(f"{name} {stored.shape}".encode() + piece.float().numpy().tobytes())
        return digest.hexdigest()[:16]

    def names(self, block: int | None = None) -> list[str]:
        """The stored tensors of one block, or of what is outside all blocks."""
        if block is not None:
            return [n for n in self.stored if n.startswith(f"{self.path}.{block}.")]
        return [n for n in self.stored if not n.startswith(f"{self.path}.")]

    def raw(self, names: list[str]) -> dict[str, torch.Tensor]:
        """Tensors as they are stored, by their names in the files."""
        found = {}
        for file, some in self._by_file(names):
            with self._open(file) as opened:
                found |= {self.stored[n].key: opened.get_tensor(self.stored[n].key) for n in some}
        return found

    @contextmanager
    def outside(self, head: bool) -> Iterator[nn.Module]:
        """The model with everything outside its blocks in memory; its LM head only if asked for, or tied."""
        output = self.model.get_output_embeddings()
        own = {id(p) for p in output.parameters()} - {id(p) for p in self.model.get_input_embeddings().parameters()}
        wanted = [n for n in self.names() if head or id(self._tensor(n)) not in own]
        with self._filled(wanted):
            yield self.model

    @contextmanager
    def held(self, number: int) -> Iterator[nn.Module]:
        """One block with its weights, which are let go at the end."""
        with self._filled(self.names(number)):
            yield self.blocks[number]

    @contextmanager
    def _filled(self, names: list[str]) -> Iterator[None]:
        try:
            for file, some in self._by_file(names):
                with self._open(file) as opened:
                    for name in some:
                        tensor = opened.get_tensor(self.stored[name].key)
                        dtype = self.dtype if tensor.is_floating_point() else tensor.dtype
                        put(self.model, name, tensor.to(self.device, dtype, copy=True))
            self.model.tie_weights()
            yield
        finally:
            for name in names:
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

    def _open(self, file: str):
        try:
            return safe_open(self.folder / file, framework="pt")
        except FileNotFoundError as error:
            raise EggsError(f"{self.name} lacks the weight file {file}; copy the whole model.") from error
        except (OSError, SafetensorError) as error:
            raise EggsError(
                f"The weight file {file} of {self.name} is damaged or incomplete; fetch it again."
            ) from error

    def _headers(self) -> dict[str, Stored]:
        """Every tensor by its name in the files, the index checked against the files' own headers."""
        index = self.folder / INDEX
        said = json.loads(index.read_text(encoding="utf-8"))["weight_map"] if index.is_file() else None
        if said is None and not (self.folder / SINGLE).is_file():
            raise EggsError(f"{self.name} holds neither {SINGLE} nor {INDEX}; copy the whole model.")
        found: dict[str, Stored] = {}
        for file in sorted(set(said.values())) if said else [SINGLE]:
            with self._open(file) as opened:
                for key in opened.keys():  # noqa: SIM118 - not a dict
                    piece = opened.get_slice(key)
                    if said is not None and said.get(key) != file:
                        continue
                    if (kind := piece.get_dtype()) not in DTYPES:
                        raise EggsError(
                            f"{self.name} stores {key} as {kind}; only fp32, fp16 and bf16 weights can be pruned."
                        )
                    found[key] = Stored(file, key, tuple(piece.get_shape()), DTYPES[kind])
        if said and (lost := sorted(set(said) - set(found))):
            raise EggsError(
                f"The index of {self.name} is wrong: {said[lost[0]]} does not hold {lost[0]} "
                f"({len(lost)} such tensors); fetch {INDEX} and its files again."
            )
        return found

    def _matched(self, found: dict[str, Stored]) -> dict[str, Stored]:
        """The files' tensors by the model's own names; raises EggsError unless every weight is there and fits."""
        state = self.model.state_dict()
        transforms = get_model_conversion_mapping(self.model)
        renamings = [t for t in transforms if isinstance(t, WeightRenaming)]
        converters = [t for t in transforms if not isinstance(t, WeightRenaming)]
        stored: dict[str, Stored] = {}
        for key, place in found.items():  # named as from_pretrained names them
            name, converted = rename_source_key(key, renamings, converters, self.model.base_model_prefix, state)
            if converted is not None and name in state:
                raise EggsError(
                    f"{self.name} keeps {key} in an older form; open it with transformers and save it once."
                )
            if name in state and place.shape != tuple(state[name].shape):
                expected = tuple(state[name].shape)
                raise EggsError(f"{self.name} is damaged: {key} has shape {place.shape}, its model expects {expected}.")
            if name in state:
                stored[name] = place
        first: dict[int, str] = {}
        for name in [n for n in state if n in stored]:
            if first.setdefault(id(self._tensor(name)), name) != name:
                del stored[name]  # of tied weights one is read and written
        lost = [n for n in state if n not in stored and id(self._tensor(n)) not in first]
        if lost:
            raise EggsError(f"{self.name} holds no weight {lost[0]} ({len(lost)} are missing); copy the whole model.")
        return stored
