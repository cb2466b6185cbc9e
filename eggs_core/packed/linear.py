"""PackedLinear: a linear layer that stores and multiplies only the kept weights of an N:M mask."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from eggs_core.errors import EggsError
from eggs_core.packed import layout
from eggs_core.packed.accelerator import dense_path
from eggs_core.packed.grid import Grid, scales_per_row
from eggs_core.packed.kernel import library as kernels
from eggs_core.packed.kernel.call import Call, Siblings
from eggs_core.packed.kernel.library import kernel_path
from eggs_core.packed.scratch import TILE, scratch_tile
from eggs_core.pattern import NMPattern


class PackedLinear(nn.Module):
    """A linear layer that stores only the kept weights of an N:M mask; for inference, exact to the bit of its values.

    Buffers: values (out, in·N/M) in the layer's dtype; positions (out, words) int32; permutation (in,) int32 or None;
    bias (out,) or None. Values that are rounded to a `grid` are bf16 of their own, int8, or below 8 bits int32 words as
    positions are; scales (out, …) fp16. `dtype` is that of inputs, outputs and the bias. `conv1d` remembers that the
    layer stood for a transformers Conv1D. On an accelerator the first product builds the dense weight there, and what
    is packed waits in host memory.
    """

    values: Tensor
    positions: Tensor
    permutation: Tensor | None
    bias: Tensor | None
    scales: Tensor | None

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
        bits: int | None = None,
    ) -> None:
        super().__init__()
        pattern.check(name, (out_features, in_features))
        pattern.check_packs()
        if dtype not in kernels.DTYPES:
            raise EggsError(f"Layer {name} can be packed in float32, bfloat16 or float16, not in {dtype}.")
        self.in_features, self.out_features, self.pattern, self.conv1d = in_features, out_features, pattern, conv1d
        self.dtype, self.bits = dtype, bits
        kept = self.kept = pattern.groups(in_features) * pattern.keep
        words = layout.words_per_row(kept, pattern.position_bits)
        width, kind = layout.stored_as(kept, bits, dtype)
        self.register_buffer("values", torch.empty(out_features, width, dtype=kind, device=device))
        self.register_buffer("positions", torch.empty(out_features, words, dtype=torch.int32, device=device))
        order = torch.empty(in_features, dtype=torch.int32, device=device) if permutation else None
        self.register_buffer("permutation", order)
        self.register_buffer("bias", torch.empty(out_features, dtype=dtype, device=device) if bias else None)
        count = scales_per_row(kept, pattern) if bits is not None and bits <= 8 else 0
        scales = torch.empty(out_features, count, dtype=torch.float16, device=device) if count else None
        self.register_buffer("scales", scales)
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
        grid: Grid | None = None,
    ) -> "PackedLinear":
        """Pack `weight` (out, in) under bool `mask` (out, in), True = kept, both in original column order.

        `permutation` (in,): the original column at each packed position; the pattern's groups run along it. `name`
        goes into error messages. Kept weights go to the nearest numbers of `grid`. Raises EggsError for a mask that
        breaks N:M, shapes that do not fit or NaN weights.
        """
        if weight.ndim != 2:
            raise EggsError(f"Layer {name} needs a weight (out_features, in_features); got {tuple(weight.shape)}.")
        out_features, in_features = weight.shape
        if permutation is not None:
            permutation = layout.check_permutation(permutation, in_features, name)
        if bias is not None and bias.shape != (out_features,):
            raise EggsError(f"Layer {name} needs a bias of {out_features} numbers; got shape {tuple(bias.shape)}.")
        bits = None if grid is None else grid.bits
        layer = cls(
            in_features, out_features, pattern, weight.dtype, conv1d=conv1d, device="meta", name=name, bits=bits
        )
        values, layer.positions = layout.pack(weight.detach(), mask, pattern, permutation, name)
        layer.values = values
        if grid is not None:
            layer.scales = None if grid.scales is None else grid.scales.to(weight.device).clone()
            layer.values = layer._stored(values, name)
        layer.permutation = None if permutation is None else permutation.to(weight.device)
        layer.bias = None if bias is None else bias.detach().to(weight.dtype).clone()
        return layer

    @property
    def grid(self) -> Grid | None:
        """The numbers that the layer's values are rounded to, None if they are not."""
        return None if self.bits is None else Grid(self.bits, self.scales)

    def _stored(self, values: Tensor, name: str) -> Tensor:
        """Kept values (out, kept) as they are stored: rounded to the layer's grid."""
        grid = self.grid
        if grid is None or grid.scales is None:
            return values.to(torch.bfloat16)
        if tuple(grid.scales.shape) != (self.out_features, scales_per_row(self.kept, self.pattern)):
            raise EggsError(f"The scales of layer {name} have shape {tuple(grid.scales.shape)}, which does not fit it.")
        return layout.pack_codes(grid.codes(values, self.pattern), grid.bits)

    def kept_values(self, start: int = 0, stop: int | None = None) -> Tensor:
        """The kept values of some rows, (rows, kept) in the layer's dtype."""
        grid, values = self.grid, self.values[start:stop]
        if grid is None or grid.scales is None:
            return values.to(self.dtype)
        codes = layout.unpack_codes(values, self.kept, grid.bits)
        return Grid(grid.bits, grid.scales[start:stop]).values(codes, self.pattern).to(self.dtype)

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
        layout.check_positions(self.positions, self.kept, self.pattern, name)

    @property
    def path(self) -> str:
        """What multiplies this layer with one token where it is: a CPU path of the kernel, or an accelerator's."""
        return self.path_with(1)

    def path_with(self, tokens: int) -> str:
        """What multiplies this layer with so many tokens."""
        if self._device.type != "cpu":
            return dense_path(self._device, self.pattern)
        found = kernels.kernel()
        if found is None:
            return kernel_path()
        return kernels.PATHS[found.lib.eggs_layer_path(self.own_call().structs, kernels.path_number(), tokens)]

    @property
    def takes_many(self) -> bool:
        """Does the kernel multiply many tokens too, rather than torch's GEMM with what is unpacked?"""
        found = kernels.kernel() if self._device.type == "cpu" else None
        if found is None or (self.dtype is torch.bfloat16 and kernels.torch_has_tiles()):
            return False
        return bool(found.lib.eggs_takes_many(self.own_call().structs, kernels.path_number()))

    def extra_repr(self) -> str:
        """What print(model) shows of the layer."""
        values = "" if self.bits is None else f", bits={self.bits}"
        return f"in_features={self.in_features}, out_features={self.out_features}, pattern={self.pattern}{values}"

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_call": None, "_unpacked": None}  # they hold addresses of this very object's memory

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "PackedLinear":
        """Change device or dtype of all tensors together: what waits in host memory goes along."""
        if self._home is not None:
            self.values, self.positions = self.values.to(self._home), self.positions.to(self._home)
            self.scales = None if self.scales is None else self.scales.to(self._home)
        self._home = self._unpacked = None
        self.dtype = fn(torch.empty(0, dtype=self.dtype, device=self.values.device)).dtype
        fixed = {name: kind for name, kind in self.fixed.items() if self._buffers[name] is not None}
        for name in fixed:  # they stay what they are in every dtype
            setattr(self, name, getattr(self, name).view(torch.int16))
        super()._apply(fn, recurse)
        for name, kind in fixed.items():
            setattr(self, name, getattr(self, name).view(kind))
        return self

    @property
    def fixed(self) -> dict[str, torch.dtype]:
        """The floating-point buffers that keep their dtype whatever the layer computes in."""
        return {"scales": torch.float16} | ({"values": torch.bfloat16} if self.bits == 16 else {})

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
            or x.dtype is not self.dtype
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
        if tokens > 1 and tokens > kernels.max_tokens(self.dtype) and not self.takes_many:
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
            rows = layout.dense_rows(self.kept_values(start, stop), self.positions[start:stop], self.pattern)
            return rows if into is None else into.copy_(rows)
        if into is None:
            into = torch.empty(stop - start, self.in_features, dtype=self.dtype)
        call = self.own_call()
        threads, path = torch.get_num_threads(), kernels.path_number()
        found.lib.eggs_unpack(call.structs, into.data_ptr(), start, stop, threads, path, found.parallel)
        return into

    def _unpacked_gemm(self, x: Tensor) -> Tensor:
        """Many tokens: unpack rows into a scratch that stays in cache, tile by tile, for torch's faster GEMM."""
        flat = x.reshape(-1, self.in_features)
        if self.permutation is not None:
            flat = flat.index_select(1, self.permutation)
        if self.dtype is torch.bfloat16 and kernels.torch_widens():
            flat = flat.float()
        step = min(self.out_features, max(16, TILE // self.in_features))
        tile = scratch_tile(step, self.in_features, x.dtype)
        y = torch.empty(flat.shape[0], self.out_features, dtype=flat.dtype)
        for start in range(0, self.out_features, step):
            stop = min(start + step, self.out_features)
            rows = self._rows(start, stop, tile[: stop - start]).to(flat.dtype)
            torch.mm(flat, rows.t(), out=y[:, start:stop])
        if self.bias is not None:
            y += self.bias
        return y.to(x.dtype).view(*x.shape[:-1], self.out_features)

    def _dense_product(self, x: Tensor) -> Tensor:
        """Torch's own product with a weight that is built once per device: on accelerators, and without a kernel."""
        if x.shape[-1] != self.in_features or x.dtype is not self.dtype or x.device != self._device:
            raise EggsError(
                f"A packed layer of {self.in_features} inputs in {self.dtype} on {self._device} got an input of "
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
                self.scales = None if self.scales is None else self.scales.cpu()
                self._home = home
            held = self._unpacked = (self.values, weight)
        return held[1]
