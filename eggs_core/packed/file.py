"""The packed file: opening it as a model, with every part checked before anything computes with it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NotRequired

import torch
import transformers
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers import GenerationConfig, PreTrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING
from typing_extensions import TypedDict

from eggs_core.errors import EggsError
from eggs_core.models.architectures import is_linear, is_transposed, shape_of
from eggs_core.models.meta import compute_buffers, skeleton
from eggs_core.packed import layout
from eggs_core.packed.kernel.library import DTYPES
from eggs_core.packed.kernel.library import ROUNDED as KERNEL_BITS
from eggs_core.packed.linear import PackedLinear
from eggs_core.packed.model import join_siblings, put_packed
from eggs_core.packed.names import FILE, FORMAT, VERSIONS
from eggs_core.packed.tables import DTYPE_BY_NAME, embedding_of, put_embedding
from eggs_core.pattern import NMPattern
from eggs_core.reading import parse_json
from eggs_core.validation import Natural, check

if TYPE_CHECKING:  # it takes transformers seconds to import its models
    from transformers import PreTrainedModel

CHECKSUM = "sha256"  # the metadata that holds the file's checksum; files written before it have none
PARTS = ("values", "positions", "permutation", "bias", "scales")
JsonObject = dict[str, Any]


class LayerSpec(TypedDict):
    """What the file says of one packed layer."""

    in_features: Natural
    out_features: Natural
    pattern: str
    conv1d: bool
    bits: NotRequired[int]  # of rounded values, and
    dtype: NotRequired[str]  # what is computed in


def load_packed(path: str | Path) -> PreTrainedModel:
    """Open a packed file, or the folder that holds one, as a model that generates; the dense weights never exist.

    The tensors stay in the mapped file until they are used. Raises EggsError for a file that is no packed model, is
    damaged or does not fit its own configuration.
    """
    file = opened(Path(path))
    model = _model_of(file)
    put_layers(model, file)
    fill(model, file)
    _compute_buffers(model, file)
    try:
        model.generation_config = GenerationConfig.from_dict(_object(file.metadata, "generation_config"))
    except Exception as error:  # for settings of a wrong kind transformers raises nearly anything
        raise EggsError(f"{file.name} is damaged: its generation settings cannot be read.") from error
    if CHECKSUM not in file.metadata:
        _try(model, file.name)
    return model.eval()


@dataclass(frozen=True, slots=True)
class PackedFile:
    """What a packed file holds; a tensor that the model has under several names stands under each."""

    name: str
    metadata: dict[str, str]
    tensors: dict[str, Tensor]


def opened(path: Path) -> PackedFile:
    """A packed file, or that of a folder; its tensors are finite and, where it has a checksum, as they were saved.

    They stay in the mapped file until they are used. Raises EggsError for a file that is none.
    """
    try:
        file = path / FILE if path.is_dir() else path
        with safe_open(file, framework="pt") as held:
            metadata = held.metadata() or {}
            _check_format(metadata, file.name)
            tensors = {name: held.get_tensor(name) for name in held.keys()}  # noqa: SIM118 - not a dict
    except FileNotFoundError as error:
        raise EggsError(f"There is no packed model file {path if path.suffix else path / FILE}.") from error
    except (OSError, SafetensorError, ValueError, RuntimeError, TypeError) as error:
        raise EggsError(f"{path.name[:200]} is damaged or no safetensors file: {_reason(error)}.") from error
    for name, tensor in tensors.items():
        if not layout.all_finite(tensor):
            raise EggsError(f"Tensor {name} of {file.name} has values that are NaN or infinite; save the model again.")
    if CHECKSUM in metadata and metadata[CHECKSUM] != checksum(tensors, metadata):
        raise EggsError(f"{file.name} is damaged: its contents do not match their checksum; copy or export it again.")
    return PackedFile(file.name, metadata, tensors | _tied(metadata, tensors, file.name))


def checksum(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """SHA-256, as hex, over a packed file's metadata and over the name, dtype, shape and bytes of each tensor."""

    def of(item: tuple[str, Tensor]) -> bytes:
        name, tensor = item
        digest = hashlib.sha256(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
        return digest.digest()

    words = sorted((key, value) for key, value in metadata.items() if key != CHECKSUM)
    whole = hashlib.sha256(repr(words).encode())
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:  # hashlib lets other threads run
        for part_of_it in pool.map(of, sorted(tensors.items())):
            whole.update(part_of_it)
    return whole.hexdigest()


def packed_info(path: str | Path) -> dict[str, object]:
    """What a packed file says of itself, without its tensors: {"layers": {name: …}, "info": …, "bytes": on disk}."""
    path = Path(path)
    try:
        file = path / FILE if path.is_dir() else path
        with safe_open(file, framework="pt") as opened:
            metadata = opened.metadata() or {}
        _check_format(metadata, file.name)
        layers, info = _object(metadata, "layers"), _object(metadata, "info")
        return {"layers": layers, "info": info, "bytes": file.stat().st_size}
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise EggsError(f"{path.name[:200]} is damaged or no packed model: {_reason(error)}.") from error


def _object(metadata: Mapping[str, str], name: str) -> JsonObject:
    """The JSON object that one part of the metadata holds; raises KeyError or ValueError."""
    return check(parse_json(metadata[name]), JsonObject, name)


def _check_format(metadata: Mapping[str, str], file: str) -> None:
    if metadata.get("format") != FORMAT:
        raise EggsError(f"{file} is no packed N:M model; it was not written by this app's packed export.")
    if metadata.get("format_version") not in VERSIONS:
        version = str(metadata.get("format_version"))[:40]
        raise EggsError(f"{file} has packed format {version!r}; this version reads {', '.join(VERSIONS)}.")


def packed_layers(model: nn.Module, tied: bool = False) -> Iterator[tuple[str, PackedLinear]]:
    """The packed layers of a model with their names; one that stands in several places by its first, or by all."""
    found = model.named_modules(remove_duplicate=not tied)
    return ((name, module) for name, module in found if isinstance(module, PackedLinear))


def _model_of(file: PackedFile) -> PreTrainedModel:
    """The file's model on the meta device, its layers dense."""
    try:
        config = _object(file.metadata, "config")
        config.pop("auto_map", None)
        built = CONFIG_MAPPING[config.pop("model_type")].from_dict(_with_floats(config))
        if not 0 < int(getattr(built, "num_hidden_layers", 1)) <= len(file.tensors):
            raise ValueError(f"it claims {built.num_hidden_layers} layers and holds {len(file.tensors)} tensors")
        return skeleton(built, _class_of(built))
    except Exception as error:  # a damaged configuration makes transformers raise nearly anything
        raise EggsError(f"{file.name} is damaged: its model cannot be built ({_reason(error)}).") from error


def _class_of(config: PreTrainedConfig) -> type | None:
    """The class of a model whose configuration is that of a part of another one; None where transformers knows it."""
    if type(config) in MODEL_FOR_CAUSAL_LM_MAPPING:
        return None
    kind = getattr(transformers, (config.architectures or [""])[0], None)
    return kind if isinstance(kind, type) and issubclass(kind, transformers.PreTrainedModel) else None


def _with_floats(value: Any) -> Any:
    """A configuration's values with the numbers that transformers writes as {"__float__": "Infinity"}."""
    if isinstance(value, dict):
        return (
            float(value["__float__"])
            if value.keys() == {"__float__"}
            else {k: _with_floats(v) for k, v in value.items()}
        )
    return [_with_floats(one) for one in value] if isinstance(value, list) else value


def put_layers(model: nn.Module, file: PackedFile) -> None:
    """Put the file's packed layers, on the meta device, into its model; raises EggsError unless they fit."""
    try:
        described = _object(file.metadata, "layers")
    except (KeyError, ValueError) as error:
        raise EggsError(f"{file.name} is damaged: what it says of its layers cannot be read.") from error
    put_packed(model, {name: _layer_of(model, name, spec, file) for name, spec in described.items()})
    if "embedding" in file.metadata:
        put_embedding(model, file.metadata["embedding"], file.name)


def _layer_of(model: nn.Module, name: str, spec: object, file: PackedFile) -> PackedLinear:
    """The packed layer that `spec` describes, on the meta device; raises EggsError unless it fits the model."""
    try:
        known = check(spec, LayerSpec)
        size, pattern = (known["in_features"], known["out_features"]), NMPattern.parse(known["pattern"])
        conv1d = known["conv1d"]
        old = model.get_submodule(name)
        if conv1d != is_transposed(old):
            raise ValueError("a Conv1D is described as a Linear, or the other way round")
        bits, dtype = known.get("bits"), file.tensors[f"{name}.values"].dtype
        if bits is not None:
            if bits not in (16, *KERNEL_BITS):
                raise ValueError(f"values of {bits} bits")
            dtype = DTYPE_BY_NAME[known["dtype"]]
    except (KeyError, TypeError, ValueError, AttributeError, EggsError) as error:
        raise EggsError(f"{file.name} is damaged: its description of layer {name} does not fit its model.") from error
    if not is_linear(old) or size != shape_of(old)[::-1]:
        raise EggsError(
            f"{file.name} is damaged: its model has no linear layer {name} of {size[0]} inputs, {size[1]} outputs."
        )
    has_bias, has_order = f"{name}.bias" in file.tensors, f"{name}.permutation" in file.tensors
    return PackedLinear(
        *size, pattern, dtype, bias=has_bias, permutation=has_order, conv1d=conv1d, device="meta", name=name, bits=bits
    )


def _tied(metadata: dict[str, str], tensors: dict[str, Tensor], file: str) -> dict[str, Tensor]:
    """Tensors that are others by a second name; files written before had none of those names."""
    try:
        names = check(parse_json(metadata.get("tied", "{}")), dict[str, str], "tied")
        return {name: tensors[stored] for name, stored in names.items()}
    except (KeyError, ValueError, EggsError) as error:
        raise EggsError(f"{file} is damaged: what it says of tied tensors does not fit.") from error


def fill(model: PreTrainedModel, file: PackedFile) -> None:
    """Put the file's tensors into its model, which wants no gradient then; what they leave out must be tied.

    Raises EggsError for what does not fit, is missing or is damaged.
    """
    wanted, packed = model.state_dict(), dict(packed_layers(model))
    for name, tensor in file.tensors.items():
        if name not in wanted:
            raise EggsError(f"{file.name} is damaged: its model has no place for tensor {name}.")
        if tensor.shape != wanted[name].shape:
            raise EggsError(
                f"{file.name} is damaged: tensor {name} has shape {tuple(tensor.shape)}, its model expects "
                f"{tuple(wanted[name].shape)}."
            )
        own = name.rpartition(".")[0] in packed  # the kernel reads its bias as its values
        floats = tensor.dtype in DTYPES and wanted[name].is_floating_point() and not own
        if tensor.dtype != wanted[name].dtype and not floats:
            raise EggsError(f"{file.name} is damaged: tensor {name} is {tensor.dtype}, not {wanted[name].dtype}.")
    model.load_state_dict(file.tensors, strict=False, assign=True)
    model.tie_weights(recompute_mapping=embedding_of(model) is None)  # which would find what untie has dropped
    if missing := [n for n, t in model.state_dict().items() if t.is_meta]:
        raise EggsError(f"{file.name} is damaged: tensor {missing[0]} is missing ({len(missing)} in all).")
    for name, layer in packed.items():
        _check_contents(name, layer)
    join_siblings(model)
    for parameter in model.parameters():
        parameter.requires_grad_(False)


def _compute_buffers(model: PreTrainedModel, file: PackedFile) -> None:
    """Give values to buffers that no file holds, as from_pretrained does; raises EggsError for a damaged file."""
    try:
        compute_buffers(model, file.name)
    except EggsError:
        raise
    except Exception as error:  # a damaged configuration makes transformers raise nearly anything
        raise EggsError(f"{file.name} is damaged: its buffers cannot be computed ({_reason(error)}).") from error


def _check_contents(name: str, layer: PackedLinear) -> None:
    """Raise EggsError for positions or permutations that are none."""
    if layer.permutation is not None:
        layout.check_permutation(layer.permutation, layer.in_features, name)
    layer.check_positions(name)


@torch.no_grad()
def _try(model: PreTrainedModel, file: str) -> None:
    """Raise EggsError unless the model computes finite logits: a file without a checksum may be damaged anywhere."""
    try:
        finite = layout.all_finite(model.eval()(torch.zeros(1, 2, dtype=torch.int64)).logits)
    except Exception as error:  # whatever a damaged configuration leads to
        raise EggsError(f"{file} is damaged: its model does not compute ({_reason(error)}).") from error
    if not finite:
        raise EggsError(f"{file} is damaged: its model's output holds NaN or infinite values.")


def _reason(error: BaseException) -> str:
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return (words.strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")
