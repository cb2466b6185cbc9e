"""Measuring what the machine at hand does with one run's shapes and pattern."""

from __future__ import annotations

import copy
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from eggs_core.errors import EggsError
from eggs_core.heavy import torch
from eggs_core.models.dense_models import CACHE, Models
from eggs_core.models.fingerprints import check_same_weights
from eggs_core.models.loading import moved
from eggs_core.packed.byte_counts import decode_bytes
from eggs_core.packed.grid import Grid
from eggs_core.packed.kernel import library as kernels
from eggs_core.packed.kernel.library import DTYPE_NAMES
from eggs_core.packed.model import packed_copy
from eggs_core.packed.writing import save_packed
from eggs_core.pattern import NMPattern, Patterns
from eggs_core.progress import Progress, memory_errors
from eggs_core.runs.measurement import Measurement, cases_of
from eggs_core.runs.rotated import dense_copy
from eggs_core.runs.run import Run, layer_shape
from eggs_core.runs.streamed import check_in_memory
from eggs_core.speed.generation import measure_generation
from eggs_core.speed.layers import TOKENS, measure_layers, memory_bandwidth
from eggs_core.text.sources import bundled_text
from eggs_core.text.windows import prompt_ids

if TYPE_CHECKING:  # it takes transformers seconds to import its models
    from torch import Tensor
    from transformers import PreTrainedModel

CELL_SECONDS = 0.12  # for one layer shape at one number of tokens
PROMPT_TOKENS, NEW_TOKENS, ROUNDS = 64, 24, 4
FILE_LIMIT = 4 << 30  # bytes of a packed file that is written to be measured
TWIN_LIMIT = 4 << 30  # bytes of a model that is copied in another dtype to be timed


def measure_speed(
    run: Run, models: Models = CACHE, cell_seconds: float = CELL_SECONDS
) -> Iterator[tuple[Progress, Measurement]]:
    """Measure a finished run's shapes and pattern here: yields (Progress, Measurement) pairs, the same object growing.

    Speed depends on shapes, pattern and dtype, not on values. So the dense weights under the run's masks serve for
    every run of the same model and pattern. Raises EggsError when the model cannot be loaded.
    """
    run.check_packs()
    report, cases = run.report, cases_of(run)
    check_in_memory(run)
    found = Measurement(cases, load=os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0)
    yield Progress(f"Loading {report['model']}", 0.0), found
    dense = models.get(report["model"])
    check_same_weights(report, dense)
    found.kernel_note = kernels.kernel_note()
    cells, device = len(cases) * len(TOKENS), dense.model.device
    with memory_errors("Measuring latency"):
        timings = (
            timing
            for rows, columns, pattern in cases
            for timing in measure_layers(
                [(rows, columns)], NMPattern.parse(pattern), seconds=cell_seconds, device=device
            )
        )
        for number, timing in enumerate(timings, 1):
            found.layers.append(timing.to_dict())
            yield Progress(f"Timing layer shapes: {number} of {cells}", 0.7 * number / cells), found
        yield Progress("Generating text, dense and packed in turn", 0.75), found
        masks = {layer["name"]: run.mask(layer["name"]) for layer in report["layers"]}
        grids = _grids(run)
        base = dense.model if run.rotation is None else dense_copy(run, dense)
        packed = packed_copy(base, masks, run.patterns, run.permutations, grids)
        found.dense_bytes, found.packed_bytes = decode_bytes(dense.model), decode_bytes(packed)
        found.bandwidth = memory_bandwidth(repeats=4) if device.type == "cpu" else 0.0
        if sum(t.nbytes for t in packed.state_dict().values()) < FILE_LIMIT:
            found.file_bytes = _written_bytes(packed)
        prompt = prompt_ids(dense.tokenizer, bundled_text("heldout").content[:4000])
        prompt = prompt[:, :PROMPT_TOKENS].to(device)
        dense.check_tokens(prompt)
        others = {} if grids else _twins(base, masks, run.patterns, run.permutations)
        found.generation = measure_generation(
            dense.model, packed, prompt, new_tokens=NEW_TOKENS, rounds=ROUNDS, others=others
        )
    yield Progress("Measured", 1.0), found


def _grids(run: Run) -> dict[str, Grid]:
    """Grids like those of a run whose values are rounded, all scales 1."""
    bits, patterns = run.config.bits, run.patterns
    layers = run.report["layers"] if bits is not None else []
    return {layer["name"]: Grid.ones(layer_shape(layer), patterns[layer["name"]], bits or 0) for layer in layers}


def _twins(
    model: PreTrainedModel, masks: Mapping[str, Tensor], patterns: Patterns, permutations: Mapping[str, Tensor]
) -> dict[str, PreTrainedModel]:
    """On a CPU, the dense and the packed model in the other dtype, as which is faster differs between machines."""
    if model.device.type != "cpu" or sum(p.nbytes for p in model.parameters()) > TWIN_LIMIT:
        return {}
    dtype = torch.float32 if model.dtype == torch.bfloat16 else torch.bfloat16
    twin = moved(copy.deepcopy(model), dtype)
    name = DTYPE_NAMES[dtype]
    return {f"dense_{name}": twin, f"packed_{name}": packed_copy(twin, masks, patterns, permutations)}


def _written_bytes(packed: PreTrainedModel) -> int | None:
    """Bytes of the packed file, None where there is no room to write it."""
    try:
        with tempfile.TemporaryDirectory(prefix="eggs-size-", ignore_cleanup_errors=True) as folder:
            return save_packed(packed, Path(folder) / "size.safetensors").stat().st_size
    except (OSError, EggsError):
        return None
