"""What a block has computed already: outputs of layers that change no more are kept, so that each is computed once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from eggs_core.heavy import nn, torch
from eggs_core.models.architectures import LinearLayer, is_linear
from eggs_core.pruning.block_calls import replaced
from eggs_core.pruning.block_order import End

MOST_BYTES = 1 << 29  # of a block's outputs; what finds no room is computed again
CHANGED = ""  # counts calls of layers that still change

Key = tuple[str, int, int]  # a module as the block names it, a batch, and the call of that module in it


@dataclass(frozen=True, slots=True)
class Kept:
    """A tensor or a tuple of tensors and None, and their versions, which count what was written into them."""

    value: Any
    versions: tuple[int, ...]
    bytes: int

    @classmethod
    def of(cls, value: Any) -> Kept | None:
        """None for anything else."""
        parts = value if type(value) is tuple else (value,)
        if not all(one is None or isinstance(one, torch.Tensor) for one in parts):
            return None
        found = [one for one in parts if one is not None]
        return cls(value, tuple(one._version for one in found), sum(one.nbytes for one in found))

    @property
    def intact(self) -> bool:
        """Was nothing written into it since?"""
        parts = self.value if type(self.value) is tuple else (self.value,)
        return self.versions == tuple(one._version for one in parts if one is not None)


class KnownOutputs:
    """The outputs of a block's settled layers, and of its children that hold no others, for each batch of tokens.

    Nothing is kept that a layer still to change was called before, so what is given back is to the bit what would be
    computed again. `changing` are the layers that are not settled yet, as the block names them. `ends` are those of its
    children, where known: of such a child no more is needed than what its last layer reads.
    """

    def __init__(self, block: nn.Module, changing: Iterable[str], most_bytes: int = MOST_BYTES) -> None:
        self._linear = {name: module for name, module in block.named_modules() if is_linear(module)}
        self._children = dict(block.named_children())
        self._inside = {c: {n for n in self._linear if n == c or n.startswith(f"{c}.")} for c in self._children}
        self._changing = set(changing)
        self._outputs: dict[Key, Kept] = {}
        self._inputs: dict[tuple[str, int], Kept] = {}  # of ends, by batch
        self._written: set[str] = set()  # modules whose outputs the block writes into
        self.ends: Mapping[str, End] = {}
        self.room = most_bytes

    def settle(self, names: Iterable[str]) -> None:
        """These layers, as the block names them, change no more."""
        self._changing.difference_update(names)

    def enter(self, layer: str, number: int, x: torch.Tensor | None) -> None:
        """All layers before this one are settled, and in this batch it reads x, or is not reached."""
        for child in (child for child, end in self.ends.items() if end.layer == layer):
            if (kept := Kept.of(x)) is not None and kept.bytes <= self.room:
                self.room -= kept.bytes
                self._inputs[layer, number] = kept
                self._forget(self._inside[child], number)

    @contextmanager
    def batch(self, number: int, silent: LinearLayer | None = None) -> Iterator[None]:
        """While the block computes this batch, from its begin, what is known of it is not computed again.

        silent: a layer that still changes, which gives zeros meanwhile.
        """
        calls: Counter[str] = Counter()
        modules = self._linear | {n: m for n, m in self._children.items() if not self._inside[n] & self._changing}
        stand_ins = [partial(self._output, name, number, calls, m.forward) for name, m in modules.items()]
        if silent is not None:
            stand_ins[list(modules).index(silent.projection)] = partial(_zeros, silent.shape[0], calls)
        with replaced(modules.values(), stand_ins):
            yield
        for key in [key for key, kept in self._outputs.items() if key[1] == number and not kept.intact]:
            self._spoilt(key)

    def _output(
        self, name: str, number: int, calls: Counter[str], own: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Any:
        if name in self._changing:
            calls[CHANGED] += 1
            return own(*args, **kwargs)
        key = name, number, calls[name]
        calls[name] += 1
        if (known := self._outputs.get(key)) is not None:
            if known.intact:
                return _copied(known.value) if name in self._written else known.value
            self._spoilt(key)
        output = self._from_its_end(name, number) if key[2] == 0 else None
        if output is None:
            output = own(*args, **kwargs)
        if not calls[CHANGED]:
            self._keep(key, output)
        return output

    def _from_its_end(self, name: str, number: int) -> Any:
        """A child's output, by its last layer alone; None if it is not known what that reads."""
        if (end := self.ends.get(name)) is None or (kept := self._inputs.get((end.layer, number))) is None:
            return None
        if not kept.intact:
            return None
        output = self._linear[end.layer](kept.value)
        return output if end.length is None else (output, *[None] * (end.length - 1))

    def _keep(self, key: Key, output: Any) -> None:
        name, number, _ = key
        kept = Kept.of(_copied(output) if name in self._written else output)
        if kept is None or kept.bytes > self.room:
            return
        self.room -= kept.bytes
        self._outputs[key] = kept
        if name not in self._linear:  # what is inside is not asked for again
            self._forget(self._inside.get(name, set()), number)
            if name in self.ends and (x := self._inputs.pop((self.ends[name].layer, number), None)):
                self.room += x.bytes

    def _forget(self, names: set[str], number: int) -> None:
        for key in [key for key in self._outputs if key[0] in names and key[1] == number]:
            self._drop(key)

    def _spoilt(self, key: Key) -> None:
        """The block wrote into this output, so that copies have to be kept and given."""
        self._written.add(key[0])
        self._drop(key)

    def _drop(self, key: Key) -> None:
        self.room += self._outputs.pop(key).bytes


def _zeros(width: int, calls: Counter[str], x: torch.Tensor) -> torch.Tensor:
    calls[CHANGED] += 1
    return x.new_zeros(*x.shape[:-1], width)


def _copied(output: Any) -> Any:
    """The same in memory of its own."""
    if isinstance(output, torch.Tensor):
        return output.clone()
    return tuple(map(_copied, output)) if isinstance(output, tuple) else output
