"""Checkpoints that store quantised weights: which of them transformers opens dequantised, and how."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from eggs_core.errors import EggsError
from eggs_core.heavy import torch

if TYPE_CHECKING:  # it takes transformers seconds to import its models
    from transformers import PreTrainedConfig, PreTrainedModel

KEY = "quantization_config"  # where a configuration says that weights are quantised
# The methods that need no other package, and how many values a stored byte may hold.
VALUES_PER_BYTE = {"fp8": 1, "mxfp8": 1, "mxfp4": 2}
KINDS = ("F8_E4M3", "F8_E5M2", "F8_E8M0", "U8", "I8", "F4")  # of their tensors, as safetensors names them
SCALES = ("weight_scale_inv", "scale", "qscale_weight")  # what fp8 checkpoints call a weight's scales
MOST_SHOWN = 40


def method_of(saved: Mapping[str, Any]) -> str | None:
    """The method that a configuration, as its file says, is quantised by; None for an ordinary one."""
    text = saved.get("text_config")
    for part in (saved, text if isinstance(text, dict) else {}):
        if found := part.get(KEY) or part.get("compression_config"):
            method = found.get("quant_method") if isinstance(found, dict) else found
            return " ".join(str(method).split())[:MOST_SHOWN]
    return None


def check_method(name: str, method: str) -> None:
    """Raise EggsError for quantised weights that cannot be dequantised here."""
    if method not in VALUES_PER_BYTE:
        raise EggsError(
            f"The weights of {name} are quantised ({method}); only {', '.join(VALUES_PER_BYTE)} are dequantised here, "
            f"so take the model that they were made from, in bf16 or fp16."
        )


def is_quantised(config: PreTrainedConfig) -> bool:
    """Does a configuration say that the weights are quantised?"""
    return bool(getattr(config, KEY, None))


def conversions(model: PreTrainedModel) -> list[Any]:
    """How transformers makes a model's tensors of stored ones, quantised ones among them."""
    from transformers.conversion_mapping import get_model_conversion_mapping  # seconds, which only opening needs
    from transformers.quantizers.auto import AutoHfQuantizer

    said = getattr(model.config, KEY, None)
    if not said:
        return get_model_conversion_mapping(model)
    said = {**(said if isinstance(said, dict) else said.to_dict()), "dequantize": True}
    return get_model_conversion_mapping(model, hf_quantizer=AutoHfQuantizer.from_config(said, pre_quantized=True))


def block_size(config: PreTrainedConfig) -> tuple[int, int] | None:
    """Rows and columns of a weight that share a scale; None where a configuration does not say."""
    said = getattr(config, KEY, None) or {}
    said = said if isinstance(said, dict) else said.to_dict()
    found = said.get("weight_block_size")
    fits = isinstance(found, list | tuple) and len(found) == 2 and all(type(n) is int and n > 0 for n in found)
    return (found[0], found[1]) if fits and found else None


def spread(scales: torch.Tensor, shape: tuple[int, ...], block: tuple[int, int] | None) -> torch.Tensor:
    """Scales (…, rows, columns) of a weight's blocks, one for each row or column where blocks do not divide these.

    transformers takes all blocks for equally large, though the last ones of a checkpoint are cut off. Raises ValueError
    for scales that are not as many as a weight of this shape has blocks.
    """
    if block is None or scales.dim() < 2:
        return scales
    for axis, size in ((-2, block[0]), (-1, block[1])):
        length, count = shape[axis], scales.shape[axis]
        if count in (1, length) or (count * size == length):
            continue
        if count != -(-length // size):
            raise ValueError(f"it has {count} scales for {length} values in blocks of {size}")
        scales = scales.repeat_interleave(size, axis).narrow(axis, 0, length)
    return scales


def is_scale(key: str) -> bool:
    """Is a stored tensor of that name the scales of an fp8 weight?"""
    return key.rpartition(".")[2] in SCALES
