"""Loading causal language models: bundled, a local folder, a GGUF file, or the Hugging Face Hub."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedConfig, PreTrainedTokenizerBase

from eggs_core.device import best_device, check_room
from eggs_core.errors import EggsError
from eggs_core.models.architectures import context_length, find_blocks
from eggs_core.models.experts import open_experts
from eggs_core.models.fingerprints import WeightFiles, first_values, of_files, of_tensors, sampled
from eggs_core.models.meta import check_buffers, skeleton
from eggs_core.models.opening_errors import explained
from eggs_core.models.source import open_model
from eggs_core.models.stored_tensors import Stored, check_complete, headers, matched
from eggs_core.text.windows import check_tokens

if TYPE_CHECKING:  # it takes transformers seconds to import its models
    from transformers import PreTrainedModel


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
        if self.files and self.files.paths[0].suffix == ".safetensors":
            folder = self.files.folder
            found.append(first_values(folder, matched(self.name, self.model, headers(self.name, folder))[0]))
        return found

    def copied_to(self, device: torch.device) -> LoadedModel:
        """A copy on another device, known by the same fingerprint."""
        copied = LoadedModel(self.name, moved(copy.deepcopy(self.model), device), self.tokenizer)
        copied.fingerprint = self.fingerprint
        return copied


def moved(model: PreTrainedModel, to: torch.device | torch.dtype) -> PreTrainedModel:
    """The model moved to another device or dtype; `to` of a model takes more than transformers declares."""
    return cast("PreTrainedModel", cast(nn.Module, model).to(to))


def check_window(name: str, config: PreTrainedConfig, length: int) -> None:
    """Raise EggsError if a model of this configuration cannot read windows of `length` tokens."""
    limit = context_length(config)
    if limit is not None and length > limit:
        raise EggsError(f"{name} reads at most {limit} tokens at once; choose windows of at most {limit}.")


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
        if opened.stored:
            if device_map is None:
                check_room(_bytes_loaded(opened.config, opened.stored, dtype), device, f"The model {Path(name).name}")
            check_fits(name, opened.config, opened.stored)
        tokenizer = AutoTokenizer.from_pretrained(opened.source, **opened.options)
        from_pretrained: Callable[..., Any] = AutoModelForCausalLM.from_pretrained  # a pair, with its loading info
        model, loading = from_pretrained(
            opened.source,
            dtype=dtype or "auto",
            use_safetensors=True,
            device_map=device_map,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            config=opened.config,
            **opened.options,
        )
    open_experts(model)
    find_blocks(model)  # an unsupported architecture is refused here, before any work
    lost = {key for key, *_ in loading["mismatched_keys"]} | set(loading["missing_keys"])
    check_complete(name, [key for key in model.state_dict() if key in lost])
    model = model.eval()
    return LoadedModel(name, model if device_map else moved(model, device), tokenizer, files)


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
