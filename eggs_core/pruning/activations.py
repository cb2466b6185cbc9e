"""Calibration tokens on their way through the model: hidden states before each block, statistics of layers' inputs."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from eggs_core.heavy import nn, torch
from eggs_core.models.architectures import LinearLayer
from eggs_core.models.hooks import InputHook, hooked
from eggs_core.pruning.activation_store import Batches
from eggs_core.pruning.block_calls import Arguments, Recorder, carries, filled, run_block, run_whole, same_calls
from eggs_core.pruning.known_outputs import KnownOutputs

if TYPE_CHECKING:  # it takes transformers seconds to import its models
    from transformers import PreTrainedModel

TOKENS_PER_BATCH = 2048  # more gain nothing on a CPU: activations leave its caches
MOST_GRAM_BYTES = 1 << 30  # of grams that are gathered at once, where a block has experts
GRAM_BLOCK = 288  # channels whose part of a gram is computed together; what lies below the diagonal is not
SAMPLE_TOKENS = 512  # inputs kept per layer to measure the error of its output


@dataclass(slots=True)
class InputStatistics:
    """What calibration tells of one layer's input x: sums over `tokens` tokens of x² and, if asked, of x xᵀ.

    `cross` or `wanted` is there if the layer makes up for those that were pruned before it in its block. `cross` sums
    y xᵀ, with y the layer's input in the block as it was. `wanted` sums t xᵀ, with t the output that the layer should
    have, where that is more than its own for y.
    """

    squares: torch.Tensor  # (in,)
    gram: torch.Tensor | None  # (in, in), of x xᵀ
    sample: torch.Tensor  # (at most SAMPLE_TOKENS, in)
    tokens: int = 0
    offered: int = 0  # tokens that went through the block, of which a router may have sent some here
    cross: torch.Tensor | None = None  # (in, in)
    wanted: torch.Tensor | None = None  # (out, in)
    dense_sample: torch.Tensor | None = None  # as sample, of the block as it was
    wanted_sample: torch.Tensor | None = None  # (at most SAMPLE_TOKENS, out)
    sensitivity: torch.Tensor | None = None  # (out, out), of the block to the layer's outputs

    @classmethod
    def empty(cls, width: int, device: torch.device, need_gram: bool) -> InputStatistics:
        """Before the first token."""

        def zeros(*shape: int) -> torch.Tensor:
            return torch.zeros(*shape, dtype=torch.float32, device=device)

        return cls(zeros(width), zeros(width, width) if need_gram else None, zeros(0, width))

    @classmethod
    def isotropic(cls, width: int, device: torch.device, need_gram: bool) -> InputStatistics:
        """What stands in for an input that no token reached: channels of equal power, uncorrelated."""
        eye = torch.eye(width, device=device)
        return cls(torch.ones(width, device=device), eye if need_gram else None, eye, 1)

    def to(self, device: torch.device) -> InputStatistics:
        """The same on another device; itself if it is there already."""
        moved = copy.copy(self)
        for one in fields(self):
            if isinstance(value := getattr(self, one.name), torch.Tensor):
                setattr(moved, one.name, value.to(device))
        return moved

    def update(self, x: torch.Tensor, dense: torch.Tensor | None = None, wanted: torch.Tensor | None = None) -> None:
        """Add inputs x (tokens, in), and for the same tokens those of the block as it was, or fp32 outputs wanted."""
        x = x.to(torch.float32)
        if self.gram is None:
            self.squares += x.square().sum(0)
        else:
            _add_gram(self.gram, x)
            self.squares = self.gram.diagonal()
        if dense is not None:
            dense = dense.to(torch.float32)
            self.cross = _add(self.cross, dense.T @ x)
            self.dense_sample = self._sampled(self.dense_sample, dense)
        if wanted is not None:
            self.wanted = _add(self.wanted, wanted.T @ x)
            self.wanted_sample = self._sampled(self.wanted_sample, wanted)
        self.sample = self._sampled(self.sample, x)
        self.tokens += len(x)

    def _sampled(self, sample: torch.Tensor | None, x: torch.Tensor) -> torch.Tensor:
        room = max(SAMPLE_TOKENS - self.tokens, 0)
        return x[:room].clone() if sample is None else torch.cat([sample, x[:room]]) if room else sample

    def target_output(self, weight: torch.Tensor) -> torch.Tensor:
        """The output that the sample's tokens should have, (tokens, out), with the dense weight (out, in)."""
        if self.wanted_sample is not None:
            return self.wanted_sample
        return (self.sample if self.dense_sample is None else self.dense_sample) @ weight.T

    def target(self, weight: torch.Tensor) -> torch.Tensor | None:
        """The target output's correlation with the input, Yᵀ X / tokens, (out, in); None for the layer's own output."""
        product = self.wanted if self.wanted is not None or self.cross is None else weight @ self.cross
        return None if product is None else product / self.tokens


Statistics = dict[str, InputStatistics]  # by the layer's name


@dataclass(frozen=True, slots=True)
class Calls:
    """How one block is called: its hidden states, (windows, length, hidden), and other arguments, batch by batch."""

    hidden: Batches
    arguments: Sequence[Arguments]

    def __len__(self) -> int:
        return len(self.hidden)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, Arguments]]:
        return zip(self.hidden, self.arguments, strict=True)

    @property
    def first(self) -> tuple[torch.Tensor, Arguments]:
        """The first batch's."""
        return self.hidden[0], self.arguments[0]


class Activations:
    """The hidden states before the block that is pruned next, for every batch of tokens.

    windows: (windows, length) int64. `hidden` holds one tensor for each batch. It may be empty, or as an earlier
    process left it. `wrapped` says whether blocks return a tuple. Raises EggsError for a model whose blocks do not
    follow each other, so that it cannot be pruned block by block.
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
        missing = not self.hidden
        self._arguments: list[list[Arguments | None]] = []  # by batch, by block; None where the block is left out
        self._carried: list[tuple[Any, ...]] = [() for _ in self.batches]  # what the block before returned beside
        self._recorder = recorder = Recorder(model, blocks)
        for batch in self.batches:
            first, arguments = recorder.record(batch)
            if missing:
                self.hidden.append(first)
            known = self._arguments[0] if self._arguments else arguments
            self._arguments.append(known if same_calls(known, arguments) else arguments)
        self.wrapped = recorder.wrapped

    def shared(self) -> bool:
        """Do all batches give their blocks the same arguments beside the hidden states?"""
        first = self._arguments[0]
        same = all(arguments is first for arguments in self._arguments)
        if not same or any(one is None or carries(one) for one in first):
            return False
        other, windows = self.batches[0], self.batches[0].shape[0]
        found = self._recorder.record(other.flip(1) if windows == 1 else other.flip(0, 1))[1]
        return same_calls(first, found)  # whatever the tokens are

    def runs(self, number: int) -> bool:
        """Does text pass block `number` at all?"""
        return self._arguments[0][number] is not None

    def calls(self, number: int) -> Calls:
        """How block `number` is called, batch by batch."""
        found = zip(self._arguments, self._carried, strict=True)
        return Calls(self.hidden, [filled(arguments[number], carried) for arguments, carried in found])

    def gather(self, layers: list[LinearLayer], number: int, block: nn.Module, need_gram: bool) -> Statistics:
        """Statistics of every layer's input over all batches; layers that share an input share its statistics."""
        return _gather(block, layers, self.calls(number), need_gram)

    def advance(self, number: int, block: nn.Module, known: KnownOutputs | None = None) -> None:
        """Go on to the next block, through this one as it is now; `known` outputs are not computed again."""
        if not self.runs(number):
            return
        for i, (batch, arguments) in enumerate(self.calls(number)):
            with known.batch(i) if known else nullcontext():
                self.hidden[i], *carried = run_whole(block, batch, arguments)
            self._carried[i] = tuple(carried)


def _add_gram(gram: torch.Tensor, x: torch.Tensor) -> None:
    """Add xᵀ x, (in, in), of which only what lies on and above the diagonal's blocks is computed."""
    width = len(gram)
    for start in range(0, width, GRAM_BLOCK):
        block = slice(start, min(start + GRAM_BLOCK, width))
        gram[block, start:].addmm_(x[:, block].T, x[:, start:])
        gram[block.stop :, block] = gram[block, block.stop :].T


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


def _gather(block: nn.Module, layers: list[LinearLayer], calls: Calls, need_gram: bool) -> Statistics:
    """Statistics of every layer's input over all batches; layers that share an input share its statistics."""
    statistics: Statistics = {}
    tokens = 0
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
        for hidden, arguments in calls:
            run_block(block, hidden, arguments)
            tokens += len(flat(hidden))
            seen.clear()
    for one in statistics.values():
        one.offered = tokens
    return statistics
