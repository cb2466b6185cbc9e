"""What the machine at hand does with one run's shapes and pattern: layers, generation, bandwidth, and a real file."""

from __future__ import annotations

import copy
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from eggs_core.errors import EggsError
from eggs_core.models.dense_models import CACHE, Models
from eggs_core.models.fingerprints import check_same_weights
from eggs_core.models.loading import moved
from eggs_core.packed.byte_counts import decode_bytes
from eggs_core.packed.kernel import library as kernels
from eggs_core.packed.kernel.library import DTYPE_NAMES
from eggs_core.packed.model import packed_copy
from eggs_core.packed.writing import save_packed
from eggs_core.pattern import Patterns
from eggs_core.progress import Progress, memory_errors
from eggs_core.report_types import Latency
from eggs_core.runs.run import Run, layer_pattern, layer_shape
from eggs_core.runs.streamed import check_in_memory
from eggs_core.speed.generation import measure_generation
from eggs_core.speed.layers import TOKENS, measure_layers, memory_bandwidth
from eggs_core.text.sources import bundled_text
from eggs_core.text.windows import prompt_ids

if TYPE_CHECKING:  # it takes transformers seconds to import its models
    from transformers import PreTrainedModel

CELL_SECONDS = 0.12  # for one layer shape at one number of tokens
PROMPT_TOKENS, NEW_TOKENS, ROUNDS = 64, 24, 4
FILE_LIMIT = 4 << 30  # bytes of a packed file that is written to be measured
TWIN_LIMIT = 4 << 30  # bytes of a model that is copied in another dtype to be timed


@dataclass(slots=True)
class Measurement:
    """Figures of one model and pattern on this machine; `layers` fills while it is being taken, the rest comes last."""

    shapes: list[tuple[int, int]]
    pattern: str
    layers: list[dict[str, Any]] = field(default_factory=list)  # LayerTiming.to_dict()
    generation: Latency | None = None  # measured last
    bandwidth: float = 0.0  # GB/s at which memory is read with all threads
    dense_bytes: dict[str, int] = field(default_factory=dict)  # decode_bytes of the dense model
    packed_bytes: dict[str, int] = field(default_factory=dict)  # and of the packed one
    file_bytes: int | None = None  # of the packed file, as written; None when it would be too large to write
    kernel_note: str = ""
    load: float = 0.0  # load average before it began

    @property
    def complete(self) -> bool:
        """Is everything measured?"""
        return self.generation is not None


def measure_key(run: Run) -> tuple[object, ...]:
    """What runs have in common that one measurement serves: weights, pattern, layers and which channels are ordered."""
    report = run.report
    layers = tuple(
        (layer["name"], *layer["shape"], layer["name"] in run.permutations, layer_pattern(layer, report))
        for layer in report["layers"]
    )
    return report["model"], report.get("fingerprint", ""), report["pattern"], layers


def shapes_of(run: Run) -> list[tuple[int, int]]:
    """The distinct (out, in) shapes of a run's pruned layers, in model order."""
    return list(dict.fromkeys(layer_shape(layer) for layer in run.report["layers"]))


def measure_speed(
    run: Run, models: Models = CACHE, cell_seconds: float = CELL_SECONDS
) -> Iterator[tuple[Progress, Measurement]]:
    """Measure a finished run's shapes and pattern here: yields (Progress, Measurement) pairs, the same object growing.

    Speed depends on shapes, pattern and dtype, not on values. So the dense weights under the run's masks serve for
    every run of the same model and pattern. Raises EggsError when the model cannot be loaded.
    """
    report, shapes, pattern = run.report, shapes_of(run), run.pattern
    check_in_memory(run)
    found = Measurement(shapes, str(pattern), load=os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0)
    yield Progress(f"Loading {report['model']}", 0.0), found
    dense = models.get(report["model"])
    check_same_weights(report, dense)
    found.kernel_note = kernels.kernel_note()
    cells, device = len(shapes) * len(TOKENS), dense.model.device
    with memory_errors("Measuring latency"):
        timings = measure_layers(shapes, pattern, seconds=cell_seconds, device=device)
        for number, timing in enumerate(timings, 1):
            found.layers.append(timing.to_dict())
            yield Progress(f"Timing layer shapes: {number} of {cells}", 0.7 * number / cells), found
        yield Progress("Generating text, dense and packed in turn", 0.75), found
        masks = {layer["name"]: run.mask(layer["name"]) for layer in report["layers"]}
        packed = packed_copy(dense.model, masks, run.patterns, run.permutations)
        found.dense_bytes, found.packed_bytes = decode_bytes(dense.model), decode_bytes(packed)
        found.bandwidth = memory_bandwidth(repeats=4) if device.type == "cpu" else 0.0
        if sum(t.nbytes for t in packed.state_dict().values()) < FILE_LIMIT:
            found.file_bytes = _written_bytes(packed)
        prompt = prompt_ids(dense.tokenizer, bundled_text("heldout").content[:4000])
        prompt = prompt[:, :PROMPT_TOKENS].to(device)
        dense.check_tokens(prompt)
        others = _twins(dense.model, masks, run.patterns, run.permutations)
        found.generation = measure_generation(
            dense.model, packed, prompt, new_tokens=NEW_TOKENS, rounds=ROUNDS, others=others
        )
    yield Progress("Measured", 1.0), found


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
