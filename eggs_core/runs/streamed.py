"""A whole run of a model that is larger than memory: what execute does, block by block from a safetensors folder."""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, snapshot_download

from eggs_core.config import PruneConfig
from eggs_core.device import best_device, every_device, free_memory
from eggs_core.errors import EggsError
from eggs_core.heavy import torch
from eggs_core.hub import HUB_SECONDS, asking
from eggs_core.limits import hosted
from eggs_core.models.checkpoint import Checkpoint
from eggs_core.models.fingerprints import same_weights
from eggs_core.models.folder import CONFIG, read_object
from eggs_core.models.meta import skeleton
from eggs_core.models.opening_errors import explained
from eggs_core.models.quantised import VALUES_PER_BYTE, method_of
from eggs_core.models.source import folder_here, model_source
from eggs_core.network import reachable
from eggs_core.progress import Progress, memory_errors
from eggs_core.pruning.loop import LayerReport
from eggs_core.pruning.memory_estimate import Shapes, peak_bytes
from eggs_core.pruning.out_of_core import Streamed, StreamedPruning
from eggs_core.pruning.plan import Plan
from eggs_core.runs.events import Event, Finished, LayerDone
from eggs_core.runs.folder import has_run
from eggs_core.runs.inputs import Inputs, Texts
from eggs_core.runs.new_report import Clock, Coverage, Weights, new_report
from eggs_core.runs.rotated import left_as_it_is
from eggs_core.runs.run import Run, load_run, save_run
from eggs_core.runs.store import RunStore
from eggs_core.text.sources import Text
from eggs_core.text.windows import has_beginning
from eggs_core.units import size

IN_MEMORY = 2.6  # times its weights that a run in memory takes: the dense model, the pruned copy, its packed twin
FILES = ["*.safetensors", "*.json", "tokenizer*", "*.model", "*.txt"]  # of a Hub model that a run needs
_INFO = asking(HfApi().model_info)


def streams(name: str, free: Callable[[torch.device], float] | None = None, info: Callable[..., Any] = _INFO) -> bool:
    """Is the model too large for a run in memory, and can it be read block by block? Downloads nothing.

    `free` tells the bytes that are free on a device, by default free_memory; `info` is HfApi's model_info.
    """
    source, extra = model_source(name)
    if extra or hosted():  # a public server neither fills its disk nor takes models that large
        return False
    if folder := folder_here(source):
        saved = read_object(name, folder / CONFIG)
        stored = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
        half = (saved.get("dtype") or saved.get("torch_dtype")) in ("float16", "bfloat16")
        if method := method_of(saved):  # what it is dequantised to is bf16
            stored, half = 2 * stored * VALUES_PER_BYTE.get(method, 1), True
    else:
        try:
            files = info(source, files_metadata=True, timeout=HUB_SECONDS).siblings or []
        except Exception:  # whatever it is, loading the model says it in a sentence
            return False
        stored, half = sum(f.size or 0 for f in files if f.rfilename.endswith(".safetensors")), True
    return too_large(stored, half, free)


def too_large(stored: int, half: bool, free: Callable[[torch.device], float] | None = None) -> bool:
    """Is a model of so many stored bytes, of fp16 or bf16 values if `half`, too large for a run in memory?"""
    device = best_device()
    loaded = stored * (2 if half and device.type == "cpu" else 1)  # in memory the CPU computes in fp32
    return loaded * IN_MEMORY > (free or free_memory)(device)


def check_in_memory(run: Run) -> None:
    """Raise EggsError if a run was made block by block and its model's weights do not fit into memory at once."""
    if (place := run.report.get("checkpoint")) and streams(run.report["model"]):
        raise EggsError(
            f"{run.report['model']} is larger than memory and was pruned block by block, so nothing that needs all its "
            f"weights at once is available here; the pruned model lies in {place}."
        )


def checkpoint_of(name: str, download: Callable[..., str] = snapshot_download) -> Checkpoint:
    """The checkpoint of that name, downloaded first if it is on the Hub and not here yet."""
    source, _ = model_source(name)
    if os.path.isdir(source):
        return Checkpoint(name)
    if not reachable() and (folder := folder_here(source)):
        return Checkpoint(name, folder=folder)
    with explained(name):
        return Checkpoint(name, folder=Path(download(source, allow_patterns=FILES)))


def streamed_folder(key: str) -> Path:
    """Where the pruned checkpoint of a run goes unless another folder is named: a hidden place in the run store.

    Raises EggsError if that is not the store's to write to.
    """
    return RunStore().checkpoint(key)


def execute_streamed(
    config: PruneConfig, texts: dict[str, Text] | None = None, out: Path | None = None
) -> Iterator[Event]:
    """Run a configuration block by block; the pruned Hugging Face folder, report and masks go to `out`.

    A run that was stopped goes on where it was, and a finished one is read back. Nothing is measured that needs all
    weights in memory: the report's "latency" is None. Raises EggsError for all that cannot run.
    """
    if config.recovery_tokens:
        raise EggsError(
            f"Recovery needs {config.model} in memory at once, and it is pruned block by block; leave recovery out."
        )
    clock, stored = Clock(), out is None
    if stored:
        streamed_folder(config.key())  # before the work: the store may not be writable
    yield Progress("Reading the texts", 0.0)
    chosen = Texts.of(config, texts)
    yield Progress(f"Opening {config.model}, which is pruned block by block from disk", 0.0)
    checkpoint = checkpoint_of(config.model)
    config = config.with_bos(has_beginning(checkpoint.tokenizer))
    out = streamed_folder(config.key()) if out is None else Path(out)
    known = load_run(out) if has_run(out) else None
    if known and known.key == config.key() and same_weights(known.report.get("fingerprint"), checkpoint):
        yield Finished(known, None, None)
        return
    inputs = Inputs.of(config, chosen, checkpoint.tokenizer)
    inputs.check(checkpoint)
    if stored:
        RunStore().claim(config.key(), checkpoint.nbytes * 17 // 16)  # masks are a sixteenth of fp16 weights
    devices = every_device(checkpoint.device)
    job = StreamedPruning(checkpoint, config, inputs.calibration, inputs.evaluation, out, devices)
    try:
        kept = max(job.finished, 0)
        again = f", going on after {kept} finished blocks" if kept else ""
        need = peak_bytes(Shapes.of(checkpoint), config, checkpoint.dtype.itemsize)
        yield Progress(f"Streaming into {out} in some {size(need)} of memory{again}", 0.01)
        with memory_errors("Calibrating"):
            job.capture()
        started = clock.seconds()
        with memory_errors("Pruning"):
            yield from _layers(job, kept)
        clock.pruning = clock.seconds() - started
        yield Progress("Evaluating both models from their last hidden states", 0.95)
        with memory_errors("Evaluating"):
            job.evaluate()
        run = _finished(job.finish(), config, inputs, checkpoint, job.plan, clock, out)
        save_run(run, out)
        job.clear()
    finally:
        job.close()
    yield Finished(run, None, None)


def _finished(
    done: Streamed, config: PruneConfig, inputs: Inputs, checkpoint: Checkpoint, plan: Plan, clock: Clock, out: Path
) -> Run:
    """The run of a checkpoint that was pruned into `out`."""
    from eggs_core.packed.byte_counts import size_breakdown  # here, as it imports torch at once

    whole = skeleton(copy.deepcopy(checkpoint.config), dtype=checkpoint.stored_dtype)
    names = [layer["name"] for layer in done.layers]
    report = new_report(
        config,
        inputs,
        Weights.of(checkpoint),
        clock,
        layers=done.layers,
        scores=(done.dense, done.pruned),
        size=size_breakdown(whole, names, plan.patterns, done.permutations, config.bits, whole_tables=True),
        latency=None,
        coverage=Coverage.of(whole, plan, names),
        rotation=left_as_it_is(config, "it is pruned block by block from disk, and a rotation needs all of it at once"),
    )
    report["checkpoint"] = str(out.resolve())
    return Run(report, done.masks, done.topn, done.permutations)


def _layers(job: StreamedPruning, kept: int) -> Iterator[Event]:
    """Prune what is left, with progress over all blocks."""
    started, total = time.monotonic(), job.total_layers
    before = total * kept // len(job)
    first, last = 0.03, 0.94
    done = 0
    for event in job.prune():
        if isinstance(event, LayerReport):
            done += 1
            yield LayerDone(event, total)
            text = f"Streaming block {event.block + 1} of {len(job)}, {event.projection}"
        else:
            text = event.text
        left = (time.monotonic() - started) / max(done, 1) * (total - before - done)
        yield Progress(text, first + (last - first) * (before + done) / total, left)
