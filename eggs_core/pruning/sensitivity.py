"""How much each layer's outputs matter for what its block computes: one factor of a Gauss-Newton approximation.

An error e of a layer's output changes the block's output by J e. The block's output is measured against its own size.
Averaged over tokens, the error then costs eᵀ G e with G = E[Jᵀ J]. G is a second factor beside the gram of the inputs,
as in K-FAC (Martens and Grosse 2015, arXiv 1503.05671). Rows whose errors cancel in J make up for each other.
"""

from __future__ import annotations

from collections.abc import Iterable

from eggs_core.heavy import nn, torch
from eggs_core.models.architectures import LinearLayer
from eggs_core.models.hooks import OutputHook, frozen, hooked
from eggs_core.pruning.activations import flat
from eggs_core.pruning.block_calls import Arguments, block_output

TOKENS = 8192  # that G is estimated on


def sensitivities(
    block: nn.Module, layers: list[LinearLayer], calls: Iterable[tuple[torch.Tensor, Arguments]]
) -> dict[str, torch.Tensor]:
    """Each layer's G, fp32 (out, out), by the layer's name, up to a factor; a layer that no token reached has none.

    calls: hidden states before the block, (windows, length, hidden), and its other arguments, batch by batch; the
    first are used, up to 8,192 tokens.
    Random directions v at the block's output give Jᵀ v by one backward pass, and E[Jᵀ v vᵀ J] = E[Jᵀ J].
    """
    found: dict[str, torch.Tensor] = {}

    def hook_for(name: str) -> OutputHook:
        def add(gradient: torch.Tensor) -> None:
            gradient = flat(gradient).float()
            product = gradient.T @ gradient
            found[name] = found[name].add_(product) if name in found else product

        def hook(_module: nn.Module, _args: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
            if not output.requires_grad:  # the way back ends here; a copy, as blocks may add to it in place
                output = output.requires_grad_().clone()
            output.register_hook(add)
            return output

        return hook

    tokens = 0
    with frozen(block), hooked(layer.module.register_forward_hook(hook_for(layer.name)) for layer in layers):
        for number, (hidden, arguments) in enumerate(calls):
            _backward(block, hidden, arguments, number)
            tokens += len(flat(hidden))
            if tokens >= TOKENS:
                break
    return {name: product for name, product in found.items() if torch.isfinite(product).all() and product.any()}


def _backward(block: nn.Module, hidden: torch.Tensor, arguments: Arguments, seed: int) -> None:
    """One backward pass from random directions at the output, each as long as the output there is short."""
    with torch.enable_grad():
        output = block_output(block, hidden.detach(), arguments)
        direction = torch.randn(output.shape, generator=torch.Generator().manual_seed(seed)).to(output.device)
        size = output.detach().float().norm(dim=-1, keepdim=True).clamp_min(1e-30)
        output.backward((direction * size.mean() / size).to(output.dtype))
