"""One whole run, from a configuration to a finished report: what the app and the command line both call."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from eggs_core.config import PruneConfig
from eggs_core.device import check_room
from eggs_core.evaluation.dense_scores import DENSE_SCORES
from eggs_core.evaluation.perplexity import WindowScores
from eggs_core.evaluation.steps import evaluate_steps
from eggs_core.files import check_disk
from eggs_core.heavy import torch
from eggs_core.limits import check_config
from eggs_core.masks.bits import pack_bits
from eggs_core.masks.disk_use import keeps_topn, needed_bytes
from eggs_core.models.dense_models import CACHE, Models
from eggs_core.models.fingerprints import same_weights
from eggs_core.models.loading import LoadedModel
from eggs_core.progress import Progress, memory_errors
from eggs_core.pruning.loop import LayerReport, prune_steps
from eggs_core.pruning.plan import Plan, plan_for
from eggs_core.report_types import Latency, Recovery
from eggs_core.runs.events import Event, Finished, LayerDone
from eggs_core.runs.inputs import Inputs, Texts
from eggs_core.runs.new_report import Clock, Coverage, Weights, new_report
from eggs_core.runs.recovery import Course, check_recovery, recovery_steps, scored
from eggs_core.runs.rotated import Copied, copied
from eggs_core.runs.run import Run
from eggs_core.runs.streamed import checkpoint_of, execute_streamed, streams
from eggs_core.text.sources import Text
from eggs_core.text.windows import has_beginning

if TYPE_CHECKING:  # it takes transformers seconds to import its models
    from transformers import PreTrainedModel

ONE_SHOT = (0.8, 0.93)  # shares of a run when pruning ends, and when the pruned model is evaluated
TURNED = 0.35  # share when a rotation is learned, which begins at 0.2 as pruning else does
PARTS = (0.4, 0.45, 0.9, 0.93)  # the same with recovery, then when that ends, and when the recovered one is evaluated
TRAINING = 3.0  # copies that recovery needs beside: gradients, and AdamW's two averages
COPIES = 1.6  # of a model beside the dense one while it is pruned: the pruned copy, and its packed twin


def execute(
    config: PruneConfig,
    texts: dict[str, Text] | None = None,
    cache: Models = CACHE,
    latency: Latency | None = None,
    *,
    dense_scores: WindowScores | None = None,
    stream: bool | None = None,
    out: Path | None = None,
    store: Path | None = None,
) -> Iterator[Event]:
    """Run a configuration: load, evaluate dense, prune a copy, evaluate again, recover, measure size and latency.

    A model that is too large for that is pruned block by block from disk into the folder `out` (see
    streamed.execute_streamed); so is any model with `stream`. The caller is going to save the run in `out` and `store`,
    so their disks must have room for it.

    `texts` holds texts of the user's own, by the name that the configuration gives them. `latency` is what
    `measure_generation` found for this model and packed layout, and `dense_scores` is the dense model's evaluation, if
    they are known. The dense model is never changed. Closing the generator stops after the layer or batch at hand.
    Raises EggsError for all that cannot run.
    """
    from eggs_core.packed.byte_counts import size_breakdown  # here, as they import torch at once
    from eggs_core.speed.generation import measure_generation

    check_config(config)
    if streams(config.model) if stream is None else stream:
        yield from execute_streamed(config, texts, out)
        return
    clock = Clock()
    yield Progress("Reading the texts", 0.0)
    chosen = Texts.of(config, texts)
    check_recovery(config, chosen)
    yield Progress(f"Loading {config.model}", 0.0)
    dense = cache.get(config.model)
    plan = plan_for(dense.model, config.pattern, config.layers)
    for folder in filter(None, (out, store)):
        check_disk(folder, needed_bytes(plan.shapes, plan.patterns), f"Saving the run in {folder}")
    config = config.with_bos(has_beginning(dense.tokenizer))
    inputs = Inputs.of(config, chosen, dense.tokenizer)
    inputs.check(dense)
    calibration, evaluation = inputs.calibration, inputs.evaluation
    weights = Weights.of(dense)  # before the work: files may change meanwhile
    if dense_scores is None:
        dense_scores = yield from _dense_scores(dense, evaluation)
    (model, rotation, said), layers = yield from _pruned_copy(dense, calibration, config, plan, clock)
    masks = {r.name: r.mask for r in layers}
    permutations = {r.name: r.permutation for r in layers if r.permutation is not None}
    grids = {r.name: r.grid for r in layers if r.grid is not None}
    course = Course(config, dense, masks, chosen.calibration, plan.patterns, permutations, grids, out)
    pruned_scores, recovery = yield from _evaluated(model, evaluation, course)
    if latency is None and all(pattern.packs for pattern in plan.patterns.values()):
        yield Progress("Measuring latency", 0.93)
        with memory_errors("Measuring latency"):
            prompt = evaluation[:1, :64]
            latency = measure_generation(dense.model, model, prompt, masks, plan.patterns, permutations, grids=grids)
    report = new_report(
        config,
        inputs,
        weights,
        clock,
        layers=[layer.to_dict() for layer in layers],
        scores=(dense_scores, pruned_scores),
        size=size_breakdown(model, masks, plan.patterns, permutations, config.bits),
        coverage=Coverage.of(model, plan, masks.keys()),
        latency=latency,
        recovery=recovery,
        rotation=said,
    )
    packed = {name: pack_bits(mask) for name, mask in masks.items()}
    packed_topn = {r.name: pack_bits(r.topn_mask) for r in layers} if keeps_topn(plan.shapes.values()) else {}
    yield Finished(Run(report, packed, packed_topn, permutations, rotation), dense, model, grids)


def _dense_scores(dense: LoadedModel, windows: torch.Tensor) -> Generator[Event, None, WindowScores]:
    """The dense model's scores, which are kept for the next run on the same windows."""
    scores = DENSE_SCORES.get(dense.model, windows)
    if scores is None:
        with memory_errors("Evaluating the dense model"):
            scores = yield from evaluate_steps(dense.model, windows, "Evaluating the dense model", 0.03, 0.2)
        DENSE_SCORES.put(dense.model, windows, scores)
    return scores


def _pruned_copy(
    dense: LoadedModel, windows: torch.Tensor, config: PruneConfig, plan: Plan, clock: Clock
) -> Generator[Event, None, tuple[Copied, list[LayerReport]]]:
    """A pruned copy of the model, and what happened to each layer; the clock learns how long it took."""
    copies = COPIES + (TRAINING if config.recovery_tokens else 0)
    check_room(copies * dense.nbytes, dense.device, f"Pruning {config.model}")
    layers: list[LayerReport] = []
    total, first, last = len(plan.patterns), TURNED if config.rotates else 0.2, _parts(config)[0]
    with memory_errors("Pruning"):
        made = yield from copied(dense, windows, plan.patterns, config, 0.2, first)
        yield Progress(f"Calibrating on {windows.numel():,} tokens", first)
        started = clock.seconds()
        for event in prune_steps(made.model, windows, config):
            clock.pruning = clock.seconds() - started
            if isinstance(event, LayerReport):
                layers.append(event)
                yield LayerDone(event, total)
                text = f"Block {event.block + 1}, {event.projection}: layer {len(layers)} of {total}"
            else:
                text = event.text
            left = clock.pruning / len(layers) * (total - len(layers))
            yield Progress(text, first + (last - first) * len(layers) / total, left)
    return made, layers


def _parts(config: PruneConfig) -> tuple[float, ...]:
    return PARTS if config.recovery_tokens else ONE_SHOT


def _evaluated(
    model: PreTrainedModel, windows: torch.Tensor, course: Course
) -> Generator[Event, None, tuple[WindowScores, Recovery | None]]:
    """Evaluate the pruned model, recover it in place and evaluate it again if that is asked for.

    Returns the scores of the model as it is then, and what recovery did.
    """
    parts = _parts(course.config)
    with memory_errors("Evaluating the pruned model"):
        scores = yield from evaluate_steps(model, windows, "Evaluating the pruned model", *parts[:2])
    if not course.config.recovery_tokens:
        return scores, None
    recovery = yield from recovery_steps(model, course, *parts[1:3])
    after = yield from scored(model, recovery, scores.to_dict(), windows, *parts[2:])
    return after, recovery


def is_current(run: Run) -> bool:
    """Was the run made with the weights that its model has now, in memory or block by block? Loads the model."""
    name = run.report["model"]
    model = checkpoint_of(name) if streams(name) else CACHE.get(name)
    return same_weights(run.report.get("fingerprint"), model)
