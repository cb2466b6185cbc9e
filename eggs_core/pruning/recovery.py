"""Recovery: after pruning, kept weights and norms learn the dense model's next-token distribution; the masks stay.

Distillation as in Hinton, Vinyals and Dean (arXiv 1503.02531), at temperature 1, by AdamW (arXiv 1711.05101).
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

from eggs_core.errors import EggsError
from eggs_core.files import write_tensors
from eggs_core.heavy import nn, no_grad, safetensors_torch, torch
from eggs_core.models.architectures import linear_layers
from eggs_core.progress import Progress
from eggs_core.pruning.trained import Rounding, Trained, schedule

if TYPE_CHECKING:  # it takes transformers seconds to import its models
    from transformers import PreTrainedModel

BATCH = 8  # windows that one step of the optimizer reads
HELD_OUT = 16  # windows on which the curve is measured, at most
POINTS = 12  # of the curve, after the one before training
RATE_TIMES_WIDTH = 0.2  # the learning rate, unless a run says otherwise, is this over the model's width
CLIP = 1.0  # norm of all gradients, at most
PART_LOGITS = 2**25  # logits of the windows that go through a model together, 128 MB in fp32
CHUNK_LOGITS = 2**22  # logits that are turned into probabilities together
SAVE_SECONDS = 60.0  # between two checkpoints


@dataclass(frozen=True, slots=True)
class RecoveryPoint:
    """After so many steps and tokens: Kullback-Leibler divergence from the dense model, nats a token, held-out text."""

    step: int
    tokens: int
    loss: float


@dataclass(frozen=True, slots=True)
class Lesson:
    """What is learned from: windows of tokens, (windows, length) int64 each, and the rate before its decay.

    `held_out` windows are only measured on. With a `checkpoint` file training can be cut off and goes on; `key` names
    the run that it belongs to.
    """

    training: torch.Tensor
    held_out: torch.Tensor
    rate: float
    checkpoint: Path | None = None
    key: str = ""

    @property
    def steps(self) -> int:
        """Of the optimizer."""
        return math.ceil(len(self.training) / BATCH)

    def rate_at(self, step: int) -> float:
        """The learning rate of a step, from 0: a short rise, then half a cosine down to 0."""
        return self.rate * schedule(step, self.steps)


@dataclass(slots=True)
class Learned:
    """How training went: the curve, the kept values of its best point by parameter name, and the seconds it took."""

    curve: list[RecoveryPoint]
    values: dict[str, torch.Tensor]
    seconds: float = 0.0

    @property
    def best(self) -> RecoveryPoint:
        """The point of least loss."""
        return min(self.curve, key=lambda point: point.loss)


def automatic_rate(model: PreTrainedModel) -> float:
    """The learning rate for a model that no run chose one for."""
    return RATE_TIMES_WIDTH / model.get_input_embeddings().get_parameter("weight").shape[1]


def none() -> None:
    """Nothing follows pruning."""


def distil(
    student: PreTrainedModel,
    teacher: PreTrainedModel,
    masks: Mapping[str, torch.Tensor],
    lesson: Lesson,
    roundings: Mapping[str, Rounding] | None = None,
) -> Generator[Progress | RecoveryPoint, None, Learned]:
    """Train a pruned model in place; yields progress and the points of the curve, and returns what was learned.

    student: pruned by `masks`, bool (out, in) by layer name; at the end it holds the values of the best point. The
    other parameters of both models stay as they are. Closed early, it writes a checkpoint and leaves the student as it
    is at that step. Raises EggsError if the divergence is not finite before the first step. `roundings` as for Trained:
    the curve and the values of its best point are those of rounded weights.
    """
    with Trained(student, linear_layers(student), masks, roundings) as trained:
        state = _State.begun(trained, lesson)
        started = time.monotonic() - state.seconds
        saved = time.monotonic()
        try:
            if not state.learned.curve:
                yield Progress("Measuring the pruned model on held-out text", 0.0)
                yield state.measure(student, teacher, trained, lesson)
            first, clock = state.step, time.monotonic()
            while state.step < lesson.steps:
                batch = lesson.training[BATCH * state.step : BATCH * (state.step + 1)]
                state.advance(student, teacher, trained, batch, lesson)
                left = (time.monotonic() - clock) / (state.step - first) * (lesson.steps - state.step)
                text = f"Recovery: step {state.step} of {lesson.steps}"
                yield Progress(text, state.step / lesson.steps, left)
                if _is_point(state.step, lesson.steps):
                    yield state.measure(student, teacher, trained, lesson)
                state.seconds = time.monotonic() - started
                if time.monotonic() - saved > SAVE_SECONDS:
                    state.save(trained, lesson)
                    saved = time.monotonic()
        except GeneratorExit:
            state.save(trained, lesson)
            raise
        trained.set_values(state.learned.values)
    check_zeros(student, masks)
    state.learned.seconds = time.monotonic() - started
    return state.learned


def check_zeros(model: PreTrainedModel, masks: Mapping[str, torch.Tensor]) -> None:
    """Raise RuntimeError if a weight that its mask prunes is not exactly zero."""
    for layer in linear_layers(model):
        if layer.name in masks and layer.weight()[~masks[layer.name].to(layer.module.weight.device)].any():
            raise RuntimeError(f"recovery changed a pruned weight of {layer.name}")


def _is_point(step: int, steps: int) -> bool:
    """Is the curve measured after this step? POINTS times, evenly, and at the end."""
    return step * POINTS // steps > (step - 1) * POINTS // steps


@dataclass(slots=True)
class _State:
    """All that training needs to go on: the optimizer, the steps that it took, and the best values so far."""

    optimizer: torch.optim.AdamW
    learned: Learned
    step: int = 0
    seconds: float = 0.0
    parts: dict[str, torch.Tensor] = field(default_factory=dict)  # of the optimizer, until it has a state

    @classmethod
    def begun(cls, trained: Trained, lesson: Lesson) -> _State:
        """At the first step, or where a checkpoint of the same run was written."""
        optimizer = torch.optim.AdamW(trained.parameters.values(), lr=lesson.rate, weight_decay=0.0)
        state = cls(optimizer, Learned([], {}))
        if (found := _checkpoint(lesson)) is not None:
            state._resume(trained, *found)
        return state

    def advance(
        self,
        student: PreTrainedModel,
        teacher: PreTrainedModel,
        trained: Trained,
        batch: torch.Tensor,
        lesson: Lesson,
    ) -> None:
        """One step of the optimizer; the gradients of a batch are summed part by part."""
        for group in self.optimizer.param_groups:
            group["lr"] = lesson.rate_at(self.step)
        with trained.as_stored():
            for part in _parts(student, batch):
                _divergence(student, teacher, part, batch.numel())
        trained.mask_gradients()
        nn.utils.clip_grad_norm_(list(trained.parameters.values()), CLIP)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1

    @no_grad
    def measure(
        self, student: PreTrainedModel, teacher: PreTrainedModel, trained: Trained, lesson: Lesson
    ) -> RecoveryPoint:
        """One more point of the curve; the values of the best are kept."""
        windows = lesson.held_out
        with trained.as_stored():
            loss = sum(
                _divergence(student, teacher, part, windows.numel(), learn=False) for part in _parts(student, windows)
            )
            values = {name: value.cpu() for name, value in trained.values().items()}
        if not self.learned.curve and not math.isfinite(loss):
            raise EggsError("The pruned model's output holds NaN or infinite values, so nothing can be recovered.")
        tokens = min(BATCH * self.step, len(lesson.training)) * lesson.training.shape[1]
        point = RecoveryPoint(self.step, tokens, loss if math.isfinite(loss) else 1e30)
        self.learned.curve.append(point)
        if self.learned.best is point:
            self.learned.values = values
        return point

    def save(self, trained: Trained, lesson: Lesson) -> None:
        """Write all of it, atomically, if the lesson has a place for it and the first point is known."""
        if lesson.checkpoint is None or not self.learned.curve:
            return
        tensors = {f"now {name}": value for name, value in trained.values().items()}
        tensors |= {f"best {name}": value for name, value in self.learned.values.items()}
        for name, parameter in trained.parameters.items():
            for part, value in self.optimizer.state.get(parameter, {}).items():
                tensors[f"{part} {name}"] = trained.kept(name, value) if value.dim() else value.reshape(1)
        curve = [[p.step, p.tokens, p.loss] for p in self.learned.curve]
        about = {"step": self.step, "seconds": self.seconds, "curve": curve}
        write_tensors(lesson.checkpoint, tensors, {"key": lesson.key, "about": json.dumps(about)})

    def _resume(self, trained: Trained, tensors: dict[str, torch.Tensor], about: str) -> None:
        said = json.loads(about)
        self.step, self.seconds = int(said["step"]), float(said["seconds"])
        self.learned.curve = [RecoveryPoint(int(s), int(t), float(loss)) for s, t, loss in said["curve"]]
        self.learned.values = {name: tensors[f"best {name}"] for name in trained.parameters}
        trained.set_values({name: tensors[f"now {name}"] for name in trained.parameters})
        for name, parameter in trained.parameters.items():
            state = self.optimizer.state[parameter]
            for part in ("exp_avg", "exp_avg_sq"):
                if (kept := tensors.get(f"{part} {name}")) is not None:
                    state[part] = torch.zeros_like(parameter)
                    trained.fill(name, state[part], kept)
            if (step := tensors.get(f"step {name}")) is not None:
                state["step"] = step.reshape(())


def _checkpoint(lesson: Lesson) -> tuple[dict[str, torch.Tensor], str] | None:
    """The tensors of the checkpoint of this very run, and what it says of itself; None where there is none."""
    if lesson.checkpoint is None or not lesson.checkpoint.is_file():
        return None
    try:
        with safe_open(lesson.checkpoint, framework="pt") as file:
            about = file.metadata() or {}
        if about.get("key") != lesson.key:
            return None
        return safetensors_torch.load_file(lesson.checkpoint), about["about"]
    except (OSError, SafetensorError, KeyError, ValueError):  # damaged: training begins anew
        return None


def _parts(model: PreTrainedModel, windows: torch.Tensor) -> Iterator[torch.Tensor]:
    """Windows a few at a time, so that their logits and activations stay small."""
    rows = windows.shape[1] * model.get_output_embeddings().weight.shape[0]
    yield from windows.split(max(1, PART_LOGITS // rows))


def _divergence(
    student: PreTrainedModel, teacher: PreTrainedModel, windows: torch.Tensor, count: int, learn: bool = True
) -> float:
    """Σ over windows' tokens of KL(teacher ‖ student), in nats, over `count`; gradients are added up if it is learned.

    The gradient at the logits, (softmax(student) − softmax(teacher)) / count, is written down chunk by chunk, so that
    no graph of the divergence is kept.
    """
    windows = windows.to(student.device)
    with torch.no_grad():
        wanted = teacher(input_ids=windows, use_cache=False).logits.flatten(0, 1)
    with torch.set_grad_enabled(learn):
        logits = student(input_ids=windows, use_cache=False).logits.flatten(0, 1)
    gradient, total = torch.empty_like(logits) if learn else None, 0.0
    with torch.no_grad():
        rows = max(1, CHUNK_LOGITS // logits.shape[1])
        for start in range(0, len(logits), rows):
            here = slice(start, start + rows)
            target, found = (some[here].float().log_softmax(-1) for some in (wanted, logits))
            shares = target.exp()
            total += (shares * (target - found)).sum(dtype=torch.float64).item()
            if gradient is not None:
                gradient[here] = found.exp_().sub_(shares).div_(count)
    if gradient is not None:
        logits.backward(gradient)
    return total / count
