"""The one pruning loop: every method goes through it, block by block."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, cast

from eggs_core.config import PruneConfig
from eggs_core.errors import EggsError
from eggs_core.graph.measures import GraphMeasures, measure
from eggs_core.heavy import nn, torch
from eggs_core.masks.selection import Selection, retained_score, select, topn
from eggs_core.models.architectures import LinearLayer, block_layers, find_blocks
from eggs_core.packed.grid import Grid, rounds_tables
from eggs_core.pattern import NMPattern
from eggs_core.pruning import stagewise
from eggs_core.pruning.activation_store import latest
from eggs_core.pruning.activations import Activations, InputStatistics, Statistics
from eggs_core.pruning.block_check import check_block_by_block
from eggs_core.pruning.block_fit import FitStep, fit_block, tokens_per_batch, windows_read
from eggs_core.pruning.blocks import Blocks, BlocksInMemory
from eggs_core.pruning.expert_groups import gathered
from eggs_core.pruning.known_outputs import KnownOutputs
from eggs_core.pruning.plan import plan_for
from eggs_core.pruning.problem import LayerProblem
from eggs_core.pruning.rounding import round_tables
from eggs_core.pruning.scores import score
from eggs_core.pruning.trained import Rounding
from eggs_core.registry import entry
from eggs_core.report_types import LayerEntry

if TYPE_CHECKING:  # it takes transformers seconds to import its models
    from transformers import PreTrainedModel


@dataclass(slots=True)
class LayerReport:
    """What happened to one layer; masks are bool (out, in), on the CPU."""

    name: str
    block: int
    projection: str
    shape: tuple[int, int]
    pattern: NMPattern
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
    grid: Grid | None = None  # what kept weights were rounded to

    def to_dict(self) -> LayerEntry:
        """Plain values for report.json; tensors are stored apart."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        for name in ("graph", "mask", "topn_mask", "permutation", "grid"):
            del values[name]
        return cast(
            LayerEntry,
            {**values, "shape": list(self.shape), "pattern": str(self.pattern), **dataclasses.asdict(self.graph)},
        )


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
    grid: Grid | None = None


def prune_weight(
    weight: torch.Tensor, statistics: InputStatistics, config: PruneConfig, pattern: NMPattern | None = None
) -> PrunedWeight:
    """Score, permute, select and reconstruct one weight, fp32 (out, in); the input's statistics stay as they are.

    `pattern` is the layer's own, by default the configuration's.
    """
    pattern = pattern or config.pattern
    notes = []
    if dead := int((statistics.squares == 0).sum()):
        notes.append(f"{dead} input channels were silent during calibration")
    reconstruct = entry("reconstruction", config.reconstruction).load()
    gram = None if statistics.gram is None else statistics.gram / statistics.tokens
    scores = score(config.score, weight, statistics.squares.sqrt())
    if entry("score", config.score).leaves_choice:
        problem = LayerProblem(weight, gram, pattern, bits=config.bits)
        order, choice = None, dict[str, float]()
    else:
        order = entry("permutation", config.permutation).load()(scores, pattern)
        back = None if order is None else torch.argsort(order)
        chosen = _select(scores, order, back, config, pattern, config.options_of("selection"))
        choice = dict(chosen.options)

        def choose(new_scores: torch.Tensor) -> torch.Tensor:
            return _select(new_scores, order, back, config, pattern, choice).mask

        target = statistics.target(weight)
        problem = LayerProblem(
            weight, gram, pattern, chosen.mask, choose, order, target, sensitivity=statistics.sensitivity
        )
    result = reconstruct(problem)
    result = entry("values", config.choice("values")).load()(problem, result, config.bits)
    kept = retained_score(scores, result.mask) / max(scores.sum(dtype=torch.float64).item(), 1e-30)
    topn_mask = topn(scores, pattern)
    return PrunedWeight(result.weight, result.mask, topn_mask, order, kept, choice, notes + result.notes, result.grid)


def _select(
    scores: torch.Tensor,
    order: torch.Tensor | None,
    back: torch.Tensor | None,
    config: PruneConfig,
    pattern: NMPattern,
    options: Mapping[str, float | None],
) -> Selection:
    """Select in the permuted column order; the mask comes back in the original one."""
    permuted = scores if order is None else scores[:, order]
    chosen = select(permuted, pattern, config.selection, **options)
    return chosen if back is None else dataclasses.replace(chosen, mask=chosen.mask[:, back])


def _output_error(weight: torch.Tensor, pruned: torch.Tensor, inputs: InputStatistics) -> float:
    """Relative error ‖XŴᵀ − Y‖ / ‖Y‖ on a sample of the layer's inputs, Y the target outputs, (tokens, out)."""
    target = inputs.target_output(weight)
    return ((inputs.sample @ pruned.T - target).norm() / target.norm().clamp_min(1e-30)).item()


def prune(
    model: PreTrainedModel, windows: torch.Tensor, config: PruneConfig, devices: Sequence[torch.device] = ()
) -> Iterator[LayerReport]:
    """Prune a causal LM in place, yielding a report per layer; close the generator to stop after a layer.

    windows: (windows, length) int64 calibration tokens. Each block sees the activations of the pruned ones before it.
    Embedding and head are rounded first where kept values are, see `round_tables`. `devices` as for prune_blocks.
    Raises EggsError, before any work, if no layer can be pruned, and for a model that is not the same block by block.
    """
    return (event for event in prune_steps(model, windows, config, devices) if isinstance(event, LayerReport))


def prune_steps(
    model: PreTrainedModel, windows: torch.Tensor, config: PruneConfig, devices: Sequence[torch.device] = ()
) -> Iterator[LayerReport | FitStep]:
    """As prune, yielding after each step of a block's fit, too."""
    patterns = plan_for(model, config.pattern, config.layers).patterns
    path, blocks = find_blocks(model)
    check_block_by_block(model, blocks, windows)
    if rounds_tables(config.bits):
        round_tables(model)
    windows, tokens = windows_read(model, windows, config), tokens_per_batch(config)
    activations = Activations(model, blocks, windows, tokens_per_batch=tokens)
    dense = Activations(model, blocks, windows, tokens_per_batch=tokens) if config.fits else None
    yield from prune_blocks(BlocksInMemory(path, blocks), activations, config, patterns, devices=devices, dense=dense)


def prune_blocks(
    blocks: Blocks,
    activations: Activations,
    config: PruneConfig,
    patterns: Mapping[str, NMPattern],
    first: int = 0,
    devices: Sequence[torch.device] = (),
    dense: Activations | None = None,
) -> Iterator[LayerReport | FitStep]:
    """Prune block by block from number `first`, whose inputs `activations` holds; the loop that all pruning runs.

    patterns: those of the layers that are pruned, by name. With several `devices`, layers that read the same statistics
    are pruned at once, each on one of them. dense: the same tokens on their way through the dense model; with them each
    block is fitted once its layers are pruned (see block_fit.py). Its layers' reports come before.
    """
    # The last block is not pruned in stages: it loses by that (measured on SmolLM2-135M at 2:4).
    staged = len(blocks) - 1 if config.stagewise else 0
    for number in range(first, len(blocks)):
        with blocks.load_block(number) as block:
            if not activations.runs(number):  # such as one that only pictures pass
                continue
            if dense is not None:
                dense.advance(number, block)
            chosen = [layer for layer in block_layers(blocks.path, number, block) if layer.name in patterns]
            known = None
            if number < staged and chosen and isinstance(activations.hidden, list):  # out of core there is no room
                known = KnownOutputs(block, [layer.projection for layer in chosen])
            masks, roundings = dict[str, torch.Tensor](), dict[str, Rounding]()
            for layers, statistics in _statistics(activations, chosen, number, block, config, number < staged, known):
                for report in _prune_layers(layers, statistics, config, patterns, devices):
                    masks[report.name] = report.mask
                    if report.grid is not None:
                        roundings[report.name] = report.grid.rounding(report.pattern, report.permutation)
                    yield report
            if dense is not None and masks:
                seed, target = (config.seed << 16) + number, partial(latest, dense.hidden)
                yield from fit_block(block, chosen, masks, activations.calls(number), target, seed, roundings)
                known = None  # it knew outputs of other weights
            if number < len(blocks) - 1 or not chosen:  # nothing reads the last block's output
                activations.advance(number, block, known)


def _statistics(
    activations: Activations,
    chosen: list[LinearLayer],
    number: int,
    block: nn.Module,
    config: PruneConfig,
    staged: bool,
    known: KnownOutputs | None,
) -> Iterable[tuple[list[LinearLayer], Statistics]]:
    """A block's layers that are pruned, those that do not wait for each other together, with their statistics."""
    if not chosen:
        return ()
    if staged:
        return stagewise.stages(activations, chosen, number, block, known)
    return gathered(activations, chosen, number, block, config.refits)


def _prune_layers(
    layers: list[LinearLayer],
    statistics: Statistics,
    config: PruneConfig,
    patterns: Mapping[str, NMPattern],
    devices: Sequence[torch.device],
) -> Iterator[LayerReport]:
    """Prune layers that do not wait for each other, in turn or, on several devices, at once.

    A layer that no token passed, and that is no expert, stays dense: its block computes in another way.
    """
    layers = [layer for layer in layers if layer.mixture or layer.name in statistics]
    if len(devices) < 2:
        for layer in layers:
            yield _prune_layer(layer, statistics.get(layer.name), config, patterns[layer.name], *devices)
        return
    with ThreadPoolExecutor(len(devices)) as pool:
        for start in range(0, len(layers), len(devices)):
            futures = [
                pool.submit(_prune_layer, layer, statistics.get(layer.name), config, patterns[layer.name], device)
                for layer, device in zip(layers[start : start + len(devices)], devices, strict=False)
            ]
            yield from [future.result() for future in futures]


def _prune_layer(
    layer: LinearLayer,
    inputs: InputStatistics | None,
    config: PruneConfig,
    pattern: NMPattern,
    device: torch.device | None = None,
) -> LayerReport:
    """Prune one layer of the model in place, computing on `device`, by default its own."""
    started = time.perf_counter()
    weight, reached = layer.weight().to(device), inputs is not None
    if inputs is None:  # such as an expert that the router never chose
        inputs = InputStatistics.isotropic(layer.shape[1], weight.device, config.refits)
    inputs = inputs.to(weight.device)
    try:
        pruned = prune_weight(weight, inputs, config, pattern)
    except EggsError as error:
        raise EggsError(f"Layer {layer.name}: {error}") from error
    if not reached:
        pruned.notes.append("no calibration token reached this layer, so it was pruned by its weights alone")
    elif layer.mixture and inputs.tokens < layer.shape[1]:
        enough = math.ceil(inputs.offered * layer.shape[1] / inputs.tokens)
        pruned.notes.append(
            f"only {inputs.tokens:,} calibration tokens reached this expert, fewer than its {layer.shape[1]:,} inputs; "
            f"some {enough:,} in all would do"
        )
    layer.set_weight(pruned.weight)
    return LayerReport(
        name=layer.name,
        block=layer.block,
        projection=layer.projection,
        shape=layer.shape,
        pattern=pattern,
        sparsity=1 - pruned.mask.float().mean().item(),
        retained_score=pruned.retained_score,
        output_error=_output_error(weight, pruned.weight, inputs),
        graph=measure(pruned.mask, pattern),
        seconds=time.perf_counter() - started,
        mask=pruned.mask.cpu(),
        topn_mask=pruned.topn_mask.cpu(),
        permutation=None if pruned.permutation is None else pruned.permutation.cpu(),
        choice=pruned.choice,
        notes=pruned.notes,
        grid=pruned.grid and pruned.grid.to(torch.device("cpu")),
    )
