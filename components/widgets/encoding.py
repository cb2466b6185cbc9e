"""Masks and values on their way to a canvas, as base64."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import numpy as np

from eggs_core.heavy import torch
from eggs_core.masks.bits import pack_bits


def base64_bits(mask: torch.Tensor) -> str:
    """A bool mask (rows, columns) as base64 of its bits, row by row, each row padded to whole bytes."""
    return base64_values(pack_bits(mask))


def base64_values(values: torch.Tensor) -> str:
    """A tensor's bytes in base64, little-endian."""
    return base64.b64encode(values.contiguous().numpy().tobytes()).decode()


def base64_floats(values: Sequence[float]) -> str:
    """Numbers as fp32, little-endian, in base64."""
    return base64.b64encode(np.asarray(values, "<f4").tobytes()).decode()


def base64_bytes(values: Sequence[int]) -> str:
    """Whole numbers below 256, a byte each, in base64."""
    return base64.b64encode(bytes(values)).decode()


def base64_counts(values: Sequence[int]) -> str:
    """Whole numbers as int32, little-endian, in base64."""
    return base64.b64encode(np.asarray(values, "<i4").tobytes()).decode()
