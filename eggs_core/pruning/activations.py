"""Calibration tokens on their way through the model: hidden states before each block, statistics of layers' inputs."""

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from eggs_core.models.architectures import LinearLayer
from eggs_core.models.hooks import InputHook, hooked
from eggs_core.pruning.activation_store import Batches

TOKENS_PER_BATCH = 4096
SAMPLE_TOKENS = 512  # inputs kept per layer to measure the error of its output
Arguments = tuple[tuple[Any, ...], dict[str, Any]]  # of a block beside its hidden states, by place and by name


@dataclass(slots=True)
class InputStatistics:
    """What calibration tells of one layer's input x: sums over `tokens` tokens of x² and, if asked, of x xᵀ.

    `cross` and `residual_cross` are there if the layer makes up for those that were pruned before it in its block.
    `cross` sums y xᵀ, with y the layer's input in the block as it was. `residual_cross` sums r xᵀ, with r the residual
    gap: what the residual stream lacks by now where the layer writes.
    """

    squares: torch.Tensor  # (in,)
    gram: torch.Tensor | None  # (in, in), of x xᵀ
    sample: torch.Tensor  # (at most SAMPLE_TOKENS, in)
    tokens: int = 0
    cross: torch.Tensor | None = None  # (in, in)
    residual_cross: torch.Tensor | None = None  # (out, in)
    dense_sample: torch.Tensor | None = None  # as sample, of the block as it was
    residual_gap_sample: torch.Tensor | None = None  # (at most SAMPLE_TOKENS, out)
    sensitivity: torch.Tensor | None = None  # (out, out), of the block to the layer's outputs

    @classmethod
    def empty(cls, width: int, device: torch.device, need_gram: bool) -> "InputStatistics":
        """Before the first token."""

        def zeros(*shape: int) -> torch.Tensor:
            return torch.zeros(*shape, dtype=torch.float32, device=device)

        return cls(zeros(width), zeros(width, width) if need_gram else None, zeros(0, width))

    @classmethod
    def isotropic(cls, width: int, device: torch.device, need_gram: bool) -> "InputStatistics":
        """What stands in for an input that no token reached: channels of equal power, uncorrelated."""
        eye = torch.eye(width, device=device)
        return cls(torch.ones(width, device=device), eye if need_gram else None, eye, 1)

    def to(self, device: torch.device) -> "InputStatistics":
        """The same on another device; itself if it is there already."""
        moved = copy.copy(self)
        for one in fields(self):
            if isinstance(value := getattr(self, one.name), torch.Tensor):
                setattr(moved, one.name, value.to(device))
        return moved

    def update(
        self, x: torch.Tensor, dense: torch.Tensor | None = None, residual_gap: torch.Tensor | None = None
    ) -> None:
        """Add inputs x (tokens, in); for the same tokens, those of the block as it was and the gap (tokens, out)."""
        x = x.to(torch.float32)
        self.squares += x.square().sum(0)
        if self.gram is not None:
            self.gram.addmm_(x.T, x)
        if dense is not None:
            dense = dense.to(torch.float32)
            self.cross = _add(self.cross, dense.T @ x)
            self.dense_sample = self._sampled(self.dense_sample, dense)
        if residual_gap is not None:
            residual_gap = residual_gap.to(torch.float32)
            self.residual_cross = _add(self.residual_cross, residual_gap.T @ x)
            self.residual_gap_sample = self._sampled(self.residual_gap_sample, residual_gap)
        self.sample = self._sampled(self.sample, x)
        self.tokens += len(x)

    def _sampled(self, sample: torch.Tensor | None, x: torch.Tensor) -> torch.Tensor:
        room = max(SAMPLE_TOKENS - self.tokens, 0)
        return x[:room].clone() if sample is None else torch.cat([sample, x[:room]]) if room else sample

    def target_output(self, weight: torch.Tensor) -> torch.Tensor:
        """The output that the sample's tokens should have, (tokens, out), with the dense weight (out, in)."""
        output = (self.sample if self.dense_sample is None else self.dense_sample) @ weight.T
        return output if self.residual_gap_sample is None else output + self.residual_gap_sample

    def target(self, weight: torch.Tensor) -> torch.Tensor | None:
        """The target output's correlation with the input, Yᵀ X / tokens, (out, in); None for the layer's own output."""
        if self.cross is None:
            return None
        product = weight @ self.cross
        return (product if self.residual_cross is None else product + self.residual_cross) / self.tokens


Statistics = dict[str, InputStatistics]  # by the layer's name


class StopForward(Exception):
    """Ends a forward pass as soon as what is asked for is known."""


class Activations:
    """The hidden states before the block that is pruned next, for every batch of tokens.

    windows: (windows, length) int64. `hidden` holds one tensor for each batch. It may be empty, or as an earlier
    process left it. `arguments` are each block's other arguments, which all batches share. `wrapped` says whether
    blocks return a tuple.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        blocks: nn.ModuleList,
        windows: torch.Tensor,
        hidden: Batches | None = None,
        tokens_per_batch: int = TOKENS_PER_BATCH,
    ) -> None:
        self.hidden: Batches = [] if hidden is None else hidden
        self.batches = _batches(windows, tokens_per_batch)
        self.arguments, self.wrapped = _arguments(model, blocks, self.batches[0])
        if not self.hidden:
            _capture(model, blocks, self.batches, self.hidden)

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


def _batches(windows: torch.Tensor, most: int) -> list[torch.Tensor]:
    """Split (windows, length) into equal batches of at most `most` tokens."""
    count, length = windows.shape
    size = max(d for d in range(1, count + 1) if count % d == 0 and (d * length <= most or d == 1))
    return list(windows.split(size))


@contextmanager
def replaced(blocks: list[nn.Module], forward: Callable[..., object]) -> Iterator[None]:
    """Let `forward` stand in for each of these blocks' own computation."""
    before = [block.__dict__.get("forward") for block in blocks]
    for block in blocks:
        block.forward = forward
    try:
        yield
    finally:
        for block, own in zip(blocks, before, strict=True):
            del block.forward
            if own is not None:
                block.forward = own


def input_device(model: PreTrainedModel) -> torch.device:
    """Where the model takes its tokens."""
    return model.get_input_embeddings().get_parameter("weight").device


@torch.no_grad()
def _arguments(model: PreTrainedModel, blocks: nn.ModuleList, batch: torch.Tensor) -> tuple[list[Arguments], bool]:
    """Each block's arguments beside its hidden states, and whether blocks return a tuple; only the first block runs."""
    arguments: list[Arguments] = []
    output: list[object] = []

    def before(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        arguments.append((args[1:], {k: v for k, v in kwargs.items() if k != "hidden_states"}))
        if 1 < len(blocks) == len(arguments):
            raise StopForward

    def after(_module: nn.Module, _args: tuple[Any, ...], result: object) -> None:
        output.append(result)
        if len(blocks) == 1:
            raise StopForward

    hooks = [block.register_forward_pre_hook(before, with_kwargs=True) for block in blocks]
    hooks.append(blocks[0].register_forward_hook(after))
    others = replaced(list(blocks)[1:], lambda *_args, **_kwargs: output[0])
    with hooked(hooks), suppress(StopForward), others:
        model(input_ids=batch.to(input_device(model)), use_cache=False)
    return arguments, isinstance(output[0], tuple)


@torch.no_grad()
def _capture(model: PreTrainedModel, blocks: nn.ModuleList, batches: list[torch.Tensor], hidden: Batches) -> None:
    """Append the first block's input for every batch."""

    def record(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        hidden.append(args[0] if args else kwargs["hidden_states"])
        raise StopForward

    with blocks[0].register_forward_pre_hook(record, with_kwargs=True):
        for batch in batches:
            with suppress(StopForward):
                model(input_ids=batch.to(input_device(model)), use_cache=False)


@torch.no_grad()
def run_block(block: nn.Module, hidden: torch.Tensor, arguments: Arguments) -> torch.Tensor:
    """A block's hidden states after it, without gradients."""
    return block_output(block, hidden, arguments)


def block_output(block: nn.Module, hidden: torch.Tensor, arguments: Arguments) -> torch.Tensor:
    """A block's hidden states after it."""
    args, kwargs = arguments
    output = block(hidden, *args, **kwargs)
    return output[0] if isinstance(output, tuple) else output


def _gather(
    block: nn.Module, layers: list[LinearLayer], hidden: Iterable[torch.Tensor], arguments: Arguments, need_gram: bool
) -> Statistics:
    """Statistics of every layer's input over all batches; layers that share an input share its statistics."""
    statistics: Statistics = {}
    seen: dict[int, tuple[torch.Tensor, InputStatistics]] = {}  # by identity of the input, within one batch

    def hook_for(layer: LinearLayer) -> InputHook:
        def hook(_module: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
            x = args[0]
            if id(x) in seen:
                statistics.setdefault(layer.name, seen[id(x)][1])
                return
            if layer.name not in statistics:
                statistics[layer.name] = InputStatistics.empty(x.shape[-1], x.device, need_gram)
            statistics[layer.name].update(flat(x))
            seen[id(x)] = (x, statistics[layer.name])

        return hook

    with hooked(layer.module.register_forward_pre_hook(hook_for(layer)) for layer in layers):
        for batch in hidden:
            run_block(block, batch, arguments)
            seen.clear()
    return statistics
