"""Saving pruned models: an ordinary Hugging Face folder with zeros, and one packed safetensors file."""

import copy
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import GenerationConfig, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.pytorch_utils import Conv1D

from eggs_core.errors import EggsError
from eggs_core.kernels import layout
from eggs_core.packed import PackedLinear, join_siblings, pack_layer, set_submodule
from eggs_core.pattern import NMPattern
from eggs_core.skeleton import compute_buffers, skeleton

FORMAT, VERSION = "eggs-packed-nm", "1"
FILE = "model.eggs.safetensors"  # the packed file's name inside a folder
_PARTS = ("values", "positions", "permutation", "bias")


def save_hf(model: PreTrainedModel, tokenizer: object | None, folder: str | Path) -> Path:
    """Write an ordinary Hugging Face folder: dense safetensors with zeros, config and tokenizer; returns the folder.

    Takes dense and packed models, and models loaded from GGUF. Raises EggsError when the folder cannot be written.
    """
    folder = Path(folder)
    state = dict(model.state_dict())
    for name, layer in packed_layers(model):
        for part in _PARTS:
            state.pop(f"{name}.{part}", None)
        dense = layer.to_dense()
        state[f"{name}.weight"] = dense.t().contiguous() if layer.conv1d else dense
        if layer.bias is not None:
            state[f"{name}.bias"] = layer.bias
    clean = skeleton(_plain_config(model), type(model))
    clean.load_state_dict(state, assign=True)
    clean.tie_weights()
    clean.generation_config = copy.deepcopy(model.generation_config)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        clean.save_pretrained(folder)
        if tokenizer is not None:
            tokenizer.save_pretrained(folder)
    except (OSError, SafetensorError) as error:
        raise EggsError(f"The model could not be saved in {folder}: {_reason(error)}.") from error
    return folder


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
    file = path if path.suffix == ".safetensors" else path / FILE
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
        for part in _PARTS:
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
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(dir=file.parent, prefix=".packed-", suffix=".safetensors")
        os.close(handle)
        try:
            save_file(tensors, part, metadata=metadata)
            os.chmod(part, 0o644)
            os.replace(part, file)
        finally:
            Path(part).unlink(missing_ok=True)
        if tokenizer is not None:
            tokenizer.save_pretrained(file.parent)
    except (OSError, SafetensorError) as error:
        raise EggsError(f"The packed model could not be saved as {file}: {_reason(error)}.") from error
    return file


def load_packed(path: str | Path) -> PreTrainedModel:
    """Open a packed file, or the folder that holds one, as a model that generates; the dense weights never exist.

    The tensors stay in the mapped file until they are used. Raises EggsError for a file that is no packed model, is
    damaged or does not fit its own configuration.
    """
    path = Path(path)
    file = path / FILE if path.is_dir() else path
    try:
        with safe_open(file, framework="pt") as opened:
            metadata = opened.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise EggsError(f"{file.name} is no packed N:M model; it was not written by this app's packed export.")
            if metadata.get("format_version") != VERSION:
                raise EggsError(
                    f"{file.name} has packed format {metadata.get('format_version')!r}; this version reads {VERSION}."
                )
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - not a dict
    except FileNotFoundError as error:
        raise EggsError(f"There is no packed model file {file}.") from error
    except (OSError, SafetensorError, ValueError, RuntimeError, TypeError) as error:
        raise EggsError(f"{file.name} is damaged or no safetensors file: {_reason(error)}.") from error
    model, described = _model_of(metadata, len(tensors), file.name)
    for name, spec in described.items():
        set_submodule(model, name, _layer_of(model, name, spec, tensors, file.name))
    _fill(model, tensors, file.name)
    for name, layer in packed_layers(model):
        _check_contents(name, layer)
    join_siblings(model)
    try:
        model.generation_config = GenerationConfig.from_dict(json.loads(metadata["generation_config"]))
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise EggsError(f"{file.name} is damaged: its generation settings cannot be read.") from error
    return model.eval()


def packed_info(path: str | Path) -> dict[str, object]:
    """What a packed file says of itself, without its tensors: {"layers": {name: …}, "info": …, "bytes": on disk}."""
    file = Path(path) / FILE if Path(path).is_dir() else Path(path)
    try:
        with safe_open(file, framework="pt") as opened:
            metadata = opened.metadata() or {}
        if metadata.get("format") != FORMAT:
            raise EggsError(f"{file.name} is no packed N:M model; it was not written by this app's packed export.")
        layers, info = json.loads(metadata["layers"]), json.loads(metadata["info"])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise EggsError(f"{file.name} is damaged or no packed model: {_reason(error)}.") from error
    return {"layers": layers, "info": info, "bytes": file.stat().st_size}


def packed_layers(model: nn.Module) -> Iterator[tuple[str, PackedLinear]]:
    """The packed layers of a model with their names."""
    return ((n, m) for n, m in model.named_modules() if isinstance(m, PackedLinear))


def _plain_config(model: PreTrainedModel):
    """The model's config without what a GGUF import left in it, which transformers would refuse to save."""
    config = copy.deepcopy(model.config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    config.architectures = [type(model).__name__]
    return config


def _model_of(metadata: dict[str, str], tensors: int, file: str) -> tuple[PreTrainedModel, dict[str, dict]]:
    """The file's model on the meta device and the description of its packed layers."""
    try:
        config, described = json.loads(metadata["config"]), json.loads(metadata["layers"])
        if not isinstance(config, dict) or not isinstance(described, dict):
            raise ValueError("its configuration is no JSON object")
        config.pop("auto_map", None)
        built = CONFIG_MAPPING[config.pop("model_type")].from_dict(config)
        if not 0 < int(getattr(built, "num_hidden_layers", 1)) <= tensors:
            raise ValueError(f"it claims {built.num_hidden_layers} layers and holds {tensors} tensors")
        return skeleton(built), described
    except Exception as error:  # a damaged configuration makes transformers raise nearly anything
        raise EggsError(f"{file} is damaged: its model cannot be built ({_reason(error)}).") from error


def _layer_of(model: nn.Module, name: str, spec: object, tensors: dict[str, Tensor], file: str) -> PackedLinear:
    """The packed layer that `spec` describes, on the meta device; raises EggsError unless it fits the model."""
    try:
        size = int(spec["in_features"]), int(spec["out_features"])
        pattern, conv1d = NMPattern.parse(spec["pattern"]), bool(spec["conv1d"])
        old = model.get_submodule(name)
        dtype = tensors[f"{name}.values"].dtype
    except (KeyError, TypeError, ValueError, AttributeError, EggsError) as error:
        raise EggsError(f"{file} is damaged: its description of layer {name} does not fit its model.") from error
    if not isinstance(old, nn.Linear | Conv1D) or size != (
        tuple(old.weight.shape) if isinstance(old, Conv1D) else tuple(old.weight.shape)[::-1]
    ):
        raise EggsError(
            f"{file} is damaged: its model has no linear layer {name} of {size[0]} inputs, {size[1]} outputs."
        )
    has_bias, has_order = f"{name}.bias" in tensors, f"{name}.permutation" in tensors
    return PackedLinear(
        *size, pattern, dtype, bias=has_bias, permutation=has_order, conv1d=conv1d, device="meta", name=name
    )


def _fill(model: PreTrainedModel, tensors: dict[str, Tensor], file: str) -> None:
    """Put the file's tensors into the model; what they leave out must be tied, or computed as by from_pretrained."""
    wanted = model.state_dict()
    for name, tensor in tensors.items():
        if name not in wanted:
            raise EggsError(f"{file} is damaged: its model has no place for tensor {name}.")
        if tensor.shape != wanted[name].shape:
            raise EggsError(
                f"{file} is damaged: tensor {name} has shape {tuple(tensor.shape)}, its model expects "
                f"{tuple(wanted[name].shape)}."
            )
        if tensor.is_floating_point() != wanted[name].is_floating_point() or (
            not tensor.is_floating_point() and tensor.dtype != wanted[name].dtype
        ):
            raise EggsError(f"{file} is damaged: tensor {name} is {tensor.dtype}, not {wanted[name].dtype}.")
    model.load_state_dict(tensors, strict=False, assign=True)
    model.tie_weights()
    if missing := [n for n, t in model.state_dict().items() if t.is_meta]:
        raise EggsError(f"{file} is damaged: tensor {missing[0]} is missing ({len(missing)} in all).")
    compute_buffers(model, file)
    for parameter in model.parameters():
        parameter.requires_grad_(False)


def _check_contents(name: str, layer: PackedLinear) -> None:
    """Raise EggsError for weights that are not finite and for positions or permutations that are none."""
    if not layout.all_finite(layer.values):
        raise EggsError(f"Layer {name} of the packed file has weights that are NaN or infinite.")
    if layer.permutation is not None:
        layout.check_permutation(layer.permutation, layer.in_features, name)
    layer.check_positions(name)


def _reason(error: BaseException) -> str:
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return words.strip().splitlines()[0][:200].rstrip(".")
