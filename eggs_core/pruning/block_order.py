"""What a block does with its layers, seen by running it: in which order it calls them, and where their outputs go."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from eggs_core.heavy import nn, no_grad, torch
from eggs_core.models.architectures import LinearLayer
from eggs_core.models.hooks import InputHook, OutputHook, hooked
from eggs_core.pruning.block_calls import Arguments, run_block

SAME = 1e-3  # relative difference below which two activations count as the same


@dataclass(frozen=True, slots=True)
class End:
    """The layer, as the block names it, whose output is all that a child returns: as it is, or first of a tuple."""

    layer: str
    length: int | None  # of the tuple, whose other places hold None


@dataclass(frozen=True, slots=True)
class BlockOrder:
    """Names of layers in the order in which the block calls them, those that read the same tensor together.

    ends: by the block's child. last: the layer called last, if its output is added to the residual stream as it is.
    """

    inputs: list[list[str]]
    ends: dict[str, End]
    last: str | None


@no_grad
def order_of(block: nn.Module, layers: list[LinearLayer], hidden: torch.Tensor, arguments: Arguments) -> BlockOrder:
    """What a block does with these layers, seen on some hidden states (windows, length, hidden)."""
    seen = _Seen(layers)
    with hooked([*seen.hooks(), *seen.child_hooks(block)]):
        whole = run_block(block, hidden, arguments)
    called = {layer.name for layer in seen.calls}
    inputs = [names for _, names in seen.inputs] + [[layer.name] for layer in layers if layer.name not in called]
    ends = {child: end for child, end in seen.ends.items() if seen.calls_of(end.layer) == 1}
    return BlockOrder(inputs, ends, _last_write(block, seen, whole, hidden, arguments))


class _Seen:
    """What hooks see while a block runs."""

    def __init__(self, layers: list[LinearLayer]) -> None:
        self._layers = layers
        self.inputs: list[tuple[torch.Tensor, list[str]]] = []  # holds the tensors, so that none takes another's place
        self.calls: list[LinearLayer] = []
        self.ends: dict[str, End] = {}
        self.own: torch.Tensor | None = None  # a copy of the last call's output, as blocks may add to it in place
        self._output: tuple[torch.Tensor, int] | None = None  # that output, and its version

    def calls_of(self, projection: str) -> int:
        """How often the block called a layer."""
        return Counter(layer.projection for layer in self.calls)[projection]

    def hooks(self) -> list[Any]:
        """On every layer."""
        before = [layer.module.register_forward_pre_hook(self._before(layer)) for layer in self._layers]
        return before + [layer.module.register_forward_hook(self._after(layer)) for layer in self._layers]

    def child_hooks(self, block: nn.Module) -> list[Any]:
        """On every child that is no layer itself."""
        own = {layer.projection for layer in self._layers}
        return [m.register_forward_hook(self._child(name)) for name, m in block.named_children() if name not in own]

    def _before(self, layer: LinearLayer) -> InputHook:
        def hook(_module: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
            same = next((names for x, names in self.inputs if x is args[0]), None)
            if same is None:
                self.inputs.append((args[0], [layer.name]))
            else:
                same.append(layer.name)

        return hook

    def _after(self, layer: LinearLayer) -> OutputHook:
        def hook(_module: nn.Module, _args: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            self.calls.append(layer)
            self.own, self._output = output.clone(), (output, output._version)

        return hook

    def _child(self, name: str) -> OutputHook:
        def hook(_module: nn.Module, _args: tuple[torch.Tensor, ...], output: Any) -> None:
            first, *rest = output if type(output) is tuple else (output,)
            if self._output is None or any(one is not None for one in rest):
                return
            own, version = self._output
            if first is own and own._version == version and self.calls[-1].projection.startswith(f"{name}."):
                self.ends[name] = End(self.calls[-1].projection, len(output) if type(output) is tuple else None)

        return hook


def _last_write(
    block: nn.Module, seen: _Seen, whole: torch.Tensor, hidden: torch.Tensor, arguments: Arguments
) -> str | None:
    """The name of the layer called last, if its output is added to the residual stream as it is.

    The output is doubled to see whether the block's output grows by just that. So no table of norms is needed.
    """
    if seen.own is None or seen.own.numel() != whole.numel():
        return None
    last, wanted = seen.calls[-1], seen.own.view_as(whole)
    with hooked([last.module.register_forward_hook(lambda _module, _args, output: 2 * output)]):
        added = run_block(block, hidden, arguments) - whole
    return last.name if (added - wanted).float().norm() <= SAME * wanted.float().norm() else None
