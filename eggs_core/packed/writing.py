"""Writing a packed model: one safetensors file, and the folder that goes with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from eggs_core.errors import EggsError
from eggs_core.files import filled, new_folder
from eggs_core.models.folder import CONFIG, INDEX
from eggs_core.models.meta import plain_config
from eggs_core.models.quantised import KEY, method_of
from eggs_core.packed import layout
from eggs_core.packed.file import CHECKSUM, PARTS, checksum, packed_layers
from eggs_core.packed.grid import TABLE_BITS, Grid
from eggs_core.packed.hf_folder import write_tokenizer
from eggs_core.packed.linear import PackedLinear
from eggs_core.packed.model import pack_layer
from eggs_core.packed.names import FILE, FORMAT, METHOD, ROUNDED, TABLES, VERSION
from eggs_core.packed.tables import embedding_of, packed_tables
from eggs_core.pattern import Patterns, pattern_of
from eggs_core.reading import read_json

if TYPE_CHECKING:  # it takes transformers seconds to import its models
    from transformers import PreTrainedModel


def save_packed(
    model: PreTrainedModel,
    path: str | Path,
    *,
    masks: Mapping[str, Tensor] | None = None,
    pattern: Patterns | None = None,
    permutations: Mapping[str, Tensor] | None = None,
    grids: Mapping[str, Grid] | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    info: Mapping[str, object] | None = None,
) -> Path:
    """Write the packed file (docs/packed-format.md) and return its path; it appears whole or not at all.

    `path` ends in .safetensors, or is a folder that also takes the tokenizer and, unless another model's configuration
    lies there, what transformers opens it by. The model is a packed one, or a dense one with `masks` {layer name: bool
    (out, in)}, `pattern` and, where values are rounded, `grids`; it is left as it is. `info` holds plain values for
    people. Raises EggsError for masks that do not fit and when the file cannot be written.
    """
    path = Path(path)
    folder, name = (path.parent, path.name) if path.suffix == ".safetensors" else (path, FILE)
    tensors, metadata = _packed(model, masks, pattern, permutations, grids, info)
    alone = path == folder and not _holds_another(folder)
    with filled(folder) if folder.exists() else new_folder(folder) as part:
        save_file(tensors, part / name, metadata=metadata)
        write_tokenizer(tokenizer, part)
        if alone:
            _write_for_transformers(model, tensors, metadata["format_version"], part)
    return folder / name


def write_packed(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None, folder: Path, info: Mapping[str, object]
) -> None:
    """As save_packed, into a folder that nobody reads yet; raises OSError or SafetensorError."""
    tensors, metadata = _packed(model, None, None, None, None, info)
    save_file(tensors, folder / FILE, metadata=metadata)
    write_tokenizer(tokenizer, folder)
    _write_for_transformers(model, tensors, metadata["format_version"], folder)


def _write_for_transformers(model: PreTrainedModel, tensors: Mapping[str, Tensor], version: str, folder: Path) -> None:
    """Write the small files by which transformers opens a folder with a packed file: configuration and index."""
    config = plain_config(model)
    config.dtype = model.dtype
    setattr(config, KEY, {"quant_method": METHOD, "format_version": version})
    config.to_json_file(folder / CONFIG)
    (folder / "generation_config.json").write_text(model.generation_config.to_json_string(), encoding="utf-8")
    size = sum(tensor.nbytes for tensor in tensors.values())
    index = {"metadata": {"total_size": size}, "weight_map": dict.fromkeys(sorted(tensors), FILE)}
    (folder / INDEX).write_text(json.dumps(index, indent=1), encoding="utf-8")


def _holds_another(folder: Path) -> bool:
    """Does a folder hold the configuration of a model that is not packed?"""
    try:
        return method_of(read_json(folder / CONFIG)) != METHOD
    except FileNotFoundError:
        return False
    except (OSError, ValueError, AttributeError):  # a configuration that nobody can read is not ours
        return True


def _packed(
    model: PreTrainedModel,
    masks: Mapping[str, Tensor] | None,
    pattern: Patterns | None,
    permutations: Mapping[str, Tensor] | None,
    grids: Mapping[str, Grid] | None,
    info: Mapping[str, object] | None,
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """What a packed file holds: its tensors and its metadata."""
    layers = dict(packed_layers(model))
    places = {name for name, _ in packed_layers(model, tied=True)}
    state, embedding = dict(model.state_dict()), embedding_of(model)
    if masks is not None:
        if pattern is None:
            raise EggsError("Saving a dense model as a packed file needs the N:M pattern beside its masks.")
        for name, mask in masks.items():
            order, grid = (permutations or {}).get(name), (grids or {}).get(name)
            layers[name] = pack_layer(model, name, mask, pattern_of(pattern, name), order, grid)
        if found := packed_tables(model, grids):
            embedding = found.embedding_name, found.embedding
            layers[found.head_name] = found.head
            del state[f"{found.embedding_name}.weight"]
            state |= {f"{found.embedding_name}.{part}": t for part, t in found.embedding.named_buffers()}
    if not layers:
        raise EggsError("This model has no packed layers; give the masks and the pattern that it was pruned with.")
    held = {name: tensor for name, tensor in state.items() if name.rpartition(".")[0] not in places | layers.keys()}
    for name, layer in layers.items():
        held |= {f"{name}.{part}": getattr(layer, part) for part in PARTS if getattr(layer, part) is not None}
    tensors, tied = _stored_once(held)
    metadata = {
        "format": FORMAT,
        "format_version": TABLES if embedding else ROUNDED if any(x.bits for x in layers.values()) else VERSION,
        "config": plain_config(model).to_json_string(use_diff=False),
        "generation_config": json.dumps(model.generation_config.to_dict(), default=str),
        "layers": json.dumps({name: _described(layer) for name, layer in layers.items()}),
        "info": json.dumps(dict(info or {})),
    }
    if embedding is not None:
        dtype = str(embedding[1].dtype).removeprefix("torch.")
        metadata["embedding"] = json.dumps({"name": embedding[0], "bits": TABLE_BITS, "dtype": dtype})
    if tied:
        metadata["tied"] = json.dumps(tied)
    for name, tensor in tensors.items():
        if not layout.all_finite(tensor):
            raise EggsError(f"Tensor {name} has values that are NaN or infinite, so the model cannot be packed.")
    return tensors, metadata | {CHECKSUM: checksum(tensors, metadata)}


def _stored_once(held: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors by name, and the names of those that are others by a second name, with the first."""
    tensors: dict[str, Tensor] = {}
    seen: dict[tuple, str] = {}
    tied: dict[str, str] = {}
    for name, tensor in held.items():
        place = (tensor.data_ptr(), tensor.shape, tensor.stride())
        if tensor.numel() and seen.setdefault(place, name) != name:
            tied[name] = seen[place]
            continue
        tensors[name] = tensor.detach().cpu().contiguous()
    return tensors, tied


def _described(layer: PackedLinear) -> dict[str, object]:
    """What the file says of a packed layer."""
    rounded = {} if layer.bits is None else {"bits": layer.bits, "dtype": str(layer.dtype).removeprefix("torch.")}
    return {
        "in_features": layer.in_features,
        "out_features": layer.out_features,
        "pattern": str(layer.pattern),
        "conv1d": layer.conv1d,
        **rounded,
    }
