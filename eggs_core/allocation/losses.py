"""What the model loses when one layer is pruned: predicted from gradients, in one pass over calibration text.

An error e of a layer's output for one token changes the model's loss by g·e to first order, with g the gradient of the
loss there. Its square, averaged over tokens, approximates twice the rise of the loss to second order: the empirical
Fisher information in the direction of the error (as in Optimal Brain Damage's successors; Theis et al. 2018,
arXiv 1801.05787, and Kurtic et al. 2022, arXiv 2203.07259, use it for single weights). The first-order term itself
averages to nothing where the model was trained.

docs/plans.md has what other ways gave.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING

from eggs_core.config import PruneConfig
from eggs_core.errors import EggsError
from eggs_core.heavy import nn, torch
from eggs_core.masks.selection import topn
from eggs_core.models.architectures import LinearLayer, block_layers, find_blocks
from eggs_core.models.hooks import OutputHook, frozen, hooked
from eggs_core.pattern import NMPattern
from eggs_core.progress import Progress
from eggs_core.pruning.activations import Activations, InputStatistics, flat
from eggs_core.pruning.block_calls import block_output, input_device
from eggs_core.pruning.block_check import check_block_by_block
from eggs_core.pruning.problem import LayerProblem
from eggs_core.pruning.reconstruction import obs
from eggs_core.pruning.scores import score, without_sweep

if TYPE_CHECKING:  # it takes transformers seconds to import its models
    from transformers import PreTrainedModel

TOKENS, REFIT_TOKENS = 2048, 4096  # that the losses are measured on, the latter where kept weights are re-fitted
GRADIENTS = 0.3  # share of the time that the gradients take, for the progress

Losses = dict[NMPattern, float]  # nats a token, of each pattern that divides the layer's inputs
Seen = list[tuple["torch.Tensor", "torch.Tensor"]]  # inputs (tokens, in), gradients at outputs (tokens, out)


def sample(windows: torch.Tensor, refits: bool) -> torch.Tensor:
    """The windows that losses are measured on: the first of (windows, length), TOKENS in all, one window at least."""
    return windows[: max(1, (REFIT_TOKENS if refits else TOKENS) // windows.shape[1])]


def losses_by_layer(
    model: PreTrainedModel, windows: torch.Tensor, config: PruneConfig, candidates: Sequence[NMPattern]
) -> Generator[Progress, None, dict[str, Losses]]:
    """Each layer's predicted loss by each candidate that divides its inputs; returns them by the layer's name.

    windows: (windows, length) int64 calibration tokens, as `sample` gives them. candidates: from the densest on. Of the
    configuration, the score decides which N of M would be kept, and the reconstruction whether they are re-fitted. The
    model stays as it is. An expert that no token reached gets the least losses of its mixture's others. Raises
    EggsError for a model that is not the same block by block.
    """
    path, blocks = find_blocks(model)
    check_block_by_block(model, blocks, windows)
    activations = Activations(model, blocks, windows)
    gradients = yield from _gradients(model, blocks, activations.batches)
    by_block = [block_layers(path, number, block) for number, block in enumerate(blocks)]
    total, done, started = sum(map(len, by_block)), 0, time.monotonic()
    found: dict[str, Losses] = {}
    for number, (block, layers) in enumerate(zip(blocks, by_block, strict=True)):
        done += len(layers)
        if not activations.runs(number):  # such as one that only pictures pass
            continue
        seen = _seen_in_block(activations, layers, number, block, [batch[number] for batch in gradients])
        for place, layer in enumerate(layers, done - len(layers) + 1):
            if layer.name in seen:
                found[layer.name] = _checked(layer, seen[layer.name], windows.numel(), config, candidates)
            yield Progress(
                f"What layers lose: block {number + 1}, {layer.projection}, layer {place} of {total}",
                GRADIENTS + (1 - GRADIENTS) * place / total,
                (time.monotonic() - started) / place * (total - place),
            )
        _fill_unreached(found, layers, candidates)
        activations.advance(number, block)
    return found


def _gradients(
    model: PreTrainedModel, blocks: nn.ModuleList, batches: Sequence[torch.Tensor]
) -> Generator[Progress, None, list[dict[int, torch.Tensor]]]:
    """Batch by batch, the gradient of the summed loss at each block's output, (windows, length, hidden)."""
    found: list[dict[int, torch.Tensor]] = []
    total = sum(len(batch) for batch in batches)
    for batch in batches:
        parts: list[dict[int, torch.Tensor]] = []
        for window in batch.split(1):  # a window at a time, as all activations are held
            parts.append(_window_gradients(model, blocks, window.to(input_device(model))))
            done = sum(map(len, batches[: len(found)])) + len(parts)
            yield Progress(f"Gradients of the loss: window {done} of {total}", GRADIENTS * done / total)
        found.append({number: torch.cat([part[number] for part in parts]) for number in parts[0]})
    return found


def _window_gradients(model: PreTrainedModel, blocks: nn.ModuleList, window: torch.Tensor) -> dict[int, torch.Tensor]:
    """Of one window, (1, length) int64, the gradients at the outputs of the blocks that it passes, by their numbers."""
    outputs: dict[int, torch.Tensor] = {}

    def hook_for(number: int) -> Callable[[nn.Module, tuple[torch.Tensor, ...], object], None]:
        def keep(_block: nn.Module, _args: tuple[torch.Tensor, ...], output: object) -> None:
            hidden = output[0] if isinstance(output, tuple | list) else output
            assert isinstance(hidden, torch.Tensor)
            hidden.retain_grad()
            outputs[number] = hidden

        return keep

    def learn(_module: nn.Module, _args: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        output.requires_grad_()

    start = model.get_input_embeddings().register_forward_hook(learn)
    hooks = (block.register_forward_hook(hook_for(number)) for number, block in enumerate(blocks))
    with torch.enable_grad(), frozen(model), start, hooked(hooks):
        logits = model(input_ids=window, use_cache=False).logits[0, :-1].float()
        nn.functional.cross_entropy(logits, window[0, 1:].to(logits.device), reduction="sum").backward()
    return {n: torch.zeros_like(x) if x.grad is None else x.grad for n, x in outputs.items()}


def _seen_in_block(
    activations: Activations, layers: list[LinearLayer], number: int, block: nn.Module, gradients: list[torch.Tensor]
) -> dict[str, Seen]:
    """What each layer of a block is given and what its outputs' gradients are, by one more pass through the block."""
    found: dict[str, Seen] = {}

    def hook_for(name: str) -> OutputHook:
        def hook(_module: nn.Module, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            if output.requires_grad and output.numel():
                x = flat(args[0].detach()).float()
                output.register_hook(lambda g: found.setdefault(name, []).append((x, flat(g).float())))

        return hook

    with frozen(block), hooked(layer.module.register_forward_hook(hook_for(layer.name)) for layer in layers):
        for (hidden, arguments), gradient in zip(activations.calls(number), gradients, strict=True):
            with torch.enable_grad():
                block_output(block, hidden.detach().requires_grad_(), arguments).backward(gradient)
    return found


def _checked(
    layer: LinearLayer, seen: Seen, tokens: int, config: PruneConfig, candidates: Sequence[NMPattern]
) -> Losses:
    """What _losses gives; raises EggsError, naming the layer, where it cannot be told or is not finite."""
    try:
        losses = _losses(layer, seen, tokens, config, candidates)
    except EggsError as error:
        raise EggsError(f"Layer {layer.name}: {error}") from error
    if not all(map(math.isfinite, losses.values())):
        raise EggsError(f"What layer {layer.name} loses is NaN or infinite; load it in fp32, or check its weights.")
    return losses


def _losses(
    layer: LinearLayer, seen: Seen, tokens: int, config: PruneConfig, candidates: Sequence[NMPattern]
) -> Losses:
    """One layer's losses: half the mean over `tokens` of (g·e)², with e = x (W − Ŵ)ᵀ.

    A method that re-fits kept weights loses less. By how much is measured for one pattern in the middle, with
    SparseGPT's sweep as a quick stand-in for any re-fitting, and taken to be the same share for all.
    """
    weight = layer.weight()
    statistics = InputStatistics.empty(weight.shape[1], weight.device, config.refits)
    for x, _ in seen:
        statistics.update(x)

    def loss(pruned: torch.Tensor) -> float:
        lost = weight - pruned
        changes = [((x @ lost.T) * gradient).sum(1) for x, gradient in seen]  # (tokens,) each
        return float(sum(change.square().sum(dtype=torch.float64) for change in changes)) / (2 * tokens)

    scores = score(without_sweep(config.score), weight, statistics.squares.sqrt())
    fitting = [pattern for pattern in candidates if weight.shape[1] % pattern.group == 0]
    losses = {pattern: loss(weight * topn(scores, pattern)) for pattern in fitting}
    if statistics.gram is None or not any(losses.values()):
        return losses
    middle = fitting[len(fitting) // 2]
    refitted = loss(obs(LayerProblem(weight, statistics.gram / statistics.tokens, middle)).weight)
    left = refitted / max(losses[middle], 1e-30)
    return {pattern: left * plain for pattern, plain in losses.items()}


def _fill_unreached(found: dict[str, Losses], layers: list[LinearLayer], candidates: Sequence[NMPattern]) -> None:
    """Give experts that no token reached, or none that has a next one, the least losses of their mixture's others."""
    reached = {layer.name for layer in layers if any(found.get(layer.name, {}).values())}
    for layer in layers:
        if layer.name in reached or layer.mixture is None:
            continue
        others = [found[one.name] for one in layers if one.name in reached and one.mixture == layer.mixture]
        fitting = [pattern for pattern in candidates if layer.shape[1] % pattern.group == 0]
        found[layer.name] = {p: min((losses[p] for losses in others), default=0.0) for p in fitting}
