"""PackedLinear: a linear layer that stores and multiplies only the kept weights of an N:M mask."""

import threading
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from eggs_core.errors import EggsError
from eggs_core.packed import layout
from eggs_core.packed.accelerator import dense_path
from eggs_core.packed.kernel import library as kernels
from eggs_core.packed.kernel.call import Call, Siblings
from eggs_core.packed.kernel.library import kernel_path
from eggs_core.pattern import NMPattern

TILE = 1 << 20  # dense weights unpacked at a time for many tokens: 4 MB in fp32, which stays in cache
_scratch = threading.local()


class PackedLinear(nn.Module):
    """A linear layer that stores only the kept weights of an N:M mask; for inference, exact to the bit of its values.

    Buffers: values (out, in·N/M) in the layer's dtype; positions (out, words) int32; permutation (in,) int32 or None;
    bias (out,) or None. `conv1d` remembers that the layer stood for a transformers Conv1D. On an accelerator the first
    product builds the dense weight there, and what is packed waits in host memory.
    """

    values: Tensor
    positions: Tensor
    permutation: Tensor | None
    bias: Tensor | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        pattern: NMPattern,
        dtype: torch.dtype = torch.float32,
        *,
        bias: bool = False,
        permutation: bool = False,
        conv1d: bool = False,
        device: torch.device | str | None = None,
        name: str = "given",
    ) -> None:
        super().__init__()
        pattern.check(name, (out_features, in_features))
        pattern.check_packs()
        if dtype not in kernels.DTYPES:
            raise EggsError(f"Layer {name} can be packed in float32, bfloat16 or float16, not in {dtype}.")
        self.in_features, self.out_features, self.pattern, self.conv1d = in_features, out_features, pattern, conv1d
        kept = pattern.groups(in_features) * pattern.keep
        words = layout.words_per_row(kept, pattern.position_bits)
        self.register_buffer("values", torch.empty(out_features, kept, dtype=dtype, device=device))
        self.register_buffer("positions", torch.empty(out_features, words, dtype=torch.int32, device=device))
        order = torch.empty(in_features, dtype=torch.int32, device=device) if permutation else None
        self.register_buffer("permutation", order)
        self.register_buffer("bias", torch.empty(out_features, dtype=dtype, device=device) if bias else None)
        self._call: Call | None = None
        self._siblings: Siblings | None = None
        self._unpacked: tuple[Tensor, Tensor] | None = None  # the values that it was built from, the weight
        self._home: torch.device | None = None  # the accelerator whose memory holds the unpacked weight instead

    @classmethod
    def from_dense(
        cls,
        weight: Tensor,
        mask: Tensor,
        pattern: NMPattern,
        bias: Tensor | None = None,
        permutation: Tensor | None = None,
        *,
        conv1d: bool = False,
        name: str = "given",
    ) -> "PackedLinear":
        """Pack `weight` (out, in) under bool `mask` (out, in), True = kept, both in original column order.

        `permutation` (in,): the original column at each packed position; the pattern's groups run along it. `name`
        goes into error messages. Raises EggsError for a mask that breaks N:M, shapes that do not fit or NaN weights.
        """
        if weight.ndim != 2:
            raise EggsError(f"Layer {name} needs a weight (out_features, in_features); got {tuple(weight.shape)}.")
        out_features, in_features = weight.shape
        if permutation is not None:
            permutation = layout.check_permutation(permutation, in_features, name)
        if bias is not None and bias.shape != (out_features,):
            raise EggsError(f"Layer {name} needs a bias of {out_features} numbers; got shape {tuple(bias.shape)}.")
        layer = cls(in_features, out_features, pattern, weight.dtype, conv1d=conv1d, device="meta", name=name)
        layer.values, layer.positions = layout.pack(weight.detach(), mask, pattern, permutation, name)
        layer.permutation = None if permutation is None else permutation.to(weight.device)
        layer.bias = None if bias is None else bias.detach().to(weight.dtype).clone()
        return layer

    def to_dense(self) -> Tensor:
        """The weight with its zeros, (out, in) in original column order."""
        packed = self._rows(0, self.out_features).to(self._device)
        if self.permutation is None:
            return packed
        dense = torch.empty_like(packed)
        dense[:, self.permutation.long()] = packed
        return dense

    @property
    def weight(self) -> Tensor:
        """The weight with its zeros, unpacked anew, for code that reads it by itself."""
        return self.to_dense()

    @property
    def nbytes(self) -> int:
        """Bytes that the layer holds: values, positions, permutation and bias."""
        return sum(b.nbytes for b in self.buffers())

    def check_positions(self, name: str) -> None:
        """Raise EggsError, naming the layer, unless its positions are those of an N:M mask."""
        found = kernels.kernel() if self._device.type == "cpu" else None
        if found is not None and found.lib.eggs_bad_row(self.own_call().structs) < 0:
            return
        layout.check_positions(self.positions, self.values.shape[1], self.pattern, name)

    @property
    def path(self) -> str:
        """What multiplies this layer where it is: a CPU path of the kernel, or an accelerator's."""
        if self._device.type != "cpu":
            return dense_path(self._device, self.pattern)
        found = kernels.kernel()
        if found is None:
            return kernel_path()
        return kernels.PATHS[found.lib.eggs_layer_path(self.own_call().structs, kernels.path_number())]

    def extra_repr(self) -> str:
        """What print(model) shows of the layer."""
        return f"in_features={self.in_features}, out_features={self.out_features}, pattern={self.pattern}"

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_call": None, "_unpacked": None}  # they hold addresses of this very object's memory

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "PackedLinear":
        """Change device or dtype of all tensors together: what waits in host memory goes along."""
        if self._home is not None:
            self.values, self.positions = self.values.to(self._home), self.positions.to(self._home)
        self._home = self._unpacked = None
        return super()._apply(fn, recurse)

    @property
    def _device(self) -> torch.device:
        return self._home or self.values.device

    def forward(self, x: Tensor) -> Tensor:
        """x (…, in) in the layer's dtype → (…, out)."""
        siblings = self._siblings
        if siblings is not None and (y := siblings.waiting(self, x)) is not None:
            return y
        values = self._buffers["values"]
        if (
            values is None
            or x.shape[-1] != self.in_features
            or x.dtype is not values.dtype
            or not (x.is_cpu and values.is_cpu)
            or self._home is not None
        ):
            return self._dense_product(x)
        if x.requires_grad and torch.is_grad_enabled():
            return linear(x, self.to_dense(), self.bias)
        tokens = x.numel() // self.in_features
        found = kernels.kernel()
        if found is None:  # torch's product with the zeros, which is as fast as the dense layer was
            return self._dense_product(x)
        if tokens > kernels.max_tokens():
            return self._unpacked_gemm(x)
        if siblings is not None:
            return siblings.run(self, found, x, tokens)
        return self.own_call().run(found, x, tokens)[0]

    def own_call(self) -> Call:
        """The kernel call for this layer alone, renewed when its tensors have changed."""
        call = self._call
        if call is None or not call.is_current():
            call = self._call = Call([self])
        return call

    def _rows(self, start: int, stop: int, into: Tensor | None = None) -> Tensor:
        """Rows start … stop−1 with their zeros in packed column order, (rows, in), in `into` when it is given."""
        found = kernels.kernel() if self._device.type == "cpu" else None
        if found is None:
            rows = layout.dense_rows(self.values[start:stop], self.positions[start:stop], self.pattern)
            return rows if into is None else into.copy_(rows)
        if into is None:
            into = torch.empty(stop - start, self.in_features, dtype=self.values.dtype)
        call = self.own_call()
        threads, path = torch.get_num_threads(), kernels.path_number()
        found.lib.eggs_unpack(call.structs, into.data_ptr(), start, stop, threads, path, found.parallel)
        return into

    def _unpacked_gemm(self, x: Tensor) -> Tensor:
        """Many tokens: unpack rows into a scratch that stays in cache, tile by tile, for torch's GEMM."""
        flat = x.reshape(-1, self.in_features)
        if self.permutation is not None:
            flat = flat.index_select(1, self.permutation)
        step = min(self.out_features, max(16, TILE // self.in_features))
        tile = _tile(step, self.in_features, x.dtype)
        if step == self.out_features:
            y = torch.mm(flat, self._rows(0, step, tile).t())
        else:
            y = torch.empty(flat.shape[0], self.out_features, dtype=x.dtype)
            for start in range(0, self.out_features, step):
                stop = min(start + step, self.out_features)
                torch.mm(flat, self._rows(start, stop, tile[: stop - start]).t(), out=y[:, start:stop])
        if self.bias is not None:
            y += self.bias
        return y.view(*x.shape[:-1], self.out_features)

    def _dense_product(self, x: Tensor) -> Tensor:
        """Torch's own product with a weight that is built once per device: on accelerators, and without a kernel."""
        if x.shape[-1] != self.in_features or x.dtype is not self.values.dtype or x.device != self._device:
            raise EggsError(
                f"A packed layer of {self.in_features} inputs in {self.values.dtype} on {self._device} got an input of "
                f"shape {tuple(x.shape)} in {x.dtype} on {x.device}."
            )
        if self.permutation is not None:
            x = x.index_select(-1, self.permutation)
        return linear(x, self._dense_weight(), self.bias)

    def _dense_weight(self) -> Tensor:
        """The weight with zeros in packed column order, built once per device; an accelerator then holds it alone."""
        held = self._unpacked
        if held is None or held[0] is not self.values:
            weight = self._rows(0, self.out_features).to(self._device)
            if not self.values.is_cpu:
                home = self.values.device
                self.values, self.positions = self.values.cpu(), self.positions.cpu()
                self._home = home
            held = self._unpacked = (self.values, weight)
        return held[1]


def _tile(rows: int, columns: int, dtype: torch.dtype) -> Tensor:
    """This thread's scratch as (rows, columns) of dtype; layers of one shape share the view as well."""
    views = getattr(_scratch, "views", None)
    if views is None or rows * columns * dtype.itemsize > _scratch.memory.numel():
        _scratch.memory = torch.empty(max(rows * columns * dtype.itemsize, 4 * TILE), dtype=torch.uint8)
        views = _scratch.views = {}
    key = (rows, columns, dtype)
    if key not in views:
        views[key] = _scratch.memory.view(dtype)[: rows * columns].view(rows, columns)
    return views[key]
