"""A rotation that folds away: learned before pruning, so that what the pattern drops matters less to the loss.

One orthogonal matrix turns the residual stream, one for each head its values. Both are Cayley transforms of skew
matrices, so they stay orthogonal on the way (Lezcano-Casado and Martínez-Rubio 2019, arXiv 1901.08428). That a rotation
before pruning can help is DenoiseRotator's finding (arXiv 2505.23049), which leaves a dense matrix in each layer.

What is made small is Σ f w² h over the dropped weights of all layers. h is the mean square of the weight's input, as in
Wanda, and f that of the loss's gradient at its layer's outputs: the diagonal of K-FAC's factors (arXiv 1503.05671).
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from eggs_core.device import free_memory
from eggs_core.heavy import no_grad, torch
from eggs_core.models.residual_stream import CannotRotate, Stream
from eggs_core.models.rotation import Rotation
from eggs_core.pattern import NMPattern
from eggs_core.progress import Progress, part_of
from eggs_core.pruning.rotated_layers import RotatedLayer, Turn, gather, rotated_layers
from eggs_core.units import size

if TYPE_CHECKING:  # it takes transformers seconds to import its models
    from transformers import PreTrainedModel

STEPS = 300  # of Adam, unless a run says otherwise
RATE = 5e-3  # Adam's, at first; it falls with half a cosine
PART = 8  # in a step, one of so many rows of each layer is looked at
GATHERING = 0.15  # share of the work before the first step
COPIES = 3.5  # of the model in fp32 that learning takes beside it: folded, weights, what gradients keep
SAME = {2: 0.05, 4: 1e-3}  # relative difference of logits that rounding explains, by bytes of a value
CHECKED = 64  # tokens on which logits are compared


@dataclass(frozen=True, slots=True)
class Learned:
    """A model to prune, and what became of its rotation.

    `rotation` is folded into the model. It is None, and `why` says the reason, where the model is as it was. `before`
    and `after` are the shares of w² h that the pattern drops, by layer name.
    """

    model: PreTrainedModel
    rotation: Rotation | None = None
    why: str = ""
    steps: int = 0
    seconds: float = 0.0
    before: Mapping[str, float] = field(default_factory=dict)
    after: Mapping[str, float] = field(default_factory=dict)


def none() -> None:
    """The model's own basis."""


def learned(
    model: PreTrainedModel,
    windows: torch.Tensor,
    patterns: Mapping[str, NMPattern],
    seed: int,
    steps: int | None = None,
) -> Generator[Progress, None, Learned]:
    """Learn a rotation and fold it into a copy of the model; yields progress and returns what was learned.

    windows: (windows, length) int64 tokens. patterns: those of the layers that will be pruned, by name. Equal arguments
    give an equal rotation on one machine. Where none folds, the copy is as the model.
    """
    try:
        _check_memory(Stream.of(model))
        before, turned = _logits(model, windows), copy.deepcopy(model)
        stream = Stream.of(turned)
        stream.fold_norms()
        _check_same(before, turned, windows)
        found = yield from _learned(stream, windows, patterns, seed, steps or STEPS)
        _check_same(before, turned, windows)
    except CannotRotate as error:
        return Learned(copy.deepcopy(model), why=str(error))
    return found


def _learned(
    stream: Stream, windows: torch.Tensor, patterns: Mapping[str, NMPattern], seed: int, steps: int
) -> Generator[Progress, None, Learned]:
    """Learn a rotation of a model without gains, and fold it in."""
    clock = time.monotonic()
    layers = rotated_layers(stream, patterns)
    yield from part_of(gather(stream, layers, windows), 0.0, GATHERING)
    weights = torch.tensor([layer.sensitivity / len(layer.weight) for layer in layers], device=layers[0].weight.device)
    weights /= weights.max().clamp_min(1e-30)  # only their ratios count
    skew, generator = _Skew.zero(stream, layers), torch.Generator().manual_seed(seed)
    before = _shares(layers, skew.turn())
    optimizer = torch.optim.Adam(skew.parameters, lr=RATE)
    started, scale = time.monotonic(), 0.0
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = RATE * 0.5 * (1 + math.cos(math.pi * step / steps))
        with torch.enable_grad():
            turn = skew.turn()
            parts = torch.stack([layer.importance(turn, PART, generator)[0] for layer in layers])
            loss = (weights * parts).sum()
            scale = scale or max(loss.item(), 1e-30)
            optimizer.zero_grad()
            (loss / scale).backward()
        optimizer.step()
        left = (time.monotonic() - started) / (step + 1) * (steps - step - 1)
        share = GATHERING + (1 - GATHERING) * (step + 1) / steps
        yield Progress(f"Learning a rotation: step {step + 1} of {steps}", share, left)
    turn = skew.turn()
    after, rotation = _shares(layers, turn), skew.rotation()
    stream.rotate(rotation.residual, rotation.values)
    return Learned(stream.model, rotation, "", steps, time.monotonic() - clock, before, after)


@dataclass(frozen=True, slots=True)
class _Skew:
    """What is trained: square matrices whose skew parts' Cayley transforms are the rotations."""

    residual: torch.Tensor
    values: torch.Tensor | None
    centred: bool

    @classmethod
    def zero(cls, stream: Stream, layers: list[RotatedLayer]) -> _Skew:
        """Those of the identity."""
        device = layers[0].weight.device
        values = next((layer.values for layer in layers if layer.values), None)
        shape = None if values is None else (len(stream.blocks), values.heads, values.width, values.width)
        return cls(
            torch.zeros(stream.width, stream.width, device=device, requires_grad=True),
            None if shape is None else torch.zeros(shape, device=device, requires_grad=True),
            stream.centred,
        )

    @property
    def parameters(self) -> list[torch.Tensor]:
        """All of them."""
        return [self.residual, *([] if self.values is None else [self.values])]

    def turn(self) -> Turn:
        """The rotations as they are now."""
        return Turn(cayley(self.residual, self.centred), None if self.values is None else cayley(self.values))

    def rotation(self) -> Rotation:
        """The rotations as they are now, computed in double precision on the CPU."""
        residual, *values = (cayley(one.detach().double().cpu(), centred) for one, centred in self._pairs())
        return Rotation(residual.float().contiguous(), *(one.float().contiguous() for one in values))

    def _pairs(self) -> list[tuple[torch.Tensor, bool]]:
        return [(self.residual, self.centred), *([] if self.values is None else [(self.values, False)])]


def cayley(square: torch.Tensor, centred: bool = False) -> torch.Tensor:
    """The orthogonal matrices (I + S)⁻¹(I − S) of S = A − Aᵀ, (…, n, n) like A; centred: they keep the vector of ones.

    >>> cayley(torch.tensor([[0.0, 0.5], [-0.5, 0.0]]))
    tensor([[ 0., -1.],
            [ 1.,  0.]])
    """
    skew = square - square.mT
    if centred:
        skew = skew - skew.mean(-1, keepdim=True)
        skew = skew - skew.mean(-2, keepdim=True)
    eye = torch.eye(skew.shape[-1], device=skew.device, dtype=skew.dtype)
    return torch.linalg.solve(eye + skew, eye - skew)


@no_grad
def _shares(layers: list[RotatedLayer], turn: Turn) -> dict[str, float]:
    """The share of w² h that the pattern drops, over all rows, by layer name."""
    found = {}
    for layer in layers:
        dropped, whole = layer.importance(turn, 1, torch.Generator())
        found[layer.layer.name] = (dropped / whole.clamp_min(1e-30)).item()
    return found


@no_grad
def _logits(model: PreTrainedModel, windows: torch.Tensor) -> torch.Tensor:
    return model(input_ids=windows[:1, :CHECKED].to(model.device), use_cache=False).logits.float()


def _check_same(before: torch.Tensor, model: PreTrainedModel, windows: torch.Tensor) -> None:
    """Raise CannotRotate if a model's logits are not those that they were."""
    error = (_logits(model, windows) - before).norm() / (before - before.mean()).norm().clamp_min(1e-30)
    if not error <= SAME.get(model.dtype.itemsize, SAME[4]):
        raise CannotRotate(f"the model would compute something else (its logits would change by {error.item():.1%})")


def _check_memory(stream: Stream) -> None:
    """Raise CannotRotate if learning needs more memory than there is."""
    device, width = stream.model.device, stream.width
    weights = sum(p.numel() for p in stream.model.parameters())
    need = 4 * (COPIES * weights + 2 * len(stream.blocks) * width**2)
    if need > (free := free_memory(device)):
        raise CannotRotate(f"learning one takes some {size(need)} of memory, and {size(free)} are free")
