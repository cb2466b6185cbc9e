"""One call of the C kernel: the C structs of the layers that it multiplies, and siblings that share a call."""

import ctypes
import struct
import threading
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from eggs_core.errors import EggsError
from eggs_core.packed.grid import Grid, values_per_scale
from eggs_core.packed.kernel import library as kernels
from eggs_core.pattern import NMPattern

REQUEST = struct.Struct("PPPPqiii")  # eggs_request of nm.h: one argument, as each one costs a tenth of a microsecond


class Packed(Protocol):
    """What the kernel reads of a PackedLinear."""

    in_features: int
    out_features: int
    pattern: NMPattern
    kept: int
    dtype: torch.dtype
    values: Tensor
    positions: Tensor
    permutation: Tensor | None
    bias: Tensor | None
    scales: Tensor | None
    _buffers: dict[str, Tensor | None]  # where the five lie, quicker to read than by name

    @property
    def grid(self) -> Grid | None:
        """What values are rounded to."""

    def own_call(self) -> "Call":
        """The kernel call for this layer alone."""


class Call:
    """One kernel call for some layers that read the same input: their C structs, and the tensors these point into."""

    __slots__ = ("address", "dtype", "layers", "seen", "sizes", "structs", "total")

    def __init__(self, layers: Sequence[Packed]) -> None:
        self.layers, self.dtype = layers, layers[0].dtype
        self.seen = [(m._buffers, _tensors(m)) for m in layers]
        self.structs = (kernels.CLayer * len(layers))(*(struct_of(m) for m in layers))
        self.address = ctypes.addressof(self.structs)
        self.sizes = [m.out_features for m in layers]
        self.total = sum(self.sizes)

    def is_current(self) -> bool:
        """Do the structs still point at the layers' own tensors (nothing moved, converted or loaded since)?"""
        if self.layers[0].dtype is not self.dtype:
            return False
        for now, (values, positions, permutation, bias, scales) in self.seen:
            if (
                now["values"] is not values
                or now["positions"] is not positions
                or now["permutation"] is not permutation
                or now["bias"] is not bias
                or now["scales"] is not scales
            ):
                return False
        return True

    def run(self, found: kernels.Kernel, x: Tensor, tokens: int) -> Sequence[Tensor]:
        """x (…, in) → one (…, out) for each layer, by the kernel `found`."""
        if not x.is_contiguous():
            x = x.contiguous()
        lead = x.shape[:-1]
        y = x.new_empty(*lead, self.total)  # quicker than with a tuple
        pointers = self.address, x.data_ptr(), y.data_ptr(), found.parallel or 0
        threads, path = torch.get_num_threads(), kernels.path_number()
        if failed := found.linear(REQUEST.pack(*pointers, tokens, len(self.sizes), threads, path)):
            raise (
                MemoryError("the packed product found no memory for its scratch")
                if failed == 2
                else RuntimeError("the packed layers of one call do not fit together")
            )
        if len(self.sizes) == 1:
            return (y,)
        if tokens == 1:
            return torch.split_with_sizes(y, self.sizes, -1)
        parts = y.view(-1).split([tokens * n for n in self.sizes])  # each layer's (tokens, out) lies in one piece
        return [p.view(*lead, n) for p, n in zip(parts, self.sizes, strict=True)]


def _tensors(layer: Packed) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None, Tensor | None]:
    """The layer's tensors in the C struct's order."""
    return layer.values, layer.positions, layer.permutation, layer.bias, layer.scales


def struct_of(layer: Packed) -> kernels.CLayer:
    """The layer as the kernel reads it; its tensors must outlive this."""
    buffers = _tensors(layer)
    for tensor in buffers:
        if tensor is not None and not (tensor.is_cpu and tensor.is_contiguous()):
            raise EggsError(f"The packed layer's {tuple(tensor.shape)} tensor must be contiguous on the CPU.")
    grid, plain = layer.grid, kernels.DTYPES[layer.dtype]
    return kernels.CLayer(
        *(None if t is None else t.data_ptr() for t in buffers),
        layer.out_features,
        layer.in_features,
        layer.kept,
        layer.positions.shape[1],
        values_per_scale(layer.pattern),
        layer.pattern.keep,
        layer.pattern.group,
        layer.pattern.position_bits,
        kernels.DTYPES[layer.values.dtype] if layer.scales is None or grid is None else kernels.ROUNDED[grid.bits],
        plain,
        plain,
    )


class Siblings:
    """Projections that receive the same tensor one after the other: the first call computes all, the rest collect.

    Results wait in a thread-local store, tied to the input tensor and its version. So threads never mix, and a changed
    input is computed anew. The group dissolves once its siblings receive different inputs.
    """

    def __init__(self, layers: Sequence[Packed]) -> None:
        self.layers = layers
        self._reset()

    def _reset(self) -> None:
        self.index = {id(m): i for i, m in enumerate(self.layers)}
        self.call: Call | None = None
        self.local = threading.local()
        self.wasted = 0

    def __getstate__(self) -> dict[str, Any]:
        return {"layers": self.layers}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.layers = state["layers"]
        self.call, self.local, self.wasted, self.index = None, threading.local(), 0, {}

    def waiting(self, layer: Packed, x: Tensor) -> Tensor | None:
        """The layer's product with x, if a sibling has just computed it from this very tensor as it is now."""
        store = self.local.__dict__
        if store.get("x") is not x or store["version"] != x._version:
            return None
        outputs, i = store["outputs"], self.index[id(layer)]
        y, outputs[i] = outputs[i], None
        if y is not None:
            store["left"] -= 1
            if not store["left"]:
                store.clear()
        return y

    def run(self, layer: Packed, found: kernels.Kernel, x: Tensor, tokens: int) -> Tensor:
        """The layer's product with x, and meanwhile those of its siblings, which wait for them to ask."""
        if not self.index:
            self._reset()
        store = self.local.__dict__
        if store:
            self.wasted = self.wasted + 1 if store["left"] == len(self.layers) - 1 else 0
            store.clear()
        if self.wasted > 3 or x.is_inference():  # inference tensors have no version that would tell of a change
            return layer.own_call().run(found, x, tokens)[0]
        call = self.call
        if call is None or not call.is_current():
            call = self.call = Call(self.layers)
        products, i = call.run(found, x, tokens), self.index[id(layer)]
        outputs: list[Tensor | None] = [*products]
        outputs[i] = None
        store.update(x=x, version=x._version, outputs=outputs, left=len(outputs) - 1)
        return products[i]
