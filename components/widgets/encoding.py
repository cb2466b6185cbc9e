"""Masks and values on their way to a canvas, as base64."""

import base64

import torch

from eggs_core.masks.bits import pack_bits


def base64_bits(mask: torch.Tensor) -> str:
    """A bool mask (rows, columns) as base64 of its bits, row by row, each row padded to whole bytes."""
    return base64_values(pack_bits(mask))


def base64_values(values: torch.Tensor) -> str:
    """A tensor's bytes in base64, little-endian."""
    return base64.b64encode(values.contiguous().numpy().tobytes()).decode()
