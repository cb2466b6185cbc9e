"""Models on the meta device, where tensors have shapes but no memory, until somebody gives them their values."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from eggs_core.errors import EggsError
from eggs_core.heavy import torch, transformers
from eggs_core.models.building import building
from eggs_core.models.experts import open_experts

if TYPE_CHECKING:  # it takes transformers seconds to import its models
    from transformers import PreTrainedConfig, PreTrainedModel

FLAG = "_is_hf_initialized"  # with which transformers marks what needs no values any more
MOST_BUFFER_VALUES = 1 << 26  # that a configuration may ask for in all


def skeleton(config: object, kind: type | None = None, dtype: torch.dtype | None = None) -> PreTrainedModel:
    """A model of this config, or of this class, on the meta device, its weights tied as the config says."""
    options = {} if dtype is None else {"dtype": dtype}
    with building(), torch.device("meta"):
        if kind is not None:
            return open_experts(kind(config))
        return open_experts(transformers.AutoModelForCausalLM.from_config(config, trust_remote_code=False, **options))


def plain_config(model: PreTrainedModel) -> PreTrainedConfig:
    """The model's config without what opening left in it: a path of this machine, and what transformers won't save."""
    config = copy.deepcopy(model.config)
    config.name_or_path = ""
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    config.architectures = [type(model).__name__]
    return config


def save_plain(model: PreTrainedModel, state: Mapping[str, torch.Tensor], folder: Path) -> None:
    """Save these tensors as a model of the same kind; a new one, as transformers saves none that came from GGUF."""
    clean = skeleton(plain_config(model), type(model))
    clean.load_state_dict(state, assign=True)
    clean.tie_weights()
    clean.generation_config = copy.deepcopy(model.generation_config)
    clean.save_pretrained(folder)


def check_buffers(model: PreTrainedModel, name: str) -> None:
    """Raise EggsError, naming `name`, for a configuration whose computed buffers would be unreasonably large."""
    if sum(math.prod(b.shape) for _, b in model.named_non_persistent_buffers()) > MOST_BUFFER_VALUES:
        raise EggsError(f"{name} is damaged: its configuration asks for unreasonably large buffers.")


def compute_buffers(model: PreTrainedModel, name: str, device: torch.device | str = "cpu") -> None:
    """Give values to the buffers that no file holds, such as rotary frequencies, as from_pretrained does.

    Raises EggsError, naming `name`, for a configuration that asks for unreasonably large ones.
    """
    check_buffers(model, name)
    for held in (*model.parameters(), *model.buffers()):
        setattr(held, FLAG, True)  # what files hold stays as it is
    for buffer_name, buffer in list(model.named_non_persistent_buffers()):
        parent, _, child = buffer_name.rpartition(".")
        owner = model.get_submodule(parent)
        owner.register_buffer(child, torch.zeros_like(buffer, device=device), persistent=False)
    settle_released(model)
    with building():
        model.initialize_weights()  # what from_pretrained calls for buffers that no file holds


def settle_released(model: PreTrainedModel) -> None:
    """Mark modules that gave up a tensor, as experts that are packed share none any more: they need no values."""
    for module in model.modules():
        setattr(module, FLAG, any(held is None and name != "bias" for name, held in module._parameters.items()))


def put(model: PreTrainedModel, name: str, tensor: torch.Tensor) -> None:
    """Let `tensor` be the model's parameter or buffer `name`; it wants no gradient."""
    parent, _, child = name.rpartition(".")
    owner = model.get_submodule(parent)
    if child in owner._parameters:
        owner._parameters[child] = torch.nn.Parameter(tensor, requires_grad=False)
    else:
        owner._buffers[child] = tensor
