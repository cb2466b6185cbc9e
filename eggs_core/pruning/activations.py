"""Calibration tokens on their way through the model: hidden states before each block, statistics of layers' inputs."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from eggs_core.errors import EggsError
from eggs_core.models.architectures import LinearLayer
from eggs_core.models.hooks import InputHook, hooked
from eggs_core.pruning.activation_store import Batches

if TYPE_CHECKING:  # it takes transformers seconds to import its models
    from transformers import PreTrainedModel

TOKENS_PER_BATCH = 4096
MOST_GRAM_BYTES = 1 << 30  # of grams that are gathered at once, where a block has experts
SAMPLE_TOKENS = 512  # inputs kept per layer to measure the error of its output
Arguments = tuple[tuple[Any, ...], dict[str, Any]]  # of a block beside its hidden states, by place and by name


@dataclass(frozen=True, slots=True)
class Carried:
    """Stands for an argument that the block before returned beside its hidden states, at this place."""

    place: int


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
    offered: int = 0  # tokens that went through the block, of which a router may have sent some here
    cross: torch.Tensor | None = None  # (in, in)
    residual_cross: torch.Tensor | None = None  # (out, in)
    dense_sample: torch.Tensor | None = None  # as sample, of the block as it was
    residual_gap_sample: torch.Tensor | None = None  # (at most SAMPLE_TOKENS, out)
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
            self._arguments.append(known if _same(known, arguments) else arguments)
        self.wrapped = recorder.wrapped

    def shared(self) -> bool:
        """Do all batches give their blocks the same arguments beside the hidden states?"""
        first = self._arguments[0]
        same = all(arguments is first for arguments in self._arguments)
        if not same or any(one is None or _carries(one) for one in first):
            return False
        other, windows = self.batches[0], self.batches[0].shape[0]
        found = self._recorder.record(other.flip(1) if windows == 1 else other.flip(0, 1))[1]
        return _same(first, found)  # whatever the tokens are

    def runs(self, number: int) -> bool:
        """Does text pass block `number` at all?"""
        return self._arguments[0][number] is not None

    def calls(self, number: int) -> Calls:
        """How block `number` is called, batch by batch."""
        found = zip(self._arguments, self._carried, strict=True)
        return Calls(self.hidden, [_filled(arguments[number], carried) for arguments, carried in found])

    def gather(self, layers: list[LinearLayer], number: int, block: nn.Module, need_gram: bool) -> Statistics:
        """Statistics of every layer's input over all batches; layers that share an input share its statistics."""
        return _gather(block, layers, self.calls(number), need_gram)

    def advance(self, number: int, block: nn.Module) -> None:
        """Go on to the next block, through this one as it is now."""
        if not self.runs(number):
            return
        for i, (batch, arguments) in enumerate(self.calls(number)):
            self.hidden[i], *carried = run_whole(block, batch, arguments)
            self._carried[i] = tuple(carried)


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
def replaced(blocks: Iterable[nn.Module], forwards: Iterable[Callable[..., object]]) -> Iterator[None]:
    """Let a function stand in for each of these blocks' own computation."""
    before = [(block, block.__dict__.get("forward")) for block in blocks]
    for (block, _), forward in zip(before, forwards, strict=False):
        block.forward = forward
    try:
        yield
    finally:
        for block, own in before:
            del block.forward
            if own is not None:
                block.forward = own


def input_device(model: PreTrainedModel) -> torch.device:
    """Where the model takes its tokens."""
    return model.get_input_embeddings().get_parameter("weight").device


class Recorder:
    """Records how a model calls its blocks. Only the first block computes, once, to tell what blocks return.

    All others hand on what they are given. What reaches a block must be what the one before it returned: else the model
    does more between its blocks than to call them, and block by block would be another model.
    """

    def __init__(self, model: PreTrainedModel, blocks: nn.ModuleList) -> None:
        self._model, self._blocks = model, blocks
        self._sample: object = None  # what the first block returned
        self._calls: list[Arguments | None] = []
        self._given: list[torch.Tensor] = []
        self._returned: tuple[Any, ...] = ()

    @property
    def wrapped(self) -> bool:
        """Do blocks return a tuple?"""
        return isinstance(self._sample, tuple)

    @torch.no_grad()
    def record(self, batch: torch.Tensor) -> tuple[torch.Tensor, list[Arguments | None]]:
        """The first block's hidden states, and every block's other arguments, for tokens (windows, length)."""
        self._calls, self._given, self._returned = [None] * len(self._blocks), [], ()
        stand_ins = [partial(self._stand_in, number, block.forward) for number, block in enumerate(self._blocks)]
        head = self._model.get_output_embeddings().register_forward_pre_hook(_stop)
        with head, replaced(self._blocks, stand_ins), suppress(StopForward):
            self._model(input_ids=batch.to(input_device(self._model)), use_cache=False)
        if not self._given:
            raise self._refusal("runs none of its blocks")
        return self._given[0], self._calls

    def _stand_in(self, number: int, own: Callable[..., object], *args: Any, **kwargs: Any) -> object:
        if any(self._calls[number:]):
            raise self._refusal("runs its blocks in another order, or more than once")
        hidden, arguments = _separated(args, kwargs)
        if self._returned and not _equal(hidden, self._returned[0]):
            raise self._refusal("works on the hidden states between its blocks")
        self._calls[number] = _linked(arguments, self._returned)
        self._given.append(hidden)
        if self._sample is None:
            self._sample = own(*args, **kwargs)
        if not isinstance(self._sample, tuple | list):
            self._returned = (hidden,)
            return hidden
        self._returned = (hidden, *(x.clone() if isinstance(x, torch.Tensor) else x for x in self._sample[1:]))
        kind = type(self._sample)
        return kind._make(self._returned) if hasattr(kind, "_make") else kind(self._returned)  # a named tuple or not

    def _refusal(self, what: str) -> EggsError:
        return EggsError(
            f"The architecture {self._model.config.model_type!r} {what}: it cannot be pruned block by block."
        )


def _stop(_module: nn.Module, _args: tuple[Any, ...]) -> None:
    raise StopForward


def _linked(arguments: Arguments, returned: tuple[Any, ...]) -> Arguments:
    """The arguments, with those that are tensors which the block before returned as what stands for them."""

    def link(value: object) -> object:
        places = [i for i, one in enumerate(returned) if i and one is value and isinstance(value, torch.Tensor)]
        return Carried(places[0]) if places else value

    return tuple(map(link, arguments[0])), {name: link(value) for name, value in arguments[1].items()}


def _filled(arguments: Arguments | None, carried: tuple[Any, ...]) -> Arguments:
    """The arguments, with what the block before returned where it belongs."""
    assert arguments is not None, "no text passes this block"

    def fill(value: object) -> object:
        return carried[value.place - 1] if isinstance(value, Carried) else value

    return tuple(map(fill, arguments[0])), {name: fill(value) for name, value in arguments[1].items()}


def _carries(arguments: Arguments) -> bool:
    return any(isinstance(value, Carried) for value in (*arguments[0], *arguments[1].values()))


def _separated(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[torch.Tensor, Arguments]:
    """The hidden states that a block is given, and its other arguments."""
    if args:
        return args[0], (args[1:], kwargs)
    return kwargs["hidden_states"], ((), {name: value for name, value in kwargs.items() if name != "hidden_states"})


def _equal(a: object, b: object) -> bool:
    """Are two arguments the same for a block? Containers that it may write into are so only if they are one object."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return a is b or (a.shape == b.shape and a.dtype == b.dtype and torch.equal(a, b))
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(map(_equal, a, b))
    return a is b or (isinstance(a, bool | int | float | str | Carried) and a == b)


def _same(known: list[Arguments | None], arguments: list[Arguments | None]) -> bool:
    """Do all blocks get the same?"""

    def same(one: Arguments | None, other: Arguments | None) -> bool:
        if one is None or other is None:
            return one is other
        named = one[1].keys() == other[1].keys() and all(_equal(one[1][n], other[1][n]) for n in one[1])
        return named and _equal(one[0], other[0])

    return all(map(same, known, arguments))


@torch.no_grad()
def run_whole(block: nn.Module, hidden: torch.Tensor, arguments: Arguments) -> tuple[Any, ...]:
    """All that a block returns, its hidden states first, without gradients."""
    args, kwargs = arguments
    output = block(hidden, *args, **kwargs)
    return tuple(output) if isinstance(output, tuple | list) else (output,)


@torch.no_grad()
def run_block(block: nn.Module, hidden: torch.Tensor, arguments: Arguments) -> torch.Tensor:
    """A block's hidden states after it, without gradients."""
    return block_output(block, hidden, arguments)


def block_output(block: nn.Module, hidden: torch.Tensor, arguments: Arguments) -> torch.Tensor:
    """A block's hidden states after it."""
    args, kwargs = arguments
    output = block(hidden, *args, **kwargs)
    return output[0] if isinstance(output, tuple | list) else output


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
