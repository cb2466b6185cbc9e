"""Saving pruned models: an ordinary Hugging Face folder with zeros, and one packed safetensors file."""

import copy
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel

from eggs_core.errors import EggsError
from eggs_core.files import filled, new_folder
from eggs_core.kernels import layout
from eggs_core.packed import pack_layer
from eggs_core.packed_file import (
    CHECKSUM,
    FILE,
    FORMAT,
    PARTS,
    VERSION,
    checksum,
    load_packed,
    packed_info,
    packed_layers,
)
from eggs_core.pattern import NMPattern
from eggs_core.skeleton import skeleton

__all__ = ["FILE", "load_packed", "packed_info", "packed_layers", "save_hf", "save_packed", "write_hf", "write_packed"]
_OS_ERROR = re.compile(r"\(os error (\d+)\)")


def save_hf(model: PreTrainedModel, tokenizer: object | None, folder: str | Path) -> Path:
    """Write an ordinary Hugging Face folder: dense safetensors with zeros, config and tokenizer; returns the folder.

    It appears whole or not at all; of a folder that is there already, other files stay. Takes dense and packed models,
    and models loaded from GGUF. Raises EggsError when the folder cannot be written.
    """
    folder = Path(folder)
    with filled(folder, "model*.safetensors*") if folder.exists() else new_folder(folder) as part:
        write_hf(model, tokenizer, part)
    return folder


def write_hf(model: PreTrainedModel, tokenizer: object | None, folder: Path) -> None:
    """As save_hf, file by file into a folder that nobody reads yet; raises OSError or SafetensorError."""
    state = dict(model.state_dict())
    for name, layer in packed_layers(model):
        for part in PARTS:
            state.pop(f"{name}.{part}", None)
        dense = layer.to_dense()
        state[f"{name}.weight"] = dense.t().contiguous() if layer.conv1d else dense
        if layer.bias is not None:
            state[f"{name}.bias"] = layer.bias
    clean = skeleton(_plain_config(model), type(model))
    clean.load_state_dict(state, assign=True)
    clean.tie_weights()
    clean.generation_config = copy.deepcopy(model.generation_config)
    clean.save_pretrained(folder)
    write_tokenizer(tokenizer, folder)


def write_tokenizer(tokenizer: object | None, folder: Path) -> None:
    """Write a tokenizer's files; raises OSError, also where the tokenizers library raises a bare Exception."""
    if tokenizer is None:
        return
    try:
        tokenizer.save_pretrained(folder)
    except OSError:
        raise
    except Exception as error:
        number = _OS_ERROR.search(str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1]))) from error


def save_packed(
    model: PreTrainedModel,
    path: str | Path,
    *,
    masks: Mapping[str, Tensor] | None = None,
    pattern: NMPattern | None = None,
    permutations: Mapping[str, Tensor] | None = None,
    tokenizer: object | None = None,
    info: Mapping[str, object] | None = None,
) -> Path:
    """Write the packed file (docs/packed-format.md) and return its path; it appears whole or not at all.

    `path` ends in .safetensors, or is a folder that also takes the tokenizer. The model is a packed one, or a dense one
    with `masks` {layer name: bool (out, in)} and `pattern`; it is left as it is. `info` holds plain values for people.
    Raises EggsError for masks that do not fit and when the file cannot be written.
    """
    path = Path(path)
    folder, name = (path.parent, path.name) if path.suffix == ".safetensors" else (path, FILE)
    tensors, metadata = _packed(model, masks, pattern, permutations, info)
    with filled(folder) if folder.exists() else new_folder(folder) as part:
        save_file(tensors, part / name, metadata=metadata)
        write_tokenizer(tokenizer, part)
    return folder / name


def write_packed(model: PreTrainedModel, tokenizer: object | None, folder: Path, info: Mapping[str, object]) -> None:
    """As save_packed, into a folder that nobody reads yet; raises OSError or SafetensorError."""
    tensors, metadata = _packed(model, None, None, None, info)
    save_file(tensors, folder / FILE, metadata=metadata)
    write_tokenizer(tokenizer, folder)


def _packed(
    model: PreTrainedModel,
    masks: Mapping[str, Tensor] | None,
    pattern: NMPattern | None,
    permutations: Mapping[str, Tensor] | None,
    info: Mapping[str, object] | None,
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """What a packed file holds: its tensors and its metadata."""
    layers = dict(packed_layers(model))
    if masks is not None:
        if pattern is None:
            raise EggsError("Saving a dense model as a packed file needs the N:M pattern beside its masks.")
        for name, mask in masks.items():
            layers[name] = pack_layer(model, name, mask, pattern, (permutations or {}).get(name))
    if not layers:
        raise EggsError("This model has no packed layers; give the masks and the pattern that it was pruned with.")
    tensors: dict[str, Tensor] = {}
    seen: dict[tuple, str] = {}
    for name, tensor in model.state_dict().items():
        if name.rpartition(".")[0] in layers:
            continue
        place = (tensor.data_ptr(), tensor.shape, tensor.stride())
        if tensor.numel() and seen.setdefault(place, name) != name:
            continue  # tied to a tensor that is stored already
        tensors[name] = tensor.detach().cpu().contiguous()
    for name, layer in layers.items():
        for part in PARTS:
            if getattr(layer, part) is not None:
                tensors[f"{name}.{part}"] = getattr(layer, part).detach().cpu().contiguous()
    described = {
        name: {
            "in_features": layer.in_features,
            "out_features": layer.out_features,
            "pattern": str(layer.pattern),
            "conv1d": layer.conv1d,
        }
        for name, layer in layers.items()
    }
    metadata = {
        "format": FORMAT,
        "format_version": VERSION,
        "config": json.dumps(_plain_config(model).to_dict(), default=str),
        "generation_config": json.dumps(model.generation_config.to_dict(), default=str),
        "layers": json.dumps(described),
        "info": json.dumps(dict(info or {})),
    }
    for name, tensor in tensors.items():
        if not layout.all_finite(tensor):
            raise EggsError(f"Tensor {name} has values that are NaN or infinite, so the model cannot be packed.")
    return tensors, metadata | {CHECKSUM: checksum(tensors, metadata)}


def _plain_config(model: PreTrainedModel):
    """The model's config without what a GGUF import left in it, which transformers would refuse to save."""
    config = copy.deepcopy(model.config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    config.architectures = [type(model).__name__]
    return config
