"""The native token step: one call of C a token, for Llama-like models; others go through transformers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from eggs_core.errors import EggsError
from eggs_core.packed.kernel import library as kernels
from eggs_core.speed.native_model import Structs, why_not

if TYPE_CHECKING:  # it takes transformers seconds to import its models
    from transformers import PreTrainedModel

ROOM = 256  # tokens that a new cache has room for beyond the prompt
BLOCK = 16  # EGGS_BLOCK of step.h: tokens whose keys lie side by side
NATIVE = "native step"


def decode_path(model: PreTrainedModel) -> str:
    """What computes this model's tokens after the first: "native step", or transformers and the reason."""
    reason = why_not(model)
    return f"transformers ({reason})" if reason else NATIVE


def blocks(length: int) -> int:
    """Blocks of keys that a text of `length` tokens takes."""
    return -(-length // BLOCK)


def side_by_side(keys: Tensor, length: int) -> Tensor:
    """A text's last keys (heads, tokens, dim) as C reads them: (heads, blocks, dim, BLOCK), zeros before them.

    `length` is that of the text, which may be longer than what a sliding window has left of it.
    """
    heads, seen, dim = keys.shape
    whole = torch.nn.functional.pad(keys, (0, 0, length - seen, blocks(length) * BLOCK - length))
    return whole.view(heads, -1, BLOCK, dim).transpose(2, 3)


def _rooms(layers: int, heads: int, dim: int, length: int) -> tuple[Tensor, Tensor]:
    """Empty keys (layers, heads, blocks, dim, BLOCK) and values (layers, heads, tokens, dim), fp32."""
    count = blocks(length)
    return torch.empty(layers, heads, count, dim, BLOCK), torch.empty(layers, heads, count * BLOCK, dim)


class NativeStep:
    """One text's way through a covered model: its cache, its place, and the logits of its last token.

    It holds the model's weights, and belongs to one caller at a time; two of them share nothing but the weights.
    Activations and cache are fp32, whatever the weights are.
    """

    def __init__(self, model: PreTrainedModel, cache: Any, length: int) -> None:
        """Goes on where transformers' `cache` has read `length` tokens; `why_not(model)` must be ""."""
        windows = [layer.sliding_window if layer.is_sliding else 0 for layer in cache.layers]
        self._structs = Structs(model, windows)
        found = self._structs.model
        self.length = length
        self.logits = torch.empty(1, found.head.out, dtype=torch.float32)
        self._keys, self._values = _rooms(len(windows), found.kv_heads, found.dim, length + ROOM)
        whole = all(layer.keys.shape[-2] == length for layer in cache.layers)
        self._earliest = 0 if whole else length  # place in the text that it can go back to
        for number, layer in enumerate(cache.layers):
            seen = layer.keys.shape[-2]  # a window's cache has lost what lies before it
            self._values[number, :, length - seen : length] = layer.values[0]
            self._keys[number, :, : blocks(length)] = side_by_side(layer.keys[0], length)
        self._path = kernels.path_number()
        self._point()

    def remembers(self, length: int) -> bool:
        """Is all that the next token needs still here if the text ends after its first `length` tokens?"""
        return self._earliest <= length <= self.length

    def fill(self, cache: Any, length: int, dtype: torch.dtype) -> None:
        """Give an empty cache of transformers the first `length` tokens, which it must remember."""
        for number, (keys, values) in enumerate(zip(self._keys, self._values, strict=True)):
            one_by_one = keys[:, : blocks(length)].transpose(2, 3).flatten(1, 2)
            cache.update(*(kept[None, :, :length].to(dtype) for kept in (one_by_one, values)), number)

    def _point(self) -> None:
        kernel, found = self._kernel(), self._structs
        found.point(self._keys, self._values, self.logits)
        self._room = torch.empty(kernel.lib.eggs_step_room(found.address(), self._path), dtype=torch.uint8)
        found.model.room = self._room.data_ptr()

    def _kernel(self) -> kernels.Kernel:
        kernel = kernels.kernel()
        if kernel is None:
            raise EggsError(f"The native step needs the C kernel; it runs on {kernels.kernel_path()}.")
        return kernel

    def __call__(self, token: int) -> int:
        """Read one token more; returns the likeliest next one, and `logits` (1, vocabulary), fp32, say the rest."""
        kernel = self._kernel()
        if self.length == self._values.shape[2]:
            layers, heads, _, dim = self._values.shape
            keys, values = _rooms(layers, heads, dim, 2 * self.length)
            keys[:, :, : self._keys.shape[2]], values[:, :, : self.length] = self._keys, self._values
            self._keys, self._values = keys, values
            self._point()
        found = self._structs.address()
        best: int = kernel.lib.eggs_step(
            found, token, self.length, torch.get_num_threads(), self._path, kernel.parallel
        )
        if best < 0:
            raise EggsError(f"The model has no token {token}; choose one of its {self.logits.shape[1]} tokens.")
        self.length += 1
        return best
