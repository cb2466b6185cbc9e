"""The numbers that one layer's kept weights are rounded to, and their storage in few bits."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from eggs_core.heavy import torch
from eggs_core.pattern import NMPattern

LEAST_GROUP = 32  # kept values that share a scale, as many as in llama.cpp's plain types
TABLE_BITS = 8  # of embedding and LM head, where kept values have as many or fewer
WHOLE = NMPattern(1, 1)  # every weight is kept
WINDOW = 16  # kept values that the kernel takes at a time, which a scale covers as a whole
SHRINKS = 12  # scales that are tried for each group, both signs
NARROWEST = 0.55  # the smallest of them, as a share of that which reaches the largest value
WIDEST_SEARCH = 4  # bits up to which scales are searched; above, the largest value decides


def values_per_scale(pattern: NMPattern) -> int:
    """Kept values that share a scale: at least LEAST_GROUP, whole groups of the pattern and whole windows."""
    unit = math.lcm(pattern.keep, WINDOW)
    return -(-LEAST_GROUP // unit) * unit


def scales_per_row(kept: int, pattern: NMPattern) -> int:
    """How many scales a row of `kept` values has; the last may cover fewer."""
    return -(-kept // values_per_scale(pattern))


def bits_per_weight(bits: int, pattern: NMPattern) -> float:
    """Bits that a weight takes when kept values take `bits`: with positions, and scales where there are any."""
    scales = 16 / values_per_scale(pattern) if bits <= 8 else 0.0
    return (bits + pattern.position_bits + scales) * pattern.density


def rounds_tables(bits: int | None) -> bool:
    """Are embedding and LM head stored in TABLE_BITS bits where kept values take `bits`?"""
    return bits is not None and bits <= TABLE_BITS


def table_grid(weight: torch.Tensor) -> Grid:
    """The numbers that an embedding or head (rows, columns) is rounded to: 8 bits, the largest of 32 being ±127."""
    rows, columns = weight.shape
    span = values_per_scale(WHOLE)
    padded = torch.nn.functional.pad(weight.detach().float(), (0, -columns % span)).view(rows, -1, span)
    return Grid(TABLE_BITS, _stored(padded.abs().amax(2) / 127).half())


def rounded_table(weight: torch.Tensor) -> torch.Tensor:
    """An embedding's or head's weight (rows, columns) as `table_grid` keeps it, in its own dtype."""
    grid = table_grid(weight)
    return grid.values(grid.codes(weight.detach(), WHOLE), WHOLE).to(weight.dtype)


def whole_numbers(values: torch.Tensor, scale: torch.Tensor, bits: int) -> torch.Tensor:
    """The whole numbers of so many bits nearest to values over their scale, fp32."""
    lowest = -(1 << (bits - 1))
    return (values / scale).round_().clamp_(lowest, -lowest - 1)


def rounded_inputs(x: torch.Tensor, columns: int) -> torch.Tensor:
    """Inputs (…, in) as the kernel rounds them for whole numbers: 8 bits, the largest of `columns` being ±127."""
    width = x.shape[-1]
    some = torch.nn.functional.pad(x.float(), (0, -width % columns)).unflatten(-1, (-1, columns))
    largest = some.abs().amax(-1, keepdim=True)
    times = torch.where(largest > 0, 127 / largest, 0)
    return ((some * times).round_() * (largest / 127)).flatten(-2)[..., :width].to(x.dtype)


def columns_per_scale(pattern: NMPattern) -> int:
    """Columns that the kept values of one scale come from."""
    return values_per_scale(pattern) // pattern.keep * pattern.group


@dataclass(frozen=True, slots=True)
class Grid:
    """The numbers that a layer's kept weights are rounded to.

    `bits` 16 are bf16 numbers, without scales. Fewer are whole numbers −2^(bits−1) … 2^(bits−1)−1 times a scale: fp16
    (out, scales), one for each output and `values_per_scale` kept values in packed order; it may be negative.
    """

    bits: int
    scales: torch.Tensor | None = None

    @classmethod
    def ones(cls, shape: tuple[int, int], pattern: NMPattern, bits: int) -> Grid:
        """A grid for a layer (out, in) all of whose scales are 1, where only bytes and speed matter."""
        if bits > 8:
            return cls(bits)
        kept = pattern.groups(shape[1]) * pattern.keep
        return cls(bits, torch.ones(shape[0], scales_per_row(kept, pattern), dtype=torch.float16))

    def to(self, device: torch.device) -> Grid:
        """The same on another device."""
        return self if self.scales is None else Grid(self.bits, self.scales.to(device))

    @property
    def lowest(self) -> int:
        """The least whole number."""
        return -(1 << (self.bits - 1))

    def spread(self, kept: int, pattern: NMPattern) -> torch.Tensor:
        """The scale of each kept value, fp32 (out, kept)."""
        assert self.scales is not None
        return self.scales.float().repeat_interleave(values_per_scale(pattern), dim=1)[:, :kept]

    def codes(self, values: torch.Tensor, pattern: NMPattern) -> torch.Tensor:
        """The whole numbers nearest to kept values (out, kept) of any float dtype; int8."""
        return whole_numbers(values.float(), self.spread(values.shape[1], pattern), self.bits).to(torch.int8)

    def rounded(self, weight: torch.Tensor, pattern: NMPattern, order: torch.Tensor | None = None) -> torch.Tensor:
        """A weight (out, in), fp32, rounded to these numbers; `order` (in,) is that of its columns when packed."""
        if self.scales is None:
            return weight.to(torch.bfloat16).to(weight.dtype)
        columns = weight.shape[1]
        scales = self.scales.to(weight.device).float()
        scale = scales.repeat_interleave(columns_per_scale(pattern), dim=1)[:, :columns]
        if order is not None:
            scale = scale[:, order.argsort()]
        return whole_numbers(weight, scale, self.bits).mul_(scale)

    def rounding(self, pattern: NMPattern, order: torch.Tensor | None) -> Callable[[torch.Tensor], torch.Tensor]:
        """`rounded` for one layer's weights, given its pattern and order."""
        return partial(self.rounded, pattern=pattern, order=order)

    def values(self, codes: torch.Tensor, pattern: NMPattern) -> torch.Tensor:
        """The inverse of `codes`, fp32 (out, kept)."""
        return codes.float() * self.spread(codes.shape[1], pattern)


def best_scales(values: torch.Tensor, weights: torch.Tensor, bits: int) -> torch.Tensor:
    """A scale for each row of values (rows, n) that rounds them with little squared error, weighed by `weights` (n,).

    Of some scales of both signs the best is taken; a negative one gives the largest value the number −2^(bits−1).
    Returns fp32 numbers (rows,) that fp16 holds exactly, none of them 0.

    >>> best_scales(torch.tensor([[1.0, -8.0]]), torch.ones(2), 4)
    tensor([1.])
    """
    lowest = -(1 << (bits - 1))
    largest = values.gather(1, values.abs().argmax(1, keepdim=True))[:, 0]
    full = largest / lowest
    shares = torch.linspace(1.0, NARROWEST, SHRINKS).tolist() if bits <= WIDEST_SEARCH else [1.0]
    best, least = _stored(full), None
    for share in shares:
        for scale in (_stored(share * full), _stored(-share * full * lowest / (lowest + 1) if lowest < -1 else full)):
            rounded = whole_numbers(values, scale[:, None], bits).mul_(scale[:, None])
            error = rounded.sub_(values).square_() @ weights
            if least is None:
                best, least = scale, error
            else:
                better = error < least
                best, least = torch.where(better, scale, best), torch.where(better, error, least)
    return best


def _stored(scale: torch.Tensor) -> torch.Tensor:
    """As fp16 keeps it; 1 for what that makes 0."""
    kept = scale.clamp(-65504.0, 65504.0).half().float()
    return torch.where(kept == 0, 1.0, kept)
