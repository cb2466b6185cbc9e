"""After a block is pruned, its kept weights and norms are fitted by gradient to the dense model; the masks stay.

The inputs are the hidden states that the pruned model has before the block, the target is what the dense model has
after it. So each block makes up for those before it. Adam (arXiv 1412.6980) reads the calibration text a few times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from eggs_core.config import PruneConfig
from eggs_core.heavy import nn, no_grad, torch
from eggs_core.models.architectures import LinearLayer
from eggs_core.pruning.activations import TOKENS_PER_BATCH, Calls, flat
from eggs_core.pruning.block_calls import Arguments, block_output
from eggs_core.pruning.trained import Rounding, Trained, schedule

if TYPE_CHECKING:  # it takes transformers seconds to import its models
    from transformers import PreTrainedModel

TOKENS_PER_STEP = 256  # or one window, where that is longer; measured on tiny-llama: 512 do worse at equal cost
EPOCHS = 2  # times that all windows are read
VARIED = 0.3  # share of a varied window's tokens that are drawn anew
RATE = 0.01  # the highest learning rate, over the root mean square of a parameter's kept values
SMALLEST = 1e-3  # root mean square that a parameter counts with at least
BETAS = (0.9, 0.95)  # of Adam
MEASURED = 16  # batches, at most, on which the error before and after is compared


@dataclass(frozen=True, slots=True)
class FitStep:
    """A block's fit made one more of its steps."""

    block: int
    step: int
    steps: int

    @property
    def text(self) -> str:
        """Where it stands, in words."""
        return f"Block {self.block + 1}: fitting kept weights, step {self.step} of {self.steps}"


def windows_read(model: PreTrainedModel, windows: torch.Tensor, config: PruneConfig) -> torch.Tensor:
    """What pruning reads of calibration windows, int64 (windows, length): before a fit each a second time, varied.

    There a share of the tokens, but never a window's first, is drawn from the vocabulary, without tokens that the
    model's configuration names. A fit to the text alone makes up for common tokens at the cost of rare ones.
    """
    if not config.fits:
        return windows
    generator = torch.Generator().manual_seed(config.seed)
    settings = (model.config.to_dict(), model.config.get_text_config().to_dict())
    named = {v for one in settings for k, v in one.items() if "token_i" in k and isinstance(v, int)}
    tokens = torch.arange(cast(int, model.get_input_embeddings().num_embeddings))
    ordinary = tokens[~torch.isin(tokens, torch.tensor(sorted(named), dtype=tokens.dtype))]
    drawn = ordinary[torch.randint(0, len(ordinary), windows.shape, generator=generator)]
    changed = torch.rand(windows.shape, generator=generator) < VARIED
    changed[:, 0] = False
    return torch.cat([windows, torch.where(changed, drawn, windows)])


def tokens_per_batch(config: PruneConfig) -> int:
    """Calibration tokens that go through a block together, at most, unless a window is longer: a fit's step."""
    return TOKENS_PER_STEP if config.fits else TOKENS_PER_BATCH


def fit_block(
    block: nn.Module,
    layers: list[LinearLayer],
    masks: Mapping[str, torch.Tensor],
    calls: Calls,
    target: Callable[[int], torch.Tensor],
    seed: int,
    roundings: Mapping[str, Rounding] | None = None,
) -> Iterator[FitStep]:
    """Fit a pruned block in place, in fp32, yielding after each step; close the generator to stop at once.

    layers: those that were pruned, by `masks`, bool (out, in) by name. calls: how the pruned model calls the block.
    target: the number of a batch -> the dense model's hidden states after the block, (windows, length, hidden).
    roundings: as for Trained; the block learns with rounded weights and is left with them. A fit that does not lower
    the error is taken back.
    """
    generator = torch.Generator().manual_seed(seed)
    steps = EPOCHS * len(calls)
    order = torch.cat([torch.randperm(len(calls), generator=generator) for _ in range(EPOCHS)]).tolist()
    probe = order[: min(len(calls), MEASURED)]
    with Trained(block, layers, masks, roundings) as trained:
        began, before = trained.values(), _errors(block, calls, target, probe)
        rates = [RATE * max(value.square().mean().sqrt().item(), SMALLEST) for value in began.values()]
        optimizer = torch.optim.Adam([{"params": [p]} for p in trained.parameters.values()], betas=BETAS, fused=True)
        for step, batch in enumerate(order):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * schedule(step, steps)
            with trained.as_stored(), torch.enable_grad():
                _error(block, *_batch(calls, batch), target(batch)).backward()
            trained.mask_gradients()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            yield FitStep(layers[0].block, step + 1, steps)
        trained.store()
        if not _errors(block, calls, target, probe) < before:
            _clear(trained)
            trained.set_values(began)


@no_grad
def _clear(trained: Trained) -> None:
    """Zero all that is pruned, also where a gradient that was no number passed the masks."""
    for name, mask in trained.masks.items():
        trained.parameters[name].masked_fill_(~mask, 0)


def _errors(block: nn.Module, calls: Calls, target: Callable[[int], torch.Tensor], batches: list[int]) -> float:
    """The sum of the error over some batches."""
    with torch.no_grad():
        return sum(_error(block, *_batch(calls, batch), target(batch)).item() for batch in batches)


def _error(block: nn.Module, hidden: torch.Tensor, arguments: Arguments, target: torch.Tensor) -> torch.Tensor:
    """The mean over tokens of the output's squared error, divided by the target's size or the median one's.

    Few tokens are a thousand times as large as all others (arXiv 2402.17762); the median keeps them from deciding all.
    """
    wanted = flat(target).float()
    size = wanted.square().sum(-1)
    error = (flat(block_output(block, hidden, arguments)) - wanted).square().sum(-1)
    return (error / size.clamp_min(size.median().clamp_min(1e-30))).mean()


def _batch(calls: Calls, number: int) -> tuple[torch.Tensor, Arguments]:
    """One batch in fp32: hidden states before the block, and its other arguments."""
    args, kwargs = calls.arguments[number]
    return calls.hidden[number].float(), (_single(args), _single(kwargs))


def _single(value: Any) -> Any:
    """Floating tensors as fp32, those in tuples and dicts too."""
    if isinstance(value, torch.Tensor):
        return value.float() if value.is_floating_point() else value
    if type(value) in (tuple, list):
        return type(value)(map(_single, value))
    return {name: _single(one) for name, one in value.items()} if type(value) is dict else value
