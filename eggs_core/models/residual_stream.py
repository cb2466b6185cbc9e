"""The residual stream of a model: what writes and reads it, and how an orthogonal matrix on it folds into the weights.

A norm without a gain commutes with a rotation of its input. So a gain goes into the layers that read the norm, and a
head that is tied to the embeddings is untied (Ashkboos et al. 2024, arXiv 2401.15024 and 2404.00456). A LayerNorm
subtracts the mean, which stays what it is if the rotation maps the vector of ones onto itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from eggs_core.errors import EggsError
from eggs_core.heavy import nn, no_grad, torch
from eggs_core.models.architectures import LinearLayer, find_blocks, is_linear
from eggs_core.models.experts import is_expert

if TYPE_CHECKING:  # it takes transformers seconds to import its models
    from transformers import PreTrainedModel


class CannotRotate(EggsError):
    """A model that no rotation folds into; the message is the end of a sentence, why not."""


@dataclass(frozen=True, slots=True)
class Family:
    """Names of what touches the stream: embeddings and the last norm in the model, the others in each block.

    `reads` are the layers after each norm, of which a block may lack some. `values` names the layer that computes the
    values and the one that reads them after attention.
    """

    embeddings: tuple[str, ...]
    norm: str
    reads: Mapping[str, tuple[str, ...]]
    writes: tuple[str, ...]
    values: tuple[str, str] | None = None


_LLAMA = Family(
    ("model.embed_tokens",),
    "model.norm",
    {
        "input_layernorm": tuple(f"self_attn.{name}_proj" for name in ("q", "k", "v", "qkv")),
        "post_attention_layernorm": tuple(f"mlp.{name}_proj" for name in ("gate", "up", "gate_up")),
    },
    ("self_attn.o_proj", "mlp.down_proj"),
    ("self_attn.v_proj", "self_attn.o_proj"),
)
_OPT = Family(
    ("model.decoder.embed_tokens", "model.decoder.embed_positions"),
    "model.decoder.final_layer_norm",
    {"self_attn_layer_norm": tuple(f"self_attn.{name}_proj" for name in "qkv"), "final_layer_norm": ("fc1",)},
    ("self_attn.out_proj", "fc2"),
    ("self_attn.v_proj", "self_attn.out_proj"),
)
_GPT2 = Family(
    ("transformer.wte", "transformer.wpe"),
    "transformer.ln_f",
    {"ln_1": ("attn.c_attn",), "ln_2": ("mlp.c_fc",)},
    ("attn.c_proj", "mlp.c_proj"),
)
# config.model_type -> its names. Norms between a layer and the stream, as in Gemma 2, leave no place for their gain.
FAMILIES: dict[str, Family] = {
    "gemma": _LLAMA,
    "gpt2": _GPT2,
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "opt": _OPT,
    "phi3": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
}


@dataclass(frozen=True, slots=True)
class Values:
    """One block's values and the layer that reads them: `heads` of `width` values each, each `shared` times."""

    computes: LinearLayer
    reads: LinearLayer
    heads: int
    width: int
    shared: int

    def rotate(self, rotations: torch.Tensor) -> None:
        """Fold a rotation of each head, (heads, width, width), into both layers, in place."""
        rotations = _like(rotations, self.computes.module.weight)
        self.computes.set_weight(self.computed(_exact(self.computes.weight()), rotations))
        self.reads.set_weight(self.read(_exact(self.reads.weight()), rotations))
        if (bias := getattr(self.computes.module, "bias", None)) is not None:
            bias.copy_(self.computed(_exact(bias)[:, None], rotations)[:, 0])

    def computed(self, weight: torch.Tensor, rotations: torch.Tensor) -> torch.Tensor:
        """The weight that computes the rotated values, (heads × columns of the rotations, in)."""
        by_head = weight.view(self.heads, self.width, -1)
        return (rotations.mT @ by_head).flatten(0, 1)

    def read(self, weight: torch.Tensor, rotations: torch.Tensor) -> torch.Tensor:
        """The weight that reads the rotated values, like `weight`, (out, heads × shared × width)."""
        by_head = weight.view(-1, self.heads, self.shared, self.width)
        return torch.einsum("ohsi,hij->ohsj", by_head, rotations).flatten(1)


@dataclass(frozen=True, slots=True)
class BlockStream:
    """One block's layers that read the stream, norm by norm, those that write to it, and its values if they rotate."""

    reads: tuple[tuple[nn.Module, tuple[LinearLayer, ...]], ...]
    writes: tuple[LinearLayer, ...]
    values: Values | None


@dataclass(frozen=True, slots=True)
class Stream:
    """A model's residual stream of `width` channels; `centred` if its norms subtract the mean."""

    model: PreTrainedModel
    width: int
    centred: bool
    embeddings: tuple[nn.Module, ...]
    norm: nn.Module
    blocks: tuple[BlockStream, ...]

    @classmethod
    def of(cls, model: PreTrainedModel) -> Stream:
        """A model's, as its architecture names it; raises CannotRotate for one that is not known or built otherwise."""
        kind = model.config.model_type
        if kind not in FAMILIES:
            raise CannotRotate(f"the architecture {kind!r} is none of those that a rotation folds into")
        family = FAMILIES[kind]
        try:
            embeddings = tuple(model.get_submodule(name) for name in family.embeddings)
            norm, (path, modules) = model.get_submodule(family.norm), find_blocks(model)
            blocks = tuple(_block(model, family, path, number, block) for number, block in enumerate(modules))
        except AttributeError as error:
            raise CannotRotate(f"the model is not built as others of the architecture {kind!r} are ({error})") from None
        width = _weight(embeddings[0]).shape[1]
        norms = [norm, *(one for block in blocks for one, _ in block.reads)]
        if any(getattr(getattr(one, "weight", None), "shape", None) != (width,) for one in norms):
            raise CannotRotate("one of its norms has no gain as wide as the residual stream")
        return cls(model, width, isinstance(norm, nn.LayerNorm), embeddings, norm, blocks)

    @property
    def head(self) -> LinearLayer:
        """The LM head."""
        return LinearLayer("lm_head", len(self.blocks), "lm_head", cast(nn.Linear, self.model.get_output_embeddings()))

    @property
    def norms(self) -> list[tuple[nn.Module, tuple[LinearLayer, ...]]]:
        """Every norm that reads the stream, with the layers after it."""
        return [*(pair for block in self.blocks for pair in block.reads), (self.norm, (self.head,))]

    @no_grad
    def fold_norms(self) -> None:
        """Untie the head and move every norm's gain into the layers after it, in place; the model computes the same.

        Raises CannotRotate, with the model half changed, for a gain that cannot be moved.
        """
        self.model.config.tie_word_embeddings = False
        head = cast(nn.Linear, self.head.module)
        head.weight = nn.Parameter(head.weight.detach().clone(), requires_grad=head.weight.requires_grad)
        for norm, layers in self.norms:
            _fold(norm, layers)

    @no_grad
    def rotate(self, residual: torch.Tensor, values: torch.Tensor | None = None) -> None:
        """Fold rotations into a model without gains, in place; it computes the same.

        residual: (width, width) orthogonal; the stream x becomes x R. values: (blocks, heads, width, width), or None.
        """
        for embedding in self.embeddings:
            weight = _weight(embedding)
            weight.copy_(_exact(weight) @ _like(residual, weight))
        for number, block in enumerate(self.blocks):
            if values is not None and block.values is not None:
                block.values.rotate(values[number])
            for layer in block.writes:
                layer.set_weight(_like(residual, layer.module.weight).T @ _exact(layer.weight()))
                _rotate_bias(layer.module, residual)
        for norm, layers in self.norms:
            for layer in layers:
                layer.set_weight(_exact(layer.weight()) @ _like(residual, layer.module.weight))
            _rotate_bias(norm, residual)


def _block(model: PreTrainedModel, family: Family, path: str, number: int, block: nn.Module) -> BlockStream:
    """One block's part of the stream; raises AttributeError for what it lacks, CannotRotate for experts."""
    if any(is_expert(module) for module in block.modules()):
        raise CannotRotate("it has experts")

    def layer(name: str) -> LinearLayer:
        module = block.get_submodule(name)
        if not is_linear(module):
            raise AttributeError(f"{name} is no linear layer")
        return LinearLayer(f"{path}.{number}.{name}", number, name, module)

    present = {name for name, module in block.named_modules() if is_linear(module)}
    reads = tuple(
        (block.get_submodule(norm), tuple(layer(name) for name in names if name in present))
        for norm, names in family.reads.items()
    )
    writes = tuple(layer(name) for name in family.writes)
    known = {one.projection for one in writes} | {one.projection for _, layers in reads for one in layers}
    if others := sorted(present - known):
        raise CannotRotate(f"{others[0]} of its blocks may touch the residual stream too")
    return BlockStream(reads, writes, _values(model, family, layer, present))


def _values(
    model: PreTrainedModel, family: Family, layer: Callable[[str], LinearLayer], present: set[str]
) -> Values | None:
    """A block's values; None where they are computed in one layer with other things."""
    if family.values is None or not present.issuperset(family.values):
        return None
    computes, reads = map(layer, family.values)
    width, rest = divmod(reads.shape[1], model.config.num_attention_heads)
    heads, other = divmod(computes.shape[0], width)
    if rest or other or model.config.num_attention_heads % heads:
        return None
    return Values(computes, reads, heads, width, model.config.num_attention_heads // heads)


def _fold(norm: nn.Module, layers: tuple[LinearLayer, ...]) -> None:
    """A norm's gain goes into the layers after it; so does its bias where they all have one, else it stays before."""
    bias, offset = getattr(norm, "bias", None), 0 if isinstance(norm, nn.LayerNorm) else _offset(norm)
    gain = _exact(_weight(norm)) + offset
    biases = [one for layer in layers if (one := getattr(layer.module, "bias", None)) is not None]
    if bias is not None:
        if len(biases) == len(layers):
            for layer, one in zip(layers, biases, strict=True):
                one.copy_(_exact(one) + _exact(layer.weight()) @ _exact(bias))
            bias.zero_()
        elif not gain.all():
            raise CannotRotate("one of its norms has a gain of zero")
        else:
            bias.copy_(_exact(bias) / gain)
    for layer in layers:
        layer.set_weight(_exact(layer.weight()) * gain)
    _weight(norm).copy_(torch.ones_like(gain) - offset)


def _offset(norm: nn.Module) -> int:
    """What a norm adds to its weight before it multiplies: 1 in Gemma's; a constant input comes out as the gain."""
    weight = _weight(norm)
    return round((norm(torch.full_like(weight, 1000.0)) - weight).mean().item())


def _weight(module: nn.Module) -> torch.Tensor:
    return cast(torch.Tensor, module.weight).detach()  # the same numbers in memory


def _rotate_bias(module: nn.Module, residual: torch.Tensor) -> None:
    if (bias := getattr(module, "bias", None)) is not None:
        bias.copy_(_exact(bias) @ _like(residual, bias))


def _exact(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().to(_precise(tensor))


def _like(rotation: torch.Tensor, tensor: torch.Tensor) -> torch.Tensor:
    return rotation.to(tensor.device, _precise(tensor))


def _precise(tensor: torch.Tensor) -> torch.dtype:
    return torch.float32 if tensor.device.type == "mps" else torch.float64  # which MPS does not have
