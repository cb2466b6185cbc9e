"""How a model calls its decoder blocks, recorded without computing them; and calling one alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from eggs_core.errors import EggsError
from eggs_core.heavy import nn, no_grad, torch

if TYPE_CHECKING:  # it takes transformers seconds to import its models
    from transformers import PreTrainedModel

Arguments = tuple[tuple[Any, ...], dict[str, Any]]  # of a block beside its hidden states, by place and by name


@dataclass(frozen=True, slots=True)
class Carried:
    """Stands for an argument that the block before returned beside its hidden states, at this place."""

    place: int


class StopForward(Exception):
    """Ends a forward pass as soon as what is asked for is known."""


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

    @no_grad
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


def filled(arguments: Arguments | None, carried: tuple[Any, ...]) -> Arguments:
    """The arguments, with what the block before returned where it belongs."""
    assert arguments is not None, "no text passes this block"

    def fill(value: object) -> object:
        return carried[value.place - 1] if isinstance(value, Carried) else value

    return tuple(map(fill, arguments[0])), {name: fill(value) for name, value in arguments[1].items()}


def carries(arguments: Arguments) -> bool:
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


def same_calls(known: list[Arguments | None], arguments: list[Arguments | None]) -> bool:
    """Do all blocks get the same?"""

    def same(one: Arguments | None, other: Arguments | None) -> bool:
        if one is None or other is None:
            return one is other
        named = one[1].keys() == other[1].keys() and all(_equal(one[1][n], other[1][n]) for n in one[1])
        return named and _equal(one[0], other[0])

    return all(map(same, known, arguments))


@no_grad
def run_whole(block: nn.Module, hidden: torch.Tensor, arguments: Arguments) -> tuple[Any, ...]:
    """All that a block returns, its hidden states first, without gradients."""
    args, kwargs = arguments
    output = block(hidden, *args, **kwargs)
    return tuple(output) if isinstance(output, tuple | list) else (output,)


@no_grad
def run_block(block: nn.Module, hidden: torch.Tensor, arguments: Arguments) -> torch.Tensor:
    """A block's hidden states after it, without gradients."""
    return block_output(block, hidden, arguments)


def block_output(block: nn.Module, hidden: torch.Tensor, arguments: Arguments) -> torch.Tensor:
    """A block's hidden states after it."""
    args, kwargs = arguments
    output = block(hidden, *args, **kwargs)
    return output[0] if isinstance(output, tuple | list) else output
