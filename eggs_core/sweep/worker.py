"""What the workers of a sweep do: open a model, measure its baseline, run a cell by the engine of all runs."""

import copy
import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from eggs_core.config import PruneConfig
from eggs_core.device import best_device, describe
from eggs_core.errors import EggsError
from eggs_core.evaluation.perplexity import WindowScores, evaluate, protocol
from eggs_core.masks.selection import topn
from eggs_core.models.architectures import linear_layers
from eggs_core.models.loading import LoadedModel, load
from eggs_core.packed.byte_counts import size_breakdown
from eggs_core.pattern import NMPattern
from eggs_core.pruning.plan import plan_for
from eggs_core.report_types import Latency, Protocol
from eggs_core.runs.events import Finished
from eggs_core.runs.execute import execute
from eggs_core.runs.run import Run
from eggs_core.speed.generation import measure_generation
from eggs_core.sweep.results import dense_figures
from eggs_core.text.named import chosen_text
from eggs_core.text.sources import Text
from eggs_core.text.windows import evaluation_windows, has_beginning

Texts = Mapping[str, Text]
TIMING_ROUNDS = 6


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a task gave no result, in one sentence, and after how many seconds."""

    error: str
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Baseline:
    """What all cells of a model share: the dense evaluation, and the speed of each packed layout."""

    scores: WindowScores
    protocol: Protocol  # of its evaluation
    dense: dict[str, Any]  # figures
    latency: dict[tuple[str, bool], Latency]  # by (pattern, permuted)
    device: str


@dataclass(frozen=True, slots=True)
class SharedModel:
    """The one model that all cells of a worker prune."""

    dense: LoadedModel

    def get(self, name: str) -> LoadedModel:
        """The model, whose name the caller knows."""
        return self.dense


def open_model(name: str) -> tuple[LoadedModel | None, str | Failure]:
    """A dense model in the memory of the CPU, which the object store can share, and its fingerprint."""
    try:
        dense = load(name, torch.device("cpu"))
        dense.model.requires_grad_(False)
        return dense, dense.fingerprint
    except Exception as error:
        return None, failure(error)


def measure_baseline(
    dense: LoadedModel, config: PruneConfig, layouts: list[tuple[str, bool]], texts: Texts, threads: int
) -> Baseline | Failure:
    """Evaluate a model dense, and time packed layouts of it; both by the protocol of `config`."""
    torch.set_num_threads(threads)
    try:
        dense = _at_hand(dense)
        text = chosen_text(config.evaluation, "heldout", texts)
        bos = config.with_bos(has_beginning(dense.tokenizer)).bos
        windows = evaluation_windows(dense.tokenizer, text, config.evaluation_windows, config.evaluation_length, bos)
        dense.check_tokens(windows)
        latency = {
            layout: time_layout(dense, NMPattern.parse(layout[0]), layout[1], windows, config.layers)
            for layout in layouts
        }
        scores = evaluate(dense.model, windows)
        figures = dense_figures(scores.to_dict(), size_breakdown(dense.model)["dense_bytes"])
        return Baseline(scores, protocol(text, windows, bos), figures, latency, describe(dense.model.device))
    except Exception as error:
        return failure(error)


def time_layout(
    dense: LoadedModel, pattern: NMPattern, permuted: bool, windows: torch.Tensor, rules: tuple[str, ...] = ()
) -> Latency:
    """Generation's speed with random masks of a plan, and random channel orders where runs permute channels."""
    model, masks, orders = copy.deepcopy(dense.model), {}, {}
    generator = torch.Generator().manual_seed(0)
    patterns = plan_for(model, pattern, rules).patterns
    for layer in linear_layers(model):
        if layer.name not in patterns:
            continue
        weight = layer.weight()
        mask = topn(torch.rand(layer.shape, generator=generator), patterns[layer.name])
        if permuted:
            order = torch.randperm(layer.shape[1], generator=generator)
            orders[layer.name], mask = order, mask[:, torch.argsort(order)]
        masks[layer.name] = mask
        layer.set_weight(weight * mask.to(weight.device))
    return measure_generation(dense.model, model, windows[:1, :64], masks, patterns, orders, rounds=TIMING_ROUNDS)


def run_cell(dense: LoadedModel, baseline: Baseline, config: PruneConfig, texts: Texts, threads: int) -> Run | Failure:
    """One cell's run, by the pipeline that the app and the command line use."""
    started = time.monotonic()
    torch.set_num_threads(threads)  # Ray sets OMP_NUM_THREADS, which a worker that has computed before no longer reads
    try:
        shared = config.bits is None  # others are timed in their own run
        latency = baseline.latency.get((str(config.pattern), config.permutation != "none")) if shared else None
        models = SharedModel(_at_hand(dense))
        for event in execute(config, dict(texts), models, latency, dense_scores=baseline.scores):
            if isinstance(event, Finished):
                return event.run
    except Exception as error:
        return dataclasses.replace(failure(error), seconds=round(time.monotonic() - started, 3))
    raise AssertionError("a run ends with its result or an error")


def failure(error: Exception) -> Failure:
    """An error as a sentence; an unexpected one keeps its kind."""
    lines = str(error).strip().splitlines() or [""]
    return Failure(str(error) if isinstance(error, EggsError) else f"{type(error).__name__}: {lines[0]}"[:400])


def _at_hand(dense: LoadedModel) -> LoadedModel:
    """The shared model itself on a CPU, where its memory is read only; a copy on an accelerator."""
    device = best_device()
    if device.type == "cpu":
        return dense
    return dense.copied_to(device)
