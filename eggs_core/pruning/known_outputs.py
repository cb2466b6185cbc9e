"""What a block has computed already: outputs of layers that change no more are kept, so that each is computed once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from eggs_core.heavy import nn, torch
from eggs_core.models.architectures import is_linear
from eggs_core.pruning.block_calls import replaced

MOST_BYTES = 1 << 29  # of a block's outputs; what finds no room is computed again
CHANGED = ""  # counts calls of layers that still change


class KnownOutputs:
    """The outputs of a block's settled layers, and of its children that hold no others, for each batch of tokens.

    Nothing is kept that a layer still to change was called before, so what is given back is to the bit what would be
    computed again. `changing` are the layers that are not settled yet, as the block names them.
    """

    def __init__(self, block: nn.Module, changing: Iterable[str], most_bytes: int = MOST_BYTES) -> None:
        self._linear = {name: module for name, module in block.named_modules() if is_linear(module)}
        self._children = dict(block.named_children())
        self._changing = set(changing)
        self._outputs: dict[tuple[str, int], list[Any]] = {}  # by module and batch; an output for each call
        self.room = most_bytes

    def settle(self, names: Iterable[str]) -> None:
        """These layers, as the block names them, change no more."""
        self._changing.difference_update(names)

    @contextmanager
    def batch(self, number: int) -> Iterator[None]:
        """While the block computes this batch, from its begin, what is known of it is not computed again."""
        calls: Counter[str] = Counter()
        modules = dict(self._linear)
        for name, child in self._children.items():
            inside = {one for one in self._linear if one == name or one.startswith(f"{name}.")}
            if inside and not inside & self._changing:
                modules[name] = child
        stand_ins = [partial(self._output, name, number, calls, m.forward) for name, m in modules.items()]
        with replaced(modules.values(), stand_ins):
            yield

    def _output(
        self, name: str, number: int, calls: Counter[str], own: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Any:
        if name in self._changing:
            calls[CHANGED] += 1
            return own(*args, **kwargs)
        known, call = self._outputs.setdefault((name, number), []), calls[name]
        calls[name] += 1
        if call < len(known):
            return _copied(known[call])
        output = own(*args, **kwargs)
        if call == len(known) and not calls[CHANGED] and (size := _bytes(output)) is not None and size <= self.room:
            self.room -= size
            known.append(_copied(output))
            if name not in self._linear:  # what is inside is not asked for again
                for key in [key for key in self._outputs if key[1] == number and key[0].startswith(f"{name}.")]:
                    self.room += sum(_bytes(one) or 0 for one in self._outputs.pop(key))
        return output


def _bytes(output: Any) -> int | None:
    """Bytes of a tensor, or of a tuple of tensors and None; None for anything else."""
    if output is None:
        return 0
    if isinstance(output, torch.Tensor):
        return output.nbytes
    sizes = [_bytes(one) for one in output] if type(output) is tuple else [None]
    return None if None in sizes else sum(size or 0 for size in sizes)


def _copied(output: Any) -> Any:
    """The same in memory of its own: a block may add to what a layer returned."""
    if isinstance(output, torch.Tensor):
        return output.clone()
    return tuple(map(_copied, output)) if isinstance(output, tuple) else output
