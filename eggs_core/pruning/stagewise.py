"""Stage by stage through a block: each layer is re-fitted so that it makes up for those pruned before it.

A stage is all layers that read one input: q, k and v; the attention's output; gate and up; down. Its statistics come
from the block with its earlier stages pruned. Its target comes from the block as it was, on the same hidden states: the
output that the layer had then. The last layer's target also holds the residual gap, which is what the residual stream
lacks by now. Queries, keys and values, the first stage, are fitted to what matters for the block's output. The other
stages gain nothing by that (measured on tiny-llama).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

from eggs_core.heavy import nn, no_grad, torch
from eggs_core.models.architectures import LinearLayer
from eggs_core.models.hooks import InputHook, hooked
from eggs_core.pruning.activations import (
    MOST_GRAM_BYTES,
    Activations,
    Calls,
    InputStatistics,
    Statistics,
    flat,
)
from eggs_core.pruning.block_calls import Arguments, StopForward, run_block
from eggs_core.pruning.block_order import order_of
from eggs_core.pruning.known_outputs import KnownOutputs
from eggs_core.pruning.sensitivity import sensitivities

if TYPE_CHECKING:
    from eggs_core.models.architectures import Linear

WIDEST = 4096  # outputs of a layer whose sensitivity is used: what it costs grows with their cube

Twins = list[tuple[LinearLayer, LinearLayer]]  # layers of a block as it is, each with itself as it was


def stages(
    activations: Activations,
    layers: list[LinearLayer],
    number: int,
    block: nn.Module,
    known: KnownOutputs | None = None,
) -> Iterator[tuple[list[LinearLayer], Statistics]]:
    """The stages of a block's layers, each with its input's statistics once those before it were pruned.

    Layers that are yielded change until the next are asked for, and no more. `known` then keeps their outputs.
    """
    calls = activations.calls(number)
    before = copy.deepcopy(block)
    changing = [layer.projection for layer in layers]
    outputs = known or KnownOutputs(block, changing, 0), KnownOutputs(before, changing, known.room if known else 0)
    named = {layer.name: layer for layer in layers}
    twins = {n: replace(x, module=cast("Linear", before.get_submodule(x.projection))) for n, x in named.items()}
    order = order_of(before, list(twins.values()), *calls.first)
    for one in outputs:
        one.ends = order.ends
    weighed = [twins[name] for name in order.inputs[0] if twins[name].shape[0] <= WIDEST]
    sensitivity = sensitivities(before, weighed, calls)
    sides = _Side(block, outputs[0]), _Side(before, outputs[1])
    found: Statistics = {}
    for stage in _stages(order.inputs, named):
        pairs = [(named[names[0]], twins[names[0]]) for names in stage]
        last = next((twins[names[0]] for names in stage if names == [order.last]), None)
        gathered = _gather_stage(sides, pairs, calls, last, changed=bool(found))
        found = {
            name: replace(statistics, sensitivity=sensitivity.get(name))
            for names, statistics in zip(stage, gathered, strict=True)
            for name in names
            if statistics is not None
        }
        yield [named[name] for names in stage for name in names], found
        for one in outputs:
            one.settle(named[name].projection for names in stage for name in names)


def _stages(inputs: list[list[str]], named: dict[str, LinearLayer]) -> Iterator[list[list[str]]]:
    """Inputs that are gathered together: one, or those of experts side by side, as many as fit into MOST_GRAM_BYTES."""
    ordered: dict[object, list[list[str]]] = {}
    for names in inputs:
        ordered.setdefault(named[names[0]].mixture or names[0], []).append(names)
    for stage in ordered.values():
        together = max(1, MOST_GRAM_BYTES // (8 * named[stage[0][0]].shape[1] ** 2))
        yield from (stage[start : start + together] for start in range(0, len(stage), together))


@dataclass(frozen=True, slots=True)
class _Side:
    """The block as it is or as it was."""

    block: nn.Module
    outputs: KnownOutputs

    def inputs(
        self, layers: list[LinearLayer], number: int, batch: tuple[torch.Tensor, Arguments], last: LinearLayer | None
    ) -> tuple[list[torch.Tensor | None], torch.Tensor | None]:
        """Each layer's input, None if no token reaches it; and the block's output but for what `last` adds to it."""
        with self.outputs.batch(number, last):
            inputs, rest = _inputs(self.block, layers, *batch, last is not None)
        if len(layers) == 1:
            self.outputs.enter(layers[0].projection, number, inputs[0])
        return inputs, rest


def _gather_stage(
    sides: tuple[_Side, _Side], pairs: Twins, calls: Calls, last: LinearLayer | None, changed: bool
) -> list[InputStatistics | None]:
    """Statistics of each layer's input, in the block as it is and as it was; None if no token reached it.

    last: the layer of this stage, as it was, that writes to the residual stream at the block's end. changed: was a
    stage pruned before?
    """
    found: list[InputStatistics | None] = [None] * len(pairs)
    aligned = [True] * len(pairs)
    (now, then), weight = zip(*pairs, strict=True), None if last is None else last.weight()
    tokens = 0
    for number, batch in enumerate(calls):
        inputs, rest = sides[0].inputs(list(now), number, batch, last)
        dense_inputs, dense_rest = sides[1].inputs(list(then), number, batch, last) if changed else (inputs, rest)
        offered = len(flat(batch[0]))
        tokens += offered
        for i, (x, y) in enumerate(zip(inputs, dense_inputs, strict=True)):
            if x is None:
                continue
            one = found[i] = found[i] or InputStatistics.empty(x.shape[-1], x.device, True)
            # A router may send other tokens to an expert than before. Then the expert's own output is the target.
            aligned[i] &= y is not None and x.shape == y.shape and len(flat(x)) == offered
            dense = flat(y) if changed and aligned[i] and y is not None else None
            if dense is None or weight is None or then[i] is not last or rest is None or dense_rest is None:
                one.update(flat(x), dense)
            else:  # it makes up for the residual gap too, which is what the residual stream lacks by now
                one.update(flat(x), wanted=dense.float() @ weight.T + flat(dense_rest - rest).float())
    for gathered, fits in zip(found, aligned, strict=True):
        if gathered is not None:
            gathered.offered = tokens
        if gathered is not None and not fits:
            gathered.cross = gathered.wanted = gathered.dense_sample = gathered.wanted_sample = None
    return found


@no_grad
def _inputs(
    block: nn.Module, layers: list[LinearLayer], hidden: torch.Tensor, arguments: Arguments, whole: bool
) -> tuple[list[torch.Tensor | None], torch.Tensor | None]:
    """Each layer's input, None if no token reaches it, and if `whole`, the block's output."""
    found: list[torch.Tensor | None] = [None] * len(layers)
    stop = len(layers) == 1 and not whole

    def hook_for(place: int) -> InputHook:
        def before(_module: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
            found[place] = args[0]
            if stop:
                raise StopForward

        return before

    hooks = (layer.module.register_forward_pre_hook(hook_for(i)) for i, layer in enumerate(layers))
    with hooked(hooks), suppress(StopForward):
        output = run_block(block, hidden, arguments)
    return found, output if whole else None
