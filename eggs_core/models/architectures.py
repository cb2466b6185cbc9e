"""Where a model keeps its decoder blocks and their linear layers: one table row per architecture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from typing_extensions import TypeIs

from eggs_core.errors import EggsError
from eggs_core.heavy import nn, no_grad, torch, transformers
from eggs_core.models.experts import experts_in, is_expert

if TYPE_CHECKING:  # it takes transformers seconds to import its models
    from transformers import PreTrainedConfig, PreTrainedModel
    from transformers.pytorch_utils import Conv1D

    from eggs_core.models.expert_linear import ExpertLinear

    Linear = nn.Linear | Conv1D | ExpertLinear  # the kinds of linear layers

# config.model_type -> path of the ModuleList of decoder blocks.
BLOCK_PATHS: dict[str, str] = {
    "bloom": "transformer.h",
    "falcon": "transformer.h",
    "gemma": "model.layers",
    "gemma2": "model.layers",
    "gemma3_text": "model.layers",
    "gpt2": "transformer.h",
    "gpt_neox": "gpt_neox.layers",
    "llama": "model.layers",
    "mistral": "model.layers",
    "opt": "model.decoder.layers",
    "phi3": "model.layers",
    "qwen2": "model.layers",
    "qwen3": "model.layers",
}
NO_TEXT = ("vision", "visual", "image", "audio")  # in the names of what a model has beside its text part
PLAIN_KINDS = ("FalconLinear",)  # that multiply in their own words


def is_linear(module: nn.Module) -> TypeIs[Linear]:
    """Is the module one of the kinds of linear layers?"""
    return isinstance(module, nn.Linear | transformers.pytorch_utils.Conv1D) or is_expert(module)


def is_transposed(module: nn.Module) -> bool:
    """Is the module's weight (in_features, out_features), as GPT-2's Conv1D keeps it?"""
    return isinstance(module, transformers.pytorch_utils.Conv1D)


def shape_of(module: Linear) -> tuple[int, int]:
    """(out_features, in_features) of a linear layer."""
    rows, columns = module.weight.shape
    return (columns, rows) if is_transposed(module) else (rows, columns)


def context_length(config: PreTrainedConfig) -> int | None:
    """The most tokens that a model of this configuration reads at once; None for one without a limit."""
    found = getattr(config, "max_position_embeddings", None)
    return found if isinstance(found, int) and found > 0 else None


def check_window(name: str, config: PreTrainedConfig, length: int) -> None:
    """Raise EggsError if a model of this configuration cannot read windows of `length` tokens."""
    limit = context_length(config)
    if limit is not None and length > limit:
        raise EggsError(f"{name} reads at most {limit} tokens at once; choose windows of at most {limit}.")


@dataclass(frozen=True, slots=True)
class LinearLayer:
    """One prunable layer: its full name, its block's number, its name in the block, and the module."""

    name: str
    block: int
    projection: str
    module: Linear

    @property
    def shape(self) -> tuple[int, int]:
        """(out_features, in_features), also for GPT-2's transposed Conv1D."""
        return shape_of(self.module)

    @property
    def mixture(self) -> str | None:
        """What the layers of one mixture's experts share: the names of the mixture and of their tensor; else None."""
        if not is_expert(self.module):
            return None
        experts, _, tensor = self.projection.rpartition(".")
        return f"{experts.rpartition('.')[0]}.{tensor}"

    def weight(self) -> torch.Tensor:
        """The weight as a detached fp32 copy, (out_features, in_features)."""
        weight = self.module.weight.detach()
        return (weight.T if is_transposed(self.module) else weight).to(torch.float32, copy=True)

    @no_grad
    def set_weight(self, weight: torch.Tensor) -> None:
        """Write an (out_features, in_features) weight back in the model's own dtype and layout."""
        self.module.weight.copy_(weight.T if is_transposed(self.module) else weight)

    @no_grad
    def apply_mask(self, mask: torch.Tensor) -> None:
        """Set to zero in place what a mask, bool (out_features, in_features), prunes."""
        weight = self.module.weight
        weight.mul_((mask.T if is_transposed(self.module) else mask).to(weight.device))


def tables(model: PreTrainedModel) -> tuple[nn.Embedding, nn.Linear] | None:
    """A model's embedding and LM head, which may share a weight; None unless both do no more than their names say."""
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    return (embedding, head) if type(embedding) is nn.Embedding and type(head) is nn.Linear else None


def vocabulary_of(model: PreTrainedModel) -> int:
    """How many tokens a model's LM head tells apart."""
    head = model.get_output_embeddings()
    return head.out_features if hasattr(head, "out_features") else head.weight.shape[0]


def find_blocks(model: PreTrainedModel) -> tuple[str, nn.ModuleList]:
    """The path and the list of a causal LM's decoder blocks.

    An architecture outside the table has them in the list of modules with the most weights. Raises EggsError, which
    names the architecture, where there is no list, and for experts in a tensor that `open_experts` does not know.
    """
    kind = model.config.model_type
    if kind in BLOCK_PATHS:
        path = BLOCK_PATHS[kind]
        blocks = cast(nn.ModuleList, model.get_submodule(path))
    else:
        path, blocks = _largest_list(model)
    opened = {id(layer.shared) for layer in blocks.modules() if is_expert(layer)}
    for name, tensor in blocks.named_parameters():
        if tensor.dim() == 3 and "expert" in name and not name.endswith("_bias") and id(tensor) not in opened:
            raise EggsError(
                f"The architecture {kind!r} keeps its experts in one tensor, {name}, which cannot be pruned here."
            )
    return path, blocks


def _largest_list(model: PreTrainedModel) -> tuple[str, nn.ModuleList]:
    """Of all lists of modules, none inside another and none for pictures or sound, that with the most weights."""
    found: list[tuple[str, nn.ModuleList]] = []
    for name, module in model.named_modules():
        fits = isinstance(module, nn.ModuleList) and not any(part in name for part in NO_TEXT)
        if fits and not any(name.startswith(other + ".") for other, _ in found) and _linear_weights(module):
            found.append((name, cast(nn.ModuleList, module)))
    if not found:
        raise EggsError(
            f"The architecture {model.config.model_type!r} is not supported: its decoder blocks were not found; "
            f"supported are {', '.join(sorted(BLOCK_PATHS))} and models built the same way."
        )
    return max(found, key=lambda item: _linear_weights(item[1]))


def _linear_weights(module: nn.Module) -> int:
    return sum(m.weight.numel() for m in module.modules() if is_linear(m))


def block_layers(path: str, number: int, block: nn.Module) -> list[LinearLayer]:
    """The linear layers of one decoder block that can be pruned, in the order in which the block defines them."""
    return [layer for layer, why in _layers_of(path, number, block, set()) if not why]


def _layers_of(path: str, number: int, block: nn.Module, seen: set[int]) -> Iterator[tuple[LinearLayer, str]]:
    """Every linear layer of a block, and why it cannot be pruned, "" if it can.

    Layers whose weights, by their identities, were `seen` in a block before are left out; what is found is added.
    """
    routers = set(_routers(block))
    for name, module in block.named_modules():
        if not is_linear(module):
            continue
        if isinstance(weight := module.weight, nn.Parameter):  # an expert's is a view, made anew each time
            if id(weight) in seen:
                continue
            seen.add(id(weight))
        why = "it chooses or weighs experts" if module in routers else _unlike_a_layer(module)
        yield LinearLayer(f"{path}.{number}.{name}", number, name, module), why


def _unlike_a_layer(module: Linear) -> str:
    """Why a module is no matrix of numbers that its input is multiplied by; "" for one that is."""
    weight = module.weight
    if not weight.is_floating_point() or weight.dim() != 2 or weight.dtype.itemsize < 2:
        return "its weight is stored in a quantised form"
    plain = (nn.Linear.forward, transformers.pytorch_utils.Conv1D.forward)
    if not (is_expert(module) or type(module).forward in plain or type(module).__name__ in PLAIN_KINDS):
        return f"{type(module).__name__} computes more than a product"
    return ""


def _routers(block: nn.Module) -> Iterator[nn.Module]:
    """What chooses the experts of a mixture, or weighs one that all tokens take: a row for each expert, or just one."""
    yield from (module for name, module in block.named_modules() if "router" in name)
    for parent in block.modules():
        for child in parent.children():
            if (known := experts_in(child)) is None:
                continue
            for module in parent.modules():
                if isinstance(module, nn.Linear) and shape_of(module)[0] in (1, known):
                    yield module


def all_layers(model: PreTrainedModel) -> Iterator[tuple[LinearLayer, str]]:
    """Every linear layer of the decoder blocks, and why it cannot be pruned, "" if it can."""
    path, blocks = find_blocks(model)
    seen: set[int] = set()
    for number, block in enumerate(blocks):
        yield from _layers_of(path, number, block, seen)


def linear_layers(model: PreTrainedModel) -> Iterator[LinearLayer]:
    """Every layer that pruning touches; embeddings, norms, routers and the LM head are left alone."""
    return (layer for layer, why in all_layers(model) if not why)


def block_matrices(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """The decoder blocks' tensors of two or more dimensions by name, those that several blocks share only once."""
    path, blocks = find_blocks(model)
    return {f"{path}.{name}": p for name, p in blocks.named_parameters() if p.dim() > 1}
