"""Recovery as a stage of a run: what it reads, where it keeps what was learned, and the scores before and after."""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Generator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

from safetensors import SafetensorError, safe_open

from eggs_core.config import PruneConfig
from eggs_core.errors import EggsError
from eggs_core.evaluation.perplexity import WindowScores, protocol
from eggs_core.evaluation.steps import evaluate_steps
from eggs_core.files import check_disk, write_json, write_tensors
from eggs_core.heavy import safetensors_torch, torch
from eggs_core.masks.bits import pack_bits
from eggs_core.models.architectures import linear_layers
from eggs_core.models.loading import LoadedModel
from eggs_core.packed.grid import Grid, rounds_tables
from eggs_core.pattern import NMPattern
from eggs_core.progress import Progress, memory_errors
from eggs_core.pruning.activation_store import STATE, WORK
from eggs_core.pruning.recovery import HELD_OUT, Lesson, RecoveryPoint, automatic_rate
from eggs_core.pruning.trained import Rounding, Trained
from eggs_core.report_types import Recovery, Report, Scores
from eggs_core.runs.inputs import Texts
from eggs_core.runs.store import RunStore
from eggs_core.text.sources import Text
from eggs_core.text.windows import bos_of, training_windows

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SCALES = "scales of "  # before a layer's name, in the file of what was learned
WEIGHTS, CHECKPOINT = "recovered.safetensors", "recovery.safetensors"  # what was learned; what is needed to go on


def check_recovery(config: PruneConfig, texts: Texts) -> None:
    """Raise EggsError if a run would learn from the text on which it is evaluated."""
    if config.recovery_tokens and texts.calibration.sha256 == texts.evaluation.sha256:
        raise EggsError(
            "Recovery would learn from the text on which the run is evaluated; choose another text for one of them."
        )


@dataclass(frozen=True, slots=True)
class Course:
    """One recovery: the configuration that asks for it, the dense model, the text, and what pruning chose by layer.

    `patterns`, `permutations` and `grids` say how rounded values are stored; there are no grids where none are.
    """

    config: PruneConfig
    dense: LoadedModel
    masks: Mapping[str, torch.Tensor]
    text: Text
    patterns: Mapping[str, NMPattern]
    permutations: Mapping[str, torch.Tensor]
    grids: Mapping[str, Grid] = field(default_factory=dict)
    out: Path | None = None  # where what was learned is kept; None is the run store

    @property
    def place(self) -> Path:
        """The folder of what was learned."""
        return RunStore().checkpoint(self.config.key()) if self.out is None else Path(self.out)

    @property
    def seed(self) -> int:
        """Of the windows and their order."""
        chosen = self.config.option("recovery_seed")
        return self.config.seed if chosen is None else int(chosen)

    @property
    def key(self) -> str:
        """What tells this recovery from any other: configuration, weights and masks."""
        digest = hashlib.sha256(f"{self.config.key()} {self.dense.fingerprint}".encode())
        for name in sorted(self.masks):
            digest.update(name.encode() + pack_bits(self.masks[name].cpu()).numpy().tobytes())
        return digest.hexdigest()

    def roundings(self) -> dict[str, Rounding]:
        """How each layer's kept weights are rounded."""
        return {
            name: grid.rounding(self.patterns[name], self.permutations.get(name)) for name, grid in self.grids.items()
        }

    def lesson(self) -> Lesson:
        """What is learned from; raises EggsError for a text that is too short or that the model cannot read."""
        config, length = self.config, self.config.calibration_length
        count = max(1, math.ceil(config.recovery_tokens / length))
        training, held_out = training_windows(
            self.dense.tokenizer, self.text, count, length, HELD_OUT, self.seed, config.bos
        )
        self.dense.check_window(length)
        self.dense.check_tokens(training, held_out)
        rate = config.option("recovery_rate") or automatic_rate(self.dense.model)
        return Lesson(training, held_out, rate, self.place / WORK / CHECKPOINT, self.key)

    def prepare(self) -> None:
        """Make the folder; raises EggsError, before the work, if it cannot be written or has no room."""
        kept = self.dense.parameters * 4
        if self.out is None:
            RunStore().claim(self.config.key(), kept)
        check_disk(self.place, 5 * kept, "Recovery")
        write_json(self.place / WORK / STATE, {"input": {"config": self.config.key()}})


def recovery_steps(
    student: PreTrainedModel, course: Course, first: float, last: float
) -> Generator[Progress | RecoveryPoint, None, Recovery]:
    """Train a pruned model in place, with progress from the share `first` to `last`; what was begun before goes on.

    Returns its part of a report, without the scores, which `scored` adds.
    """
    lesson = course.lesson()
    course.prepare()
    distil = course.config.entries()["recovery"].load()
    steps = distil(student, course.dense.model, course.masks, lesson, course.roundings())
    with memory_errors("Recovery"):
        try:
            while True:
                event = next(steps)
                if isinstance(event, Progress):
                    share = first + (last - first) * event.share
                    event = Progress(event.text, share, event.seconds_left)
                yield event
        except StopIteration as end:
            learned = end.value
        finally:
            steps.close()
    scales = {f"{SCALES}{name}": grid.scales for name, grid in course.grids.items() if grid.scales is not None}
    write_tensors(course.place / WEIGHTS, learned.values | scales, {"key": course.key})
    shutil.rmtree(course.place / WORK, ignore_errors=True)
    return cast(
        Recovery,
        {
            **protocol(course.text, lesson.training, bos_of(course.dense.tokenizer, course.config.bos)),
            "held_out": len(lesson.held_out),
            "tokens": lesson.training.numel(),
            "rate": lesson.rate,
            "seed": course.seed,
            "losses": [asdict(point) for point in learned.curve],
            "seconds": learned.seconds,
            "weights": str((course.place / WEIGHTS).absolute()),
        },
    )


def scored(
    student: PreTrainedModel, found: Recovery, before: Scores, windows: torch.Tensor, first: float, last: float
) -> Generator[Progress, None, WindowScores]:
    """Evaluate the recovered model; the scores before and after go into its part of a report. Returns the latter."""
    with memory_errors("Evaluating the recovered model"):
        after = yield from evaluate_steps(student, windows, "Evaluating the recovered model", first, last)
    found["before"], found["after"] = before, after.to_dict()
    return after


def take_up(model: PreTrainedModel, report: Report, course: Course) -> dict[str, Grid] | None:
    """Give a model, pruned by the course's masks, the values that a run's recovery learned; None if they are gone.

    Returns the grids that they are rounded to, by layer name. The report's own file counts before the run store's.
    Values of other masks or weights are not taken.
    """
    trained, places = Trained(model, linear_layers(model), course.masks), []
    if (recovery := report.get("recovery")) and (said := recovery.get("weights")):
        places.append(Path(said))
    with suppress(EggsError):  # the run store may not be there
        places.append(course.place / WEIGHTS)
    for file in places:
        tensors = _kept(file, course.key) if file.is_file() else {}
        grids = _grids(course, tensors)
        values = {name: value for name, value in tensors.items() if not name.startswith(SCALES)}
        if grids is not None and {name: len(value) for name, value in values.items()} == trained.sizes():
            trained.set_values(values)
            return grids
    return None


def _grids(course: Course, tensors: Mapping[str, torch.Tensor]) -> dict[str, Grid] | None:
    """The grids of rounded values, by layer name; None if a layer's scales are not there."""
    if (bits := course.config.bits) is None:
        return {}
    scales = {name: tensors.get(f"{SCALES}{name}") for name in course.masks} if rounds_tables(bits) else {}
    if any(value is None for value in scales.values()):
        return None
    return {name: Grid(bits, scales.get(name)) for name in course.masks}


def _kept(file: Path, key: str) -> dict[str, torch.Tensor]:
    """The values in a file; none if they are another recovery's, or damaged: then they are learned again."""
    try:
        with safe_open(file, framework="pt") as opened:
            if (opened.metadata() or {}).get("key") != key:
                return {}
        return safetensors_torch.load_file(file)
    except (OSError, SafetensorError):
        return {}
