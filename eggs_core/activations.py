"""Calibration tokens on their way through the model: hidden states before each block, statistics of layers' inputs."""

from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedModel

from eggs_core.adapters import LinearLayer

TOKENS_PER_BATCH = 4096
SAMPLE_TOKENS = 512  # inputs kept per layer to measure the error of its output


@dataclass(slots=True)
class InputStatistics:
    """What calibration tells of one layer's input x: sums over `tokens` tokens of x² and, if asked, of products.

    `cross` and `drift` are there if the layer should make up for those pruned before it in its block: sums of y xᵀ,
    with y the input that it had before, and of r xᵀ, with r what the residual stream lacks where the layer writes.
    """

    squares: torch.Tensor  # (in,)
    gram: torch.Tensor | None  # (in, in), of x xᵀ
    sample: torch.Tensor  # (at most SAMPLE_TOKENS, in)
    tokens: int = 0
    cross: torch.Tensor | None = None  # (in, in)
    drift: torch.Tensor | None = None  # (out, in)
    dense_sample: torch.Tensor | None = None  # as sample, of the block as it was
    lack_sample: torch.Tensor | None = None  # (at most SAMPLE_TOKENS, out)

    @classmethod
    def empty(cls, width: int, device: torch.device, need_gram: bool) -> "InputStatistics":
        """Before the first token."""
        zeros = lambda *shape: torch.zeros(*shape, dtype=torch.float32, device=device)  # noqa: E731
        return cls(zeros(width), zeros(width, width) if need_gram else None, zeros(0, width))

    @classmethod
    def white(cls, width: int, device: torch.device, need_gram: bool) -> "InputStatistics":
        """What stands in for an input that no token reached: channels of equal power, uncorrelated."""
        eye = torch.eye(width, device=device)
        return cls(torch.ones(width, device=device), eye if need_gram else None, eye, 1)

    def update(self, x: torch.Tensor, dense: torch.Tensor | None = None, lack: torch.Tensor | None = None) -> None:
        """Add inputs x (tokens, in), and for the same tokens those of the block as it was and what the stream lacks."""
        x = x.to(torch.float32)
        self.squares += x.square().sum(0)
        if self.gram is not None:
            self.gram.addmm_(x.T, x)
        if dense is not None:
            dense = dense.to(torch.float32)
            self.cross = _add(self.cross, dense.T @ x)
            self.dense_sample = self._sampled(self.dense_sample, dense)
        if lack is not None:
            lack = lack.to(torch.float32)
            self.drift = _add(self.drift, lack.T @ x)
            self.lack_sample = self._sampled(self.lack_sample, lack)
        self.sample = self._sampled(self.sample, x)
        self.tokens += len(x)

    def _sampled(self, sample: torch.Tensor | None, x: torch.Tensor) -> torch.Tensor:
        room = max(SAMPLE_TOKENS - self.tokens, 0)
        return x[:room].clone() if sample is None else torch.cat([sample, x[:room]]) if room else sample

    def wanted(self, weight: torch.Tensor) -> torch.Tensor:
        """The output that the sample's tokens should have, (tokens, out), with the dense weight (out, in)."""
        output = (self.sample if self.dense_sample is None else self.dense_sample) @ weight.T
        return output if self.lack_sample is None else output + self.lack_sample

    def target(self, weight: torch.Tensor) -> torch.Tensor | None:
        """The wanted output's correlation with the input, Yᵀ X / tokens, (out, in); None for the layer's own output."""
        if self.cross is None:
            return None
        wanted = weight @ self.cross
        return (wanted if self.drift is None else wanted + self.drift) / self.tokens


Statistics = dict[str, InputStatistics]  # by the layer's name


class Reached(Exception):
    """Ends a forward pass as soon as what is asked for is known."""


class Activations:
    """The hidden states before the block that is pruned next, for every batch of calibration tokens.

    windows: (windows, length) int64. `arguments` are each block's other arguments, equal for all batches.
    """

    def __init__(self, model: PreTrainedModel, blocks: nn.ModuleList, windows: torch.Tensor):
        self.hidden, self.arguments = _capture(model, blocks, _batches(windows))

    def gather(self, layers: list[LinearLayer], number: int, block: nn.Module, need_gram: bool) -> Statistics:
        """Statistics of every layer's input over all batches; layers that share an input share its statistics."""
        return _gather(block, layers, self.hidden, self.arguments[number], need_gram)

    def advance(self, number: int, block: nn.Module) -> None:
        """Go on to the next block, through this one as it is now."""
        for i, batch in enumerate(self.hidden):
            self.hidden[i] = run_block(block, batch, self.arguments[number])


def _add(total: torch.Tensor | None, product: torch.Tensor) -> torch.Tensor:
    return product if total is None else total.add_(product)


def flat(x: torch.Tensor) -> torch.Tensor:
    """(…, width) as (tokens, width)."""
    return x.reshape(-1, x.shape[-1])


def _batches(windows: torch.Tensor) -> list[torch.Tensor]:
    """Split (windows, length) into equal batches of at most TOKENS_PER_BATCH tokens."""
    count, length = windows.shape
    size = max(d for d in range(1, count + 1) if count % d == 0 and (d * length <= TOKENS_PER_BATCH or d == 1))
    return list(windows.split(size))


@torch.no_grad()
def _capture(model: PreTrainedModel, blocks: nn.ModuleList, batches: list[torch.Tensor]) -> tuple[list, list]:
    """The first block's inputs for every batch, and each block's other arguments (equal for all batches)."""
    hidden: list[torch.Tensor] = []
    arguments: list[tuple[tuple, dict]] = [((), {})] * len(blocks)

    def record_input(_module, args, kwargs):
        hidden.append(args[0] if args else kwargs["hidden_states"])
        raise Reached

    def record_arguments(number):
        def hook(_module, args, kwargs):
            arguments[number] = (args[1:], {k: v for k, v in kwargs.items() if k != "hidden_states"})

        return hook

    device = next(model.parameters()).device
    handles = [b.register_forward_pre_hook(record_arguments(i), with_kwargs=True) for i, b in enumerate(blocks)]
    try:
        model(input_ids=batches[0].to(device), use_cache=False)
        handles.append(blocks[0].register_forward_pre_hook(record_input, with_kwargs=True))
        for batch in batches:
            try:
                model(input_ids=batch.to(device), use_cache=False)
            except Reached:
                continue
    finally:
        for handle in handles:
            handle.remove()
    return hidden, arguments


@torch.no_grad()
def run_block(block: nn.Module, hidden: torch.Tensor, arguments: tuple[tuple, dict]) -> torch.Tensor:
    args, kwargs = arguments
    output = block(hidden, *args, **kwargs)
    return output[0] if isinstance(output, tuple) else output


def _gather(block, layers: list[LinearLayer], hidden: list, arguments, need_gram: bool) -> Statistics:
    """Statistics of every layer's input over all batches; layers that share an input share its statistics."""
    statistics: Statistics = {}
    seen: dict[int, tuple[torch.Tensor, InputStatistics]] = {}  # by identity of the input, within one batch

    def hook_for(layer: LinearLayer):
        def hook(_module, args):
            x = args[0]
            if id(x) in seen:
                statistics.setdefault(layer.name, seen[id(x)][1])
                return
            if layer.name not in statistics:
                statistics[layer.name] = InputStatistics.empty(x.shape[-1], x.device, need_gram)
            statistics[layer.name].update(flat(x))
            seen[id(x)] = (x, statistics[layer.name])

        return hook

    handles = [layer.module.register_forward_pre_hook(hook_for(layer)) for layer in layers]
    try:
        for batch in hidden:
            run_block(block, batch, arguments)
            seen.clear()
    finally:
        for handle in handles:
            handle.remove()
    return statistics
