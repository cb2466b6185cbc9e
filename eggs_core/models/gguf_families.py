"""Architectures that llama.cpp knows too: what its GGUF files say of them, and how it keeps their tensors."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from eggs_core.errors import EggsError
from eggs_core.heavy import torch

if TYPE_CHECKING:  # it takes transformers seconds to import its models
    from gguf import GGUFWriter
    from transformers import PreTrainedConfig

TANH = ("gelu_pytorch_tanh", "gelu_new")  # two names of one function
TRANSPOSED = ("c_attn.weight", "c_proj.weight", "c_fc.weight")  # weights of a Conv1D


@dataclass(frozen=True, slots=True)
class Family:
    """How llama.cpp has one of transformers' kinds of model.

    Of `rotated` ones it turns neighbouring dimensions by RoPE, so q and k are reordered; of `raised` ones norms are
    stored with the one that the model adds. Every `full`-th block looks further back than its window. Blocks of
    `large` models are so many, and their attention is scaled by another width.
    """

    name: str
    activations: tuple[str, ...] = ("silu",)
    rotated: bool = False
    raised: bool = False
    biases: tuple[str, ...] = ()  # how names of modules that may have one end
    full: int = 1
    large: int = 0


QKV = ("q_proj", "k_proj", "v_proj")
LLAMA = Family("llama", rotated=True, biases=(*QKV, "o_proj", "gate_proj", "up_proj", "down_proj"))
FAMILIES = {
    "llama": LLAMA,
    "mistral": LLAMA,
    "qwen2": Family("qwen2", biases=QKV),
    "qwen3": Family("qwen3"),
    "gemma": Family("gemma", TANH, raised=True),
    "gemma2": Family("gemma2", TANH, raised=True, full=2, large=46),
    "gemma3_text": Family("gemma3", TANH, raised=True, full=6, large=62),
    "gpt2": Family("gpt2", TANH, biases=("c_attn", "c_proj", "c_fc", "ln_1", "ln_2", "ln_f")),
}


def family_of(config: PreTrainedConfig) -> Family:
    """How llama.cpp has a model of this configuration; raises EggsError, with the reason, for one that it has not."""
    kind = str(config.model_type)
    family = FAMILIES.get(kind)
    if family is None:
        raise EggsError(
            f"There is no GGUF export of {kind[:40]!r} models, only of {', '.join(FAMILIES)}; use hf instead."
        )
    if reason := next(_differences(family, config), None):
        raise EggsError(f"llama.cpp computes {kind} models otherwise than this one: {reason}; use hf instead.")
    return family


def _differences(family: Family, config: PreTrainedConfig) -> Iterator[str]:
    """What llama.cpp does not do as a model of this configuration does."""
    for name in ("hidden_activation", "hidden_act", "activation_function"):
        if (act := getattr(config, name, None)) is not None and act not in family.activations:
            yield f"its activation is {act}"
    if family.name == "gpt2":
        if config.scale_attn_by_inverse_layer_idx or not config.scale_attn_weights or config.add_cross_attention:
            yield "its attention is scaled otherwise"
        return
    rope = rope_of(config)
    known = {"default", "linear"} | ({"llama3"} if family is LLAMA else set())
    if rope.get("rope_type", "default") not in known or rope.get("partial_rotary_factor", 1.0) != 1.0:
        yield f"its RoPE is {rope.get('rope_type')}"
    kinds = getattr(config, "layer_types", None) or ["full_attention"] * config.num_hidden_layers
    if [kind == "full_attention" for kind in kinds] != [i % family.full == 0 for i in range(1, len(kinds) + 1)]:
        yield "other blocks of it have a window"
    size, layers = head_size(config), config.num_hidden_layers
    scaled = config.hidden_size // config.num_attention_heads if layers == family.large else size
    if getattr(config, "query_pre_attn_scalar", scaled) != scaled:
        yield "its attention is scaled otherwise"
    if family.name == "gemma3" and getattr(config, "attn_logit_softcapping", None):
        yield "its attention is capped"


def head_size(config: PreTrainedConfig) -> int:
    """Dimensions of an attention head."""
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def rope_of(config: PreTrainedConfig, kind: str = "full_attention") -> dict[str, Any]:
    """What a configuration says of RoPE, in blocks of that kind."""
    found = getattr(config, "rope_parameters", None) or {}
    return found.get(kind, found)


def add_keys(writer: GGUFWriter, family: Family, config: PreTrainedConfig) -> None:
    """Write the numbers by which llama.cpp builds the model."""
    size, heads = head_size(config), config.num_attention_heads
    context: int = config.max_position_embeddings
    window: int = getattr(config, "sliding_window", None) or context
    writer.add_context_length(context if family.full > 1 else min(context, window))
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(heads)
    writer.add_vocab_size(config.vocab_size)
    if family.name == "gpt2":
        writer.add_feed_forward_length(config.n_inner or 4 * config.hidden_size)
        writer.add_layer_norm_eps(config.layer_norm_epsilon)
        return
    rope, own = rope_of(config), rope_of(config, "sliding_attention")
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count_kv(getattr(config, "num_key_value_heads", None) or heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_key_length(size)
    writer.add_value_length(size)
    writer.add_rope_dimension_count(size)
    writer.add_rope_freq_base(rope["rope_theta"])
    if rope.get("rope_type") == "linear":
        from gguf import RopeScalingType

        writer.add_rope_scaling_type(RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])
    if family.full > 1:
        writer.add_sliding_window(window)
        writer.add_rope_freq_base_swa(own["rope_theta"])
    if family.name in ("gemma2", "gemma3") and (cap := config.final_logit_softcapping):
        writer.add_final_logit_softcapping(cap)
    if family.name == "gemma2":
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)


def as_stored(family: Family, config: PreTrainedConfig, name: str, tensor: torch.Tensor) -> torch.Tensor:
    """A tensor of the model, by transformers' name, as llama.cpp keeps it."""
    module, _, part = name.rpartition(".")
    if family.raised and name.endswith("norm.weight"):
        return tensor.float() + 1
    if family.name == "gpt2" and name.endswith(TRANSPOSED):
        return tensor.t()
    if family.rotated and module.endswith(("q_proj", "k_proj")):
        halves = tensor.reshape(-1, 2, head_size(config) // 2, *tensor.shape[1:])
        return halves.transpose(1, 2).reshape(tensor.shape)
    if part == "bias" and not module.endswith(family.biases or "-"):
        raise EggsError(f"llama.cpp has no place for {name} in {family.name} models; use hf instead.")
    return tensor


def rope_factors(config: PreTrainedConfig) -> torch.Tensor | None:
    """What Llama 3 divides each of its rotary frequencies by, (head size / 2,) fp32; None for other models.

    As in transformers' modeling_rope_utils: low frequencies by the factor, high ones not, smoothly in between.
    """
    rope = rope_of(config)
    if rope.get("rope_type") != "llama3":
        return None
    size = head_size(config)
    wavelengths = 2 * math.pi * rope["rope_theta"] ** (torch.arange(0, size, 2, dtype=torch.float64) / size)
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    smooth = (rope["original_max_position_embeddings"] / wavelengths - low) / (high - low)
    smooth = smooth.clamp(0, 1)
    return (1 / ((1 - smooth) / rope["factor"] + smooth)).float()
