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
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from eggs_core.heavy import nn, no_grad, torch
from eggs_core.models.architectures import LinearLayer
from eggs_core.models.hooks import InputHook, OutputHook, hooked
from eggs_core.pruning.activations import (
    MOST_GRAM_BYTES,
    Activations,
    Calls,
    InputStatistics,
    Statistics,
    flat,
    run_block,
)
from eggs_core.pruning.block_calls import Arguments, StopForward
from eggs_core.pruning.known_outputs import KnownOutputs
from eggs_core.pruning.sensitivity import sensitivities

if TYPE_CHECKING:
    from eggs_core.models.architectures import Linear

WIDEST = 4096  # outputs of a layer whose sensitivity is used: what it costs grows with their cube
SAME = 1e-3  # relative difference below which two activations count as the same

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
    last = _last_write(before, list(twins.values()), *calls.first)
    inputs = _inputs_in_order(before, list(twins.values()), *calls.first)
    weighed = [twins[name] for name in inputs[0] if twins[name].shape[0] <= WIDEST]
    sensitivity = sensitivities(before, weighed, calls)
    for stage in _stages(inputs, named):
        pairs = [(named[names[0]], twins[names[0]]) for names in stage]
        whole = any(last in names for names in stage)
        found = {
            name: replace(statistics, sensitivity=sensitivity.get(name))
            for names, statistics in zip(stage, _gather_stage(block, before, pairs, calls, whole, outputs), strict=True)
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


def _gather_stage(
    pruned: nn.Module,
    before: nn.Module,
    pairs: Twins,
    calls: Calls,
    whole: bool,
    outputs: tuple[KnownOutputs, KnownOutputs],
) -> list[InputStatistics | None]:
    """Statistics of each layer's input, in the block as it is and as it was; None if no token reached it."""
    found: list[InputStatistics | None] = [None] * len(pairs)
    aligned = [True] * len(pairs)
    now, then = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    tokens = 0
    for number, (hidden, arguments) in enumerate(calls):
        tokens += len(flat(hidden))
        with outputs[0].batch(number):
            inputs, rest = _inputs(pruned, now, hidden, arguments, whole)
        with outputs[1].batch(number):
            dense_inputs, dense_rest = _inputs(before, then, hidden, arguments, whole)
        residual_gap = None if rest is None or dense_rest is None else flat(dense_rest - rest)
        for i, (x, y) in enumerate(zip(inputs, dense_inputs, strict=True)):
            if x is None:
                continue
            one = found[i] = found[i] or InputStatistics.empty(x.shape[-1], x.device, True)
            # A router may send other tokens to an expert than before. Then the expert's own output is the target.
            aligned[i] &= y is not None and x.shape == y.shape and len(flat(x)) == len(flat(hidden))
            fits = aligned[i] and y is not None
            one.update(flat(x), flat(y) if fits and y is not None else None, residual_gap if fits else None)
    for gathered, fits in zip(found, aligned, strict=True):
        if gathered is not None:
            gathered.offered = tokens
        if gathered is not None and not fits:
            gathered.cross = gathered.residual_cross = gathered.dense_sample = gathered.residual_gap_sample = None
    return found


@no_grad
def _inputs(
    block: nn.Module, layers: list[LinearLayer], hidden: torch.Tensor, arguments: Arguments, whole: bool
) -> tuple[list[torch.Tensor | None], torch.Tensor | None]:
    """Each layer's input, None if no token reaches it; and if `whole`, the block's output without the first's own."""
    found: list[torch.Tensor | None] = [None] * len(layers)
    own: list[torch.Tensor] = []
    stop = len(layers) == 1 and not whole

    def hook_for(place: int) -> InputHook:
        def before(_module: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
            found[place] = args[0]
            if stop:
                raise StopForward

        return before

    def after(_module: nn.Module, _args: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        own.append(output.clone())

    hooks = [layer.module.register_forward_pre_hook(hook_for(i)) for i, layer in enumerate(layers)]
    if whole:
        hooks.append(layers[0].module.register_forward_hook(after))
    with hooked(hooks), suppress(StopForward):
        output = run_block(block, hidden, arguments)
    return found, output - own[0].view_as(output) if own else None


@no_grad
def _inputs_in_order(
    block: nn.Module, layers: list[LinearLayer], hidden: torch.Tensor, arguments: Arguments
) -> list[list[str]]:
    """Names of layers in the order in which the block calls them, those that read the same tensor together."""
    calls: list[tuple[torch.Tensor, list[str]]] = []  # holds the tensors, so that none takes another's identity

    def hook_for(name: str) -> InputHook:
        def hook(_module: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
            same = next((names for x, names in calls if x is args[0]), None)
            if same is None:
                calls.append((args[0], [name]))
            else:
                same.append(name)

        return hook

    with hooked(layer.module.register_forward_pre_hook(hook_for(layer.name)) for layer in layers):
        run_block(block, hidden, arguments)
    found = [names for _, names in calls]
    called = {name for names in found for name in names}
    return found + [[layer.name] for layer in layers if layer.name not in called]


@no_grad
def _last_write(block: nn.Module, layers: list[LinearLayer], hidden: torch.Tensor, arguments: Arguments) -> str | None:
    """The name of the layer called last, if its output is added to the residual stream as it is.

    The output is doubled to see whether the block's output grows by just that. So no table of norms is needed.
    """
    last: list[LinearLayer] = []
    own: list[torch.Tensor] = []

    def hook_for(layer: LinearLayer) -> OutputHook:
        def hook(_module: nn.Module, _args: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            last[:], own[:] = [layer], [output.clone()]  # blocks may add to it in place

        return hook

    with hooked(layer.module.register_forward_hook(hook_for(layer)) for layer in layers):
        whole = run_block(block, hidden, arguments)
    if not last or own[0].numel() != whole.numel():
        return None
    with last[0].module.register_forward_hook(lambda _module, _args, output: 2 * output):
        added = run_block(block, hidden, arguments) - whole
    wanted = own[0].view_as(whole)
    return last[0].name if (added - wanted).float().norm() <= SAME * wanted.float().norm() else None
