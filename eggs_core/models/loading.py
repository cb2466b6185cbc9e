"""Loading causal language models: bundled, a local folder, a GGUF file, or the Hugging Face Hub."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, cast

from eggs_core.device import best_device, check_room
from eggs_core.errors import EggsError
from eggs_core.heavy import nn, torch, transformers
from eggs_core.models.architectures import check_window, find_blocks
from eggs_core.models.building import from_files
from eggs_core.models.checkpoint import Checkpoint
from eggs_core.models.experts import open_experts
from eggs_core.models.fingerprints import WeightFiles, first_values, of_files, of_tensors, sampled
from eggs_core.models.meta import check_buffers, skeleton
from eggs_core.models.opening_errors import explained
from eggs_core.models.quantised import is_quantised
from eggs_core.models.source import open_model
from eggs_core.models.stored_tensors import Stored, check_complete, headers, matched
from eggs_core.text.windows import check_tokens

if TYPE_CHECKING:  # it takes transformers seconds to import its models
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase


@dataclass
class Outline:
    """A causal LM in evaluation mode, its weights perhaps on the meta device; `name` is what the user asked for."""

    name: str
    model: PreTrainedModel

    @property
    def parameters(self) -> int:
        """Number of parameters, tied ones counted once."""
        return sum(p.numel() for p in self.model.parameters())

    def check_window(self, length: int) -> None:
        """Raise EggsError if the model cannot read windows of `length` tokens."""
        check_window(self.name, self.model.config, length)

    def check_tokens(self, *ids: torch.Tensor) -> None:
        """Raise EggsError if int64 ids, of any shape, hold a token that the model has no embedding for."""
        check_tokens(self.name, self.model, *ids)


@dataclass
class LoadedModel(Outline):
    """A causal LM with its weights and its tokenizer."""

    tokenizer: PreTrainedTokenizerBase
    files: WeightFiles | None = None  # that the weights were read from, None for a model made in memory
    left_out: tuple[str, ...] = ()  # what the files hold beside the language model, such as vision
    quantised: str | None = None  # how the files keep the weights, such as fp8

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self.model.device

    @cached_property
    def nbytes(self) -> int:
        """Bytes of all weights, tied ones counted once."""
        tensors = (*self.model.parameters(), *self.model.buffers())
        return sum({t.data_ptr(): t.nbytes for t in tensors}.values())

    @cached_property
    def fingerprint(self) -> str:
        """What tells the weights from others: fingerprints.PREFIX and 32 hex digits, of the files if there are any.

        Raises EggsError if the files have changed since they were loaded.
        """
        return of_files(self.files) if self.files else of_tensors(self.model.state_dict())

    @cached_property
    def earlier_fingerprints(self) -> list[str]:
        """What runs made before recorded of these weights: in memory, and block by block."""
        found = [sampled(self.model.state_dict())]
        if self.left_out or self.quantised:  # no earlier version opened these
            return found
        if self.files and self.files.paths[0].suffix == ".safetensors":
            folder = self.files.folder
            found.append(first_values(folder, matched(self.name, self.model, headers(self.name, folder))[0]))
        return found

    def copied_to(self, device: torch.device) -> LoadedModel:
        """A copy on another device, known by the same fingerprint."""
        copied = replace(self, model=moved(copy.deepcopy(self.model), device), files=None)
        copied.fingerprint = self.fingerprint
        return copied


def moved(model: PreTrainedModel, to: torch.device | torch.dtype) -> PreTrainedModel:
    """The model moved to another device or dtype; `to` of a model takes more than transformers declares."""
    return cast("PreTrainedModel", cast(nn.Module, model).to(to))


def _bytes_loaded(config: PreTrainedConfig, stored: dict[str, Stored], dtype: torch.dtype | None) -> int:
    """Bytes that a model's weights take in memory when they are loaded as `dtype`, None: as the configuration says."""
    wanted: torch.dtype = dtype or getattr(config, "dtype", None) or torch.float32
    return sum(place.count for place in stored.values()) * wanted.itemsize


def load(
    name: str,
    device: torch.device | None = None,
    dtype: torch.dtype | None = None,
    device_map: str | dict[str, str | int] | None = None,
) -> LoadedModel:
    """Load a causal LM and its tokenizer onto a device, in fp32 on the CPU and in its own dtype elsewhere.

    A `device_map`, "auto" or one of accelerate's, spreads the model over several devices and, where they are full, over
    host memory and disk. Such a model can be evaluated, not pruned.
    A model's own code never runs, and nothing is unpickled. A public server opens no path, asks the Hub for a model's
    size before its files, and uses no token. Raises EggsError with what to do for everything that can fail, also for
    weights that are missing or do not fit, which transformers would draw at random.
    """
    name = name.strip()
    device = device or best_device()
    if dtype is None and device.type == "cpu":
        dtype = torch.float32
    with explained(name):
        opened = open_model(name)
        files = opened.files
        if opened.folder and (opened.left_out or is_quantised(opened.config)):
            return _rebuilt(name, opened.folder, device, dtype, files, device_map)
        if opened.stored:
            if device_map is None:
                check_room(_bytes_loaded(opened.config, opened.stored, dtype), device, f"The model {Path(name).name}")
            check_fits(name, opened.config, opened.stored)
        tokenizer = transformers.AutoTokenizer.from_pretrained(opened.source, **opened.options)
        model, lost = from_files(
            opened.source,
            dtype=dtype or "auto",
            use_safetensors=True,
            device_map=device_map,
            config=opened.config,
            **opened.options,
        )
    open_experts(model)
    find_blocks(model)  # an unsupported architecture is refused here, before any work
    check_complete(name, [key for key in model.state_dict() if key in lost])
    model = model.eval()
    return LoadedModel(name, model if device_map else moved(model, device), tokenizer, files)


def _rebuilt(
    name: str,
    folder: Path,
    device: torch.device,
    dtype: torch.dtype | None,
    files: WeightFiles | None,
    device_map: object,
) -> LoadedModel:
    """A model whose tensors are not as its files name or store them: the same that is streamed, with all its blocks."""
    if device_map is not None:
        raise EggsError(f"{name} is quantised or a part of a larger model, which is opened on one device only.")
    checkpoint = Checkpoint(name, device, folder, dtype)
    check_room(checkpoint.parameters * checkpoint.dtype.itemsize, device, f"The model {Path(name).name}")
    model, tokenizer = checkpoint.whole(), checkpoint.tokenizer
    return LoadedModel(name, model, tokenizer, files, checkpoint.left_out, checkpoint.quantised)


def check_fits(name: str, config: PreTrainedConfig, stored: dict[str, Stored]) -> None:
    """Raise EggsError unless files hold every weight of the model that a configuration describes, in its shape."""
    model = skeleton(copy.deepcopy(config))
    matched(name, model, stored)
    check_buffers(model, name)


def outline(name: str) -> Outline:
    """A model's shapes without its weights and tokenizer, on the meta device; raises EggsError as `load` does."""
    name = name.strip()
    with explained(name):
        model = skeleton(open_model(name, weights=False).config)
    find_blocks(model)
    return Outline(name, model.eval())
