"""Calibration tokens on their way through the model: hidden states before each block, statistics of layers' inputs."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedModel

from eggs_core.adapters import LinearLayer, block_layers

TOKENS_PER_BATCH = 4096
SAMPLE_TOKENS = 512  # inputs kept per layer to measure the error of its output
SAME = 1e-3  # relative difference below which two activations count as the same


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


class _Reached(Exception):
    """Ends a forward pass as soon as what is asked for is known."""


class Activations:
    """The hidden states before the block that is pruned next, for every batch of calibration tokens.

    windows: (windows, length) int64. In the first `stagewise` blocks each stage is gathered after those before it have
    been pruned, and its target is what the block as it was computes there from the same hidden states.
    """

    def __init__(self, model: PreTrainedModel, blocks: nn.ModuleList, windows: torch.Tensor, stagewise: int = 0):
        self.hidden, self._arguments = _capture(model, blocks, _batches(windows))
        self._stagewise = stagewise

    def rounds(self, path: str, number: int, block: nn.Module, need_gram: bool) -> Iterator[tuple[list, Statistics]]:
        """Layers of a block that are pruned together, with their inputs' statistics at that moment."""
        layers, arguments = block_layers(path, number, block), self._arguments[number]
        if number >= self._stagewise:
            yield layers, _gather(block, layers, self.hidden, arguments, need_gram)
            return
        before = copy.deepcopy(block)
        named, twins = ({layer.name: layer for layer in block_layers(path, number, b)} for b in (block, before))
        stages = _stages(before, list(twins.values()), self.hidden[0], arguments)
        last = _last_write(before, list(twins.values()), self.hidden[0], arguments)
        for names in stages:
            pair = (block, named[names[0]]), (before, twins[names[0]])
            statistics = self._gather_stage(*pair, arguments, last in names)
            yield [named[name] for name in names], dict.fromkeys(names, statistics) if statistics else {}

    def _gather_stage(self, pruned, before, arguments, whole: bool) -> InputStatistics | None:
        """Statistics of one stage's input, in the block as it is and as it was; None if no token reached it."""
        found, aligned = None, True
        for hidden in self.hidden:
            (x, rest), (y, wanted) = (_input(*side, hidden, arguments, whole) for side in (pruned, before))
            if x is None:
                continue
            found = found or InputStatistics.empty(x.shape[-1], x.device, True)
            # A router may send other tokens to an expert than before: then its own output is the target.
            aligned &= y is not None and x.shape == y.shape and len(_flat(x)) == len(_flat(hidden))
            lack = _flat(wanted - rest) if whole and aligned else None
            found.update(_flat(x), _flat(y) if aligned else None, lack)
        if found is not None and not aligned:
            found.cross = found.drift = found.dense_sample = found.lack_sample = None
        return found

    def advance(self, number: int, block: nn.Module) -> None:
        """Go on to the next block, through this one as it is now."""
        for i, batch in enumerate(self.hidden):
            self.hidden[i] = _run_block(block, batch, self._arguments[number])


def _add(total: torch.Tensor | None, product: torch.Tensor) -> torch.Tensor:
    return product if total is None else total.add_(product)


def _flat(x: torch.Tensor) -> torch.Tensor:
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
        raise _Reached

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
            except _Reached:
                continue
    finally:
        for handle in handles:
            handle.remove()
    return hidden, arguments


@torch.no_grad()
def _run_block(block: nn.Module, hidden: torch.Tensor, arguments: tuple[tuple, dict]) -> torch.Tensor:
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
            statistics[layer.name].update(_flat(x))
            seen[id(x)] = (x, statistics[layer.name])

        return hook

    handles = [layer.module.register_forward_pre_hook(hook_for(layer)) for layer in layers]
    try:
        for batch in hidden:
            _run_block(block, batch, arguments)
            seen.clear()
    finally:
        for handle in handles:
            handle.remove()
    return statistics


@torch.no_grad()
def _input(
    block, layer: LinearLayer, hidden, arguments, whole: bool
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """A layer's input, None if no token reaches it; and if `whole`, the block's output without the layer's own."""
    found: list[torch.Tensor] = []
    own: list[torch.Tensor] = []

    def before(_module, args):
        found.append(args[0])
        if not whole:
            raise _Reached

    handles = [layer.module.register_forward_pre_hook(before)]
    if whole:
        handles.append(layer.module.register_forward_hook(lambda _module, _args, output: own.append(output.clone())))
    output = None
    try:
        output = _run_block(block, hidden, arguments)
    except _Reached:
        pass
    finally:
        for handle in handles:
            handle.remove()
    if not found or not whole:
        return (found[0] if found else None), None
    return found[0], output - own[0].view_as(output)


@torch.no_grad()
def _stages(block, layers: list[LinearLayer], hidden, arguments) -> list[list[str]]:
    """Names of layers in the order in which the block calls them, those that read the same tensor together."""
    calls: list[tuple[torch.Tensor, list[str]]] = []  # holds the tensors, so that none takes another's identity

    def hook_for(name: str):
        def hook(_module, args):
            same = next((names for x, names in calls if x is args[0]), None)
            if same is None:
                calls.append((args[0], [name]))
            else:
                same.append(name)

        return hook

    handles = [layer.module.register_forward_pre_hook(hook_for(layer.name)) for layer in layers]
    try:
        _run_block(block, hidden, arguments)
    finally:
        for handle in handles:
            handle.remove()
    stages = [names for _, names in calls]
    called = {name for names in stages for name in names}
    return stages + [[layer.name] for layer in layers if layer.name not in called]


@torch.no_grad()
def _last_write(block, layers: list[LinearLayer], hidden, arguments) -> str | None:
    """The name of the layer called last, if its output is added to the residual stream as it is.

    Found by doubling that output and looking at the block's, so that norms behind a layer need no table.
    """
    last: list[LinearLayer] = []
    own: list[torch.Tensor] = []

    def hook_for(layer: LinearLayer):
        def hook(_module, _args, output):
            last[:], own[:] = [layer], [output.clone()]  # blocks may add to it in place

        return hook

    handles = [layer.module.register_forward_hook(hook_for(layer)) for layer in layers]
    try:
        whole = _run_block(block, hidden, arguments)
    finally:
        for handle in handles:
            handle.remove()
    if not last or own[0].numel() != whole.numel():
        return None
    handle = last[0].module.register_forward_hook(lambda _module, _args, output: 2 * output)
    try:
        added = _run_block(block, hidden, arguments) - whole
    finally:
        handle.remove()
    wanted = own[0].view_as(whole)
    return last[0].name if (added - wanted).float().norm() <= SAME * wanted.float().norm() else None
