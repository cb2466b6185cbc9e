"""Stage by stage through a block: each layer is re-fitted so that it makes up for those pruned before it.

A stage is all layers that read one input: q, k and v; the attention's output; gate and up; down. Its statistics come
from the block with its earlier stages pruned. Its target comes from the block as it was, on the same hidden states: the
output that the layer had then. The last layer's target also holds the residual gap, which is what the residual stream
lacks by now. Queries, keys and values, the first stage, are fitted to what matters for the block's output. The other
stages gain nothing by that (measured on tiny-llama).
"""

import copy
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace

import torch
from torch import nn

from eggs_core.models.architectures import LinearLayer, block_layers
from eggs_core.models.hooks import InputHook, OutputHook, hooked
from eggs_core.pruning.activations import (
    Activations,
    Arguments,
    InputStatistics,
    Statistics,
    StopForward,
    flat,
    run_block,
)
from eggs_core.pruning.sensitivity import sensitivities

WIDEST = 4096  # outputs of a layer whose sensitivity is used: what it costs grows with their cube
SAME = 1e-3  # relative difference below which two activations count as the same

Side = tuple[nn.Module, LinearLayer]  # a block, as it is or as it was, and one of its layers


def stages(
    activations: Activations, path: str, number: int, block: nn.Module
) -> Iterator[tuple[list[LinearLayer], Statistics]]:
    """The stages of a block as lists of layers, each with its input's statistics once those before it were pruned."""
    hidden, arguments = activations.hidden, activations.arguments[number]
    before = copy.deepcopy(block)
    named, twins = ({layer.name: layer for layer in block_layers(path, number, b)} for b in (block, before))
    last = _last_write(before, list(twins.values()), hidden[0], arguments)
    names_of_stages = _stages(before, list(twins.values()), hidden[0], arguments)
    weighed = [twins[name] for name in names_of_stages[0] if twins[name].shape[0] <= WIDEST]
    sensitivity = sensitivities(before, weighed, hidden, arguments)
    for names in names_of_stages:
        pair = (block, named[names[0]]), (before, twins[names[0]])
        statistics = _gather_stage(*pair, hidden, arguments, last in names)
        found = {name: replace(statistics, sensitivity=sensitivity.get(name)) for name in names} if statistics else {}
        yield [named[name] for name in names], found


def _gather_stage(
    pruned: Side, before: Side, batches: Iterable[torch.Tensor], arguments: Arguments, whole: bool
) -> InputStatistics | None:
    """Statistics of one stage's input, in the block as it is and as it was; None if no token reached it."""
    found: InputStatistics | None = None
    aligned = True
    for hidden in batches:
        (x, rest), (y, dense_rest) = (_input(*side, hidden, arguments, whole) for side in (pruned, before))
        if x is None:
            continue
        found = found or InputStatistics.empty(x.shape[-1], x.device, True)
        # A router may send other tokens to an expert than before. Then the expert's own output is the target.
        aligned &= y is not None and x.shape == y.shape and len(flat(x)) == len(flat(hidden))
        dense = residual_gap = None
        if aligned and y is not None:
            dense = flat(y)
            if rest is not None and dense_rest is not None:
                residual_gap = flat(dense_rest - rest)
        found.update(flat(x), dense, residual_gap)
    if found is not None and not aligned:
        found.cross = found.residual_cross = found.dense_sample = found.residual_gap_sample = None
    return found


@torch.no_grad()
def _input(
    block: nn.Module, layer: LinearLayer, hidden: torch.Tensor, arguments: Arguments, whole: bool
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """A layer's input, None if no token reaches it; and if `whole`, the block's output without the layer's own."""
    found: list[torch.Tensor] = []
    own: list[torch.Tensor] = []

    def before(_module: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        found.append(args[0])
        if not whole:
            raise StopForward

    def after(_module: nn.Module, _args: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        own.append(output.clone())

    hooks = [layer.module.register_forward_pre_hook(before), layer.module.register_forward_hook(after)]
    with hooked(hooks), suppress(StopForward):
        output = run_block(block, hidden, arguments)
    if not found or not whole:
        return (found[0] if found else None), None
    return found[0], output - own[0].view_as(output)


@torch.no_grad()
def _stages(block: nn.Module, layers: list[LinearLayer], hidden: torch.Tensor, arguments: Arguments) -> list[list[str]]:
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
    stages = [names for _, names in calls]
    called = {name for names in stages for name in names}
    return stages + [[layer.name] for layer in layers if layer.name not in called]


@torch.no_grad()
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
