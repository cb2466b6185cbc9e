"""Scores of the front's points, as the makers' kernels compute: inputs of products rounded where weights are."""

import copy
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from benchmarks import llama_types
from benchmarks.quality import Opened
from eggs_core.evaluation.perplexity import evaluate
from eggs_core.models.architectures import linear_layers
from eggs_core.packed.grid import columns_per_scale, rounded_inputs, rounds_tables
from eggs_core.pruning.loop import prune
from eggs_core.pruning.recovery import RecoveryPoint
from eggs_core.pruning.rounding import round_tables
from eggs_core.runs.recovery import Course, recovery_steps
from eggs_core.text.windows import calibration_windows


@contextmanager
def inputs_rounded(model, columns: dict[str, int], orders: dict[str, torch.Tensor] | None = None):
    """Inside, layers read inputs rounded to 8 bits, so many columns in packed order a scale; the head too."""

    def rounding(span: int, order: torch.Tensor | None):
        def hook(_module, inputs):
            x = inputs[0]
            if order is None:
                return (rounded_inputs(x, span),)
            return (rounded_inputs(x[..., order], span)[..., order.argsort()],)

        return hook

    found = [(layer.module, columns[layer.name], (orders or {}).get(layer.name)) for layer in linear_layers(model)]
    found = [(module, span, None if order is None else order.to(model.device).long()) for module, span, order in found]
    found.append((model.get_output_embeddings(), 32, None))
    handles = [module.register_forward_pre_hook(rounding(span, order)) for module, span, order in found]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def both_scores(model, windows, columns: dict[str, int] | None, orders=None) -> dict[str, Any]:
    """A model's scores with rounded inputs, and its perplexity without them; the same where none are rounded."""
    plain = evaluate(model, windows).to_dict()
    if columns is None:
        return plain
    with inputs_rounded(model, columns, orders):
        return evaluate(model, windows).to_dict() | {"whole_inputs": plain["perplexity"]}


def pruned_scores(opened: Opened, config) -> dict[str, Any]:
    """One of our points: pruned, rounded and perhaps recovered as a run does, scored as the packed model computes."""
    model = copy.deepcopy(opened.dense.model)
    count, length = config.calibration_windows, config.calibration_length
    windows = calibration_windows(opened.dense.tokenizer, opened.calibration, count, length, config.seed)
    layers = list(prune(model, windows, config))
    orders = {layer.name: layer.permutation for layer in layers if layer.permutation is not None}
    if config.recovery_tokens:
        recover(model, opened, config, layers, orders)
    if not rounds_tables(config.bits):
        return both_scores(model, opened.evaluation, None)
    span = columns_per_scale(config.pattern)
    return both_scores(model, opened.evaluation, {layer.name: span for layer in linear_layers(model)}, orders)


def recover(model, opened: Opened, config, layers, orders) -> None:
    """Train a pruned model in place, as a run with this configuration does."""
    masks = {layer.name: layer.mask for layer in layers}
    grids = {layer.name: layer.grid for layer in layers if layer.grid is not None}
    patterns = dict.fromkeys(masks, config.pattern)
    with tempfile.TemporaryDirectory() as folder:
        course = Course(
            config, opened.dense, masks, opened.calibration, patterns, orders, grids, Path(folder) / "learned"
        )
        for event in recovery_steps(model, course, 0.0, 1.0):
            if isinstance(event, RecoveryPoint):
                print(f"    {event.tokens:>9,} tokens: {event.loss:.4f} nats from dense, held-out text", flush=True)


def llama_scores(opened: Opened, kind: str) -> dict[str, Any]:
    """One of llama.cpp's types: layers as it makes them, inputs rounded in blocks of 32, or of 256 for K-types."""
    model, weights, bits = copy.deepcopy(opened.dense.model), 0, 0.0
    columns = {}
    for layer in linear_layers(model):
        chosen, weight = llama_types.type_for(kind, layer.shape[1]), layer.weight()
        layer.set_weight(torch.from_numpy(llama_types.made(weight.float().cpu().numpy(), chosen)).to(weight))
        columns[layer.name] = llama_types.BLOCK if chosen.endswith("_K") else 32
        weights, bits = weights + weight.numel(), bits + weight.numel() * llama_types.bits_of(chosen)
    round_tables(model)
    return both_scores(model, opened.evaluation, columns) | {"bits": bits / weights}
