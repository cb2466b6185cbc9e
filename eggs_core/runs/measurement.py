"""What the machine at hand does with one run's shapes and patterns: layers, generation, bandwidth, and a real file."""

from dataclasses import dataclass, field
from typing import Any

from eggs_core.report_types import Latency
from eggs_core.runs.patterns import layer_pattern
from eggs_core.runs.run import Run, layer_shape

Case = tuple[int, int, str]  # outputs, inputs and pattern of a layer


@dataclass(slots=True)
class Measurement:
    """Figures of one model and its patterns here; `layers` fills while it is being taken, the rest comes last."""

    cases: list[Case]
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
    """What runs have in common that one measurement serves: weights, pattern, values, layers and ordered channels."""
    report = run.report
    layers = tuple(
        (layer["name"], *layer["shape"], layer["name"] in run.permutations, layer_pattern(layer, report))
        for layer in report["layers"]
    )
    return report["model"], report.get("fingerprint", ""), report["pattern"], run.config.bits, layers


def cases_of(run: Run) -> list[Case]:
    """The distinct shapes of a run's pruned layers, each with its pattern, in model order."""
    layers = run.report["layers"]
    return list(dict.fromkeys((*layer_shape(layer), str(layer_pattern(layer, run.report))) for layer in layers))
