"""The one pruning loop: every method goes through it, block by block."""

import dataclasses
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from eggs_core.adapters import LinearLayer, block_layers, check_pattern, find_blocks
from eggs_core.config import PruneConfig
from eggs_core.errors import EggsError
from eggs_core.graph import GraphMeasures, measure
from eggs_core.masks import Selection, retained_score, select, topn
from eggs_core.permute import PERMUTATIONS
from eggs_core.reconstruct import RECONSTRUCTIONS
from eggs_core.scores import score

TOKENS_PER_BATCH = 4096
SAMPLE_TOKENS = 512  # inputs kept per layer to measure the error of its output


@dataclass(slots=True)
class LayerReport:
    """What happened to one layer; masks are bool (out, in), on the CPU."""

    name: str
    block: int
    projection: str
    shape: tuple[int, int]
    sparsity: float
    retained_score: float
    output_error: float
    graph: GraphMeasures
    seconds: float
    mask: torch.Tensor
    topn_mask: torch.Tensor  # plain top-N by the same scores
    permutation: torch.Tensor | None = None  # int64 (in,)
    choice: dict[str, float] = field(default_factory=dict)  # the β or B that selection used
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for report.json; tensors are stored apart."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        for name in ("graph", "mask", "topn_mask", "permutation"):
            del values[name]
        return {**values, "shape": list(self.shape), **dataclasses.asdict(self.graph)}


@dataclass(slots=True)
class InputStatistics:
    """What calibration tells of one layer's input: sums over `tokens` tokens of x² and, if asked, of xxᵀ."""

    squares: torch.Tensor  # (in,)
    gram: torch.Tensor | None  # (in, in)
    sample: torch.Tensor  # (at most SAMPLE_TOKENS, in)
    tokens: int = 0

    @classmethod
    def white(cls, width: int, device: torch.device, need_gram: bool) -> "InputStatistics":
        """What stands in for an input that no token reached: channels of equal power, uncorrelated."""
        eye = torch.eye(width, device=device)
        return cls(torch.ones(width, device=device), eye if need_gram else None, eye, 1)

    def update(self, x: torch.Tensor) -> None:
        """Add a batch of inputs x, (tokens, in)."""
        x = x.to(torch.float32)
        self.squares += x.square().sum(0)
        if self.gram is not None:
            self.gram.addmm_(x.T, x)
        if self.tokens < SAMPLE_TOKENS:
            self.sample = torch.cat([self.sample, x[: SAMPLE_TOKENS - self.tokens]])
        self.tokens += len(x)


class _FirstBlockReached(Exception):
    """Ends a forward pass as soon as the first block's input is known."""


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
        raise _FirstBlockReached

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
            except _FirstBlockReached:
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


def _gather(block, layers: list[LinearLayer], hidden: list, arguments, need_gram: bool) -> dict[str, InputStatistics]:
    """Statistics of every layer's input over all batches; layers that share an input share its statistics."""
    statistics: dict[str, InputStatistics] = {}
    seen: dict[int, tuple[torch.Tensor, InputStatistics]] = {}  # by identity of the input, within one batch

    def hook_for(layer: LinearLayer):
        def hook(_module, args):
            x = args[0]
            if id(x) in seen:
                statistics.setdefault(layer.name, seen[id(x)][1])
                return
            if layer.name not in statistics:
                width = x.shape[-1]
                zeros = lambda *shape: torch.zeros(*shape, dtype=torch.float32, device=x.device)  # noqa: E731
                statistics[layer.name] = InputStatistics(
                    zeros(width), zeros(width, width) if need_gram else None, zeros(0, width)
                )
            statistics[layer.name].update(x.reshape(-1, x.shape[-1]))
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


@dataclass(slots=True)
class PrunedWeight:
    """One layer's new weight fp32 (out, in), its mask bool (out, in), and how they came about."""

    weight: torch.Tensor
    mask: torch.Tensor
    topn_mask: torch.Tensor
    permutation: torch.Tensor | None
    retained_score: float
    choice: dict[str, float]
    notes: list[str]


def prune_weight(weight: torch.Tensor, statistics: InputStatistics, config: PruneConfig) -> PrunedWeight:
    """Score, permute, select and reconstruct one weight, fp32 (out, in); the input's statistics stay as they are."""
    notes = []
    if dead := int((statistics.squares == 0).sum()):
        notes.append(f"{dead} input channels were silent during calibration")
    reconstruct = RECONSTRUCTIONS[config.reconstruction]
    gram = None if statistics.gram is None else statistics.gram / statistics.tokens
    if config.score == "obs":  # SparseGPT chooses its mask while it sweeps
        result = reconstruct(weight, gram, config.pattern)
        scores, order, choice = weight.abs() * statistics.squares.sqrt(), None, {}
    else:
        scores = score(config.score, weight, statistics.squares.sqrt())
        order = PERMUTATIONS[config.permutation](scores, config.pattern)
        back = None if order is None else torch.argsort(order)
        chosen = _select(scores, order, back, config, config.beta)
        choice = {k: v for k, v in (("beta", chosen.beta), ("diagonals", chosen.diagonals)) if v is not None}

        def choose(new_scores: torch.Tensor) -> torch.Tensor:
            return _select(new_scores, order, back, config, chosen.beta).mask

        result = reconstruct(weight, gram, config.pattern, chosen.mask, choose=choose, permutation=order)
    kept = retained_score(scores, result.mask) / max(scores.sum(dtype=torch.float64).item(), 1e-30)
    topn_mask = topn(scores, config.pattern)
    return PrunedWeight(result.weight, result.mask, topn_mask, order, kept, choice, notes + result.notes)


def _select(scores, order, back, config: PruneConfig, beta: float | None) -> Selection:
    """Select in the permuted column order; the mask comes back in the original one."""
    permuted = scores if order is None else scores[:, order]
    chosen = select(permuted, config.pattern, config.selection, diagonals=config.diagonals, beta=beta)
    return chosen if back is None else dataclasses.replace(chosen, mask=chosen.mask[:, back])


def _output_error(weight: torch.Tensor, pruned: torch.Tensor, sample: torch.Tensor) -> float:
    """Relative error ‖X(W−Ŵ)ᵀ‖ / ‖XWᵀ‖ on a sample of the layer's inputs, (tokens, in)."""
    reference = (sample @ weight.T).norm()
    return ((sample @ (weight - pruned).T).norm() / reference.clamp_min(1e-30)).item()


def prune(model: PreTrainedModel, windows: torch.Tensor, config: PruneConfig) -> Iterator[LayerReport]:
    """Prune a causal LM in place, yielding a report per layer; close the generator to stop after a layer.

    windows: (windows, length) int64 calibration tokens. Each block sees the activations of the pruned ones before it.
    Raises EggsError, before any work, if the pattern does not fit a layer.
    """
    check_pattern(model, config.pattern)
    path, blocks = find_blocks(model)
    hidden, arguments = _capture(model, blocks, _batches(windows))
    for number, block in enumerate(blocks):
        layers = block_layers(path, number, block)
        statistics = _gather(block, layers, hidden, arguments[number], config.reconstruction != "none")
        for layer in layers:
            started = time.perf_counter()
            weight, inputs = layer.weight(), statistics.get(layer.name)
            reached = inputs is not None
            if not reached:  # such as an expert that the router never chose
                inputs = InputStatistics.white(layer.shape[1], weight.device, config.reconstruction != "none")
            try:
                pruned = prune_weight(weight, inputs, config)
            except EggsError as error:
                raise EggsError(f"Layer {layer.name}: {error}") from error
            if not reached:
                pruned.notes.append("no calibration token reached this layer, so it was pruned by its weights alone")
            layer.set_weight(pruned.weight)
            graph = measure(pruned.mask, config.pattern)
            yield LayerReport(
                name=layer.name,
                block=number,
                projection=layer.projection,
                shape=layer.shape,
                sparsity=1 - pruned.mask.float().mean().item(),
                retained_score=pruned.retained_score,
                output_error=_output_error(weight, pruned.weight, inputs.sample),
                graph=graph,
                seconds=time.perf_counter() - started,
                mask=pruned.mask.cpu(),
                topn_mask=pruned.topn_mask.cpu(),
                permutation=None if pruned.permutation is None else pruned.permutation.cpu(),
                choice=pruned.choice,
                notes=pruned.notes,
            )
        if number == len(blocks) - 1:
            break  # nothing reads the last block's output
        for i, batch in enumerate(hidden):
            hidden[i] = _run_block(block, batch, arguments[number])
