"""The layers that a rotation turns: their weights, what calibration tells of them, and what the pattern would drop."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from eggs_core.heavy import nn, torch
from eggs_core.masks.selection import topn
from eggs_core.models.architectures import LinearLayer
from eggs_core.models.hooks import InputHook, OutputHook, frozen, hooked
from eggs_core.models.residual_stream import BlockStream, Stream, Values
from eggs_core.pattern import NMPattern
from eggs_core.progress import Progress
from eggs_core.pruning.activations import flat

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle

BATCH = 1024  # tokens that go through the model together, there and back


@dataclass(slots=True)
class Turn:
    """Where the rotations are: residual (width, width), values (blocks, heads, head width, head width) or None."""

    residual: torch.Tensor
    values: torch.Tensor | None = None
    known: dict[int, torch.Tensor] = field(default_factory=dict)  # mean squares of inputs, by their identity


@dataclass(slots=True, eq=False)
class Inputs:
    """The inputs of layers that share them: how they turn, with the residual stream, with a block's values, or not.

    gram: the sum of x xᵀ over the inputs x, (in, in); of values head by head, (heads × shared, head width, head width);
    of inputs that do not turn its diagonal, (in,).
    """

    values: Values | None = None
    of_stream: bool = False
    block: int = 0
    gram: torch.Tensor | None = None

    def add(self, x: torch.Tensor) -> None:
        """Add inputs, (tokens, in) fp32, to the gram."""
        if self.of_stream:
            product = x.T @ x
        elif self.values is not None:
            by_head = x.view(len(x), -1, self.values.width).transpose(0, 1)  # (heads × shared, tokens, head width)
            product = by_head.mT @ by_head
        else:
            product = x.square().sum(0)
        self.gram = product if self.gram is None else self.gram.add_(product)

    def squares(self, turn: Turn) -> torch.Tensor:
        """The sum of squares of each turned input, (in,)."""
        assert self.gram is not None
        if id(self) not in turn.known:
            turn.known[id(self)] = self._squares(self.gram, turn)
        return turn.known[id(self)]

    def _squares(self, gram: torch.Tensor, turn: Turn) -> torch.Tensor:
        if self.of_stream:
            return (turn.residual * (gram @ turn.residual)).sum(0)
        if self.values is None or turn.values is None:
            return gram
        rotations = turn.values[self.block].repeat_interleave(self.values.shared, 0)
        return (rotations * (gram @ rotations)).sum(1).flatten()


@dataclass(slots=True)
class RotatedLayer:
    """One layer that will be pruned, its weight fp32 (out, in), what it reads, and how its outputs turn.

    `sensitivity` sums the squared gradient of the loss at its outputs over calibration tokens.
    """

    layer: LinearLayer
    pattern: NMPattern
    inputs: Inputs
    weight: torch.Tensor
    values: Values | None = None  # that it computes
    to_stream: bool = False
    sensitivity: float = 0.0

    def turned(self, turn: Turn, part: int, generator: torch.Generator) -> torch.Tensor:
        """One of `part` rows of the turned weight, drawn at random, (about out / part, in)."""
        weight = self.weight
        some = _some(self.values.width if self.values else len(weight), part, generator, weight.device)
        if self.to_stream:
            weight = turn.residual[:, some].T @ weight
        elif self.values is not None and turn.values is not None:  # the same rows of each head
            weight = self.values.computed(weight, turn.values[self.layer.block][:, :, some])
        else:
            weight = weight[some]
        if self.inputs.of_stream:
            return weight @ turn.residual
        if self.inputs.values is not None and turn.values is not None:
            return self.inputs.values.read(weight, turn.values[self.layer.block])
        return weight

    def importance(self, turn: Turn, part: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Σ w² h of the weights that the pattern drops, and of all, over all rows as one of `part` rows tells it.

        h are the sums of squares of the inputs.
        """
        importance = self.turned(turn, part, generator).square() * self.inputs.squares(turn)
        kept = topn(importance.detach(), self.pattern)
        rows = len(self.weight) / len(importance)
        return rows * importance.masked_fill(kept, 0).sum(), rows * importance.sum()


def _some(count: int, part: int, generator: torch.Generator, device: torch.device) -> torch.Tensor:
    """The numbers of one of `part` things, at random, at least one."""
    return torch.randperm(count, generator=generator)[: max(1, count // part)].to(device)


def rotated_layers(stream: Stream, patterns: Mapping[str, NMPattern]) -> list[RotatedLayer]:
    """The layers of a model without gains that will be pruned by `patterns`, before anything is gathered."""
    turning = all(block.values is not None for block in stream.blocks)
    blocks = ((block, block.values if turning else None) for block in stream.blocks)
    return [one for block, values in blocks for one in _of_block(block, values, patterns)]


def _of_block(block: BlockStream, values: Values | None, patterns: Mapping[str, NMPattern]) -> Iterator[RotatedLayer]:
    def made(layer: LinearLayer, inputs: Inputs, **options: Any) -> Iterator[RotatedLayer]:
        if layer.name in patterns:
            yield RotatedLayer(layer, patterns[layer.name], inputs, layer.weight(), **options)

    for _, layers in block.reads:
        inputs = Inputs(of_stream=True)
        for layer in layers:
            yield from made(layer, inputs, values=values if values and layer.name == values.computes.name else None)
    for layer in block.writes:
        read = values if values and layer.name == values.reads.name else None
        yield from made(layer, Inputs(read, block=layer.block), to_stream=True)


def gather(stream: Stream, layers: list[RotatedLayer], windows: torch.Tensor) -> Generator[Progress, None, None]:
    """Fill in grams and sensitivities from calibration windows, (windows, length) int64, yielding progress.

    The loss is the cross entropy of the next token. Parameters take no gradients.
    """
    batches = windows.split(max(1, BATCH // windows.shape[1]))
    for number, batch in enumerate(batches):
        with frozen(stream.model), hooked(_hooks(stream, layers)), torch.enable_grad():
            batch = batch.to(stream.model.device)
            logits = stream.model(input_ids=batch, use_cache=False).logits[:, :-1].flatten(0, 1)
            nn.functional.cross_entropy(logits.float(), batch[:, 1:].flatten(), reduction="sum").backward()
        yield Progress("Looking at how much each layer matters to the loss", (number + 1) / len(batches))


def _hooks(stream: Stream, layers: list[RotatedLayer]) -> Iterator[RemovableHandle]:
    """What sees the inputs of layers, once where they share them, and the gradients at their outputs."""

    def reads(inputs: Inputs) -> InputHook:
        return lambda _module, args: inputs.add(flat(args[0]).detach().float())

    def writes(one: RotatedLayer) -> OutputHook:
        def add(gradient: torch.Tensor) -> None:
            one.sensitivity += gradient.float().square().sum().item()

        def hook(_module: nn.Module, _args: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            output.register_hook(add)

        return hook

    # Where no parameter takes gradients, those of the first hidden states let all others have one.
    table = stream.model.get_input_embeddings()
    yield table.register_forward_hook(lambda _module, _args, output: output.detach().requires_grad_())
    seen: set[int] = set()
    for one in layers:
        yield one.layer.module.register_forward_hook(writes(one))
        if id(one.inputs) not in seen:
            seen.add(id(one.inputs))
            yield one.layer.module.register_forward_pre_hook(reads(one.inputs))
