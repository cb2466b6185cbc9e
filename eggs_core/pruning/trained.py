"""The parameters that are trained after pruning: kept weights and norms, and what is kept of them as vectors."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

from eggs_core.heavy import nn, no_grad, torch
from eggs_core.models.architectures import LinearLayer, is_transposed
from eggs_core.models.experts import is_expert

WARM_UP = 0.05  # of all steps, in which the rate rises


def schedule(step: int, steps: int) -> float:
    """The share of the learning rate at a step, from 0: a short rise, then half a cosine down to 0."""
    rise = min(1.0, (step + 1) / max(1.0, WARM_UP * steps))
    return rise * 0.5 * (1 + math.cos(math.pi * step / steps))


Rounding = Callable[["torch.Tensor"], "torch.Tensor"]  # a layer's weight, fp32 (out, in), as it is stored


class Trained:
    """The parameters of a model or block that are trained, in fp32, while the context lasts: kept weights and norms.

    layers: those of it that `masks`, bool (out, in) by name, may hold. What is kept of a parameter is a vector.
    roundings: by layer name, where weights are stored in few bits; the model computes with rounded weights, and what
    it learns goes to those behind them (the straight-through estimator, arXiv 1308.3432).
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Iterable[LinearLayer],
        masks: Mapping[str, torch.Tensor],
        roundings: Mapping[str, Rounding] | None = None,
    ) -> None:
        layers = list(layers)
        self._rounded = [(layer, roundings[layer.name]) for layer in layers if roundings and layer.name in roundings]
        self._model, self._dtypes = model, {p: p.dtype for p in model.parameters()}
        self._required = {p: p.requires_grad for p in model.parameters()}
        self.masks = _parameter_masks(model, layers, masks)
        wanted = {id(p) for module in model.modules() if _is_norm(module) for p in module.parameters(recurse=False)}
        self.parameters = {n: p for n, p in model.named_parameters() if n in self.masks or id(p) in wanted}

    def __enter__(self) -> Trained:
        for parameter in self._model.parameters():
            parameter.data = parameter.data.float()
            parameter.requires_grad_(False)
        for parameter in self.parameters.values():
            parameter.requires_grad_(True)
        return self

    def __exit__(self, *_: object) -> None:
        for parameter in self._model.parameters():
            parameter.grad = None
            parameter.data = parameter.data.to(self._dtypes[parameter])
            parameter.requires_grad_(self._required[parameter])

    def store(self) -> None:
        """Round weights to what is stored of them, for good."""
        for layer, rounding in self._rounded:
            layer.set_weight(rounding(layer.weight()))

    @contextmanager
    def as_stored(self) -> Iterator[None]:
        """Inside, weights are rounded as they are stored; gradients that were gathered there stay."""
        whole = {name: self.parameters[name].detach().clone() for name in self.masks} if self._rounded else {}
        self.store()
        try:
            yield
        finally:
            with torch.no_grad():
                for name, value in whole.items():
                    self.parameters[name].copy_(value)

    def kept(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        """What is kept of a tensor that is like the parameter, as a vector."""
        mask = self.masks.get(name)
        return tensor.detach().reshape(-1).clone() if mask is None else tensor.detach()[mask]

    @no_grad
    def fill(self, name: str, tensor: torch.Tensor, values: torch.Tensor) -> None:
        """The inverse of `kept`, in place."""
        mask, values = self.masks.get(name), values.to(tensor.device, tensor.dtype)
        if mask is None:
            tensor.copy_(values.view_as(tensor))
        else:
            tensor[mask] = values

    def values(self) -> dict[str, torch.Tensor]:
        """The kept values of all parameters."""
        return {name: self.kept(name, parameter) for name, parameter in self.parameters.items()}

    def sizes(self) -> dict[str, int]:
        """How many values are kept of each parameter."""
        return {n: p.numel() if n not in self.masks else int(self.masks[n].sum()) for n, p in self.parameters.items()}

    def set_values(self, values: Mapping[str, torch.Tensor]) -> None:
        """Put kept values back in place."""
        for name, parameter in self.parameters.items():
            self.fill(name, parameter, values[name])

    def mask_gradients(self) -> None:
        """Pruned weights get no gradient, so that AdamW without decay never moves them."""
        for name, mask in self.masks.items():
            if (gradient := self.parameters[name].grad) is not None:
                gradient.mul_(mask)


def _is_norm(module: nn.Module) -> bool:
    return type(module).__name__.endswith("Norm")


def _parameter_masks(
    model: nn.Module, layers: Iterable[LinearLayer], masks: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Masks by parameter name, as the parameter lies; what is kept of a mixture's shared tensor is what is not zero."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found: dict[str, torch.Tensor] = {}
    for layer in layers:
        if layer.name not in masks:
            continue
        module = layer.module
        if is_expert(module):
            found.setdefault(names[id(module.shared)], module.shared.detach() != 0)
        else:
            mask = masks[layer.name].to(module.weight.device)
            found[names[id(module.weight)]] = mask.T if is_transposed(module) else mask
    return found
