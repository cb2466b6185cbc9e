"""What a step of the lesson is made of: a scene with a matrix, its figures, and a question; no gradio here."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from components.words.html import escape, hint, mini, reading, term
from components.words.phrases import plural
from eggs_core.heavy import torch
from eggs_core.pattern import NMPattern
from eggs_core.pruning.toy_layer import SIZE, Judgement, ToyLayer, judge, read_mask, star_points, suggest, toy_layer

HALF = NMPattern(2, 4)


@dataclass(frozen=True, slots=True)
class Scene:
    """A layer and its mask, bool (8, 8); the columns' order if not their own, and kept weights if they changed."""

    layer: ToyLayer
    mask: torch.Tensor
    pattern: NMPattern | None = HALF  # None: any mask is valid
    order: torch.Tensor | None = None
    values: torch.Tensor | None = None
    marks: torch.Tensor | None = None  # weights with a frame, bool (8, 8)

    @property
    def judged_by(self) -> NMPattern:
        """The pattern that counts; 2:4 where any mask is valid."""
        return self.pattern or HALF

    def judge(self) -> Judgement:
        """What this mask is worth."""
        return judge(self.layer, self.mask, self.judged_by, self.order, self.values)

    def clicked(self, bits: str) -> Scene:
        """The same scene with another mask, 64 zeros and ones; weights that come back have their first values."""
        values = self.values if self.values is None else torch.where(self.mask, self.values, self.layer.weight)
        return dataclasses.replace(self, mask=read_mask(bits), values=values)


@dataclass(frozen=True, slots=True)
class Step:
    """One idea: words in Markdown, a control, a scene that follows it, a question with what is said to each answer."""

    name: str
    words: str
    scene: Callable[[float], Scene]
    question: str
    answers: tuple[tuple[str, str], ...]  # (answer, what is said to it), the right one first; shown sorted
    slider: tuple[str, float, float, float, float] | None = None  # label, low, high, step, start
    choice: tuple[str, tuple[str, ...], int] | None = None  # label, options, the option at the start
    shows: tuple[str, ...] = ("valid", "error")
    extra: Callable[[Scene, float], str] = lambda scene, level: ""  # HTML under the matrix
    matrix: bool = True
    clicks_stay: bool = False  # when the slider moves: it changes something else than the mask
    reveal: float | None = None  # where the control goes with an answer; until then it waits for a prediction

    @property
    def key(self) -> str:
        """Its name in addresses, such as degree-bound."""
        return self.name.lower().replace(" ", "-").replace(":", "-")

    @property
    def right(self) -> str:
        """The right answer."""
        return self.answers[0][0]

    @property
    def start(self) -> float:
        """Where the slider or the choice begins."""
        return self.slider[4] if self.slider else self.choice[2] if self.choice else 0


def toy(mask: Callable[[float], torch.Tensor], pattern: NMPattern | None = HALF) -> Callable[[float], Scene]:
    """The lesson's own layer with the mask that a control's level asks for."""
    return lambda level: Scene(toy_layer(), mask(level), pattern)


def of_four(score: str) -> Callable[[float], Scene]:
    """The lesson's own layer pruned by a score, with as many of every four weights kept as the control says."""

    def scene(level: float) -> Scene:
        pattern = NMPattern(int(level), 4)
        return Scene(toy_layer(), suggest(toy_layer(), pattern, score), pattern)

    return scene


def bench_value(scene: Scene) -> dict[str, Any]:
    """What the matrix widget draws."""
    weights = scene.layer.weight if scene.values is None else torch.where(scene.mask, scene.values, scene.layer.weight)
    return {
        "weights": [[round(w, 1) for w in row] for row in weights.tolist()],
        "mask": scene.mask.int().tolist(),
        "order": list(range(SIZE)) if scene.order is None else scene.order.tolist(),
        "group": scene.pattern.group if scene.pattern else SIZE,
        "keep": scene.pattern.keep if scene.pattern else None,
        "marks": None if scene.marks is None else scene.marks.int().tolist(),
    }


def measures(scene: Scene, shows: tuple[str, ...]) -> str:
    """The figures of a scene's mask that a step shows."""
    found, cells = scene.judge(), {"kept": ("kept", f"{scene.mask.sum()} / {SIZE * SIZE}")}
    if scene.pattern:
        broken = len(found.wrong_groups)
        cells["valid"] = (f"{scene.pattern} holds", f"no, {broken} off" if broken else "yes")
    orphans = len(found.orphans)
    cells |= {
        "orphans": (term("orphans"), f"input {found.orphans[0] + 1}" if orphans == 1 else str(orphans or "none")),
        "degree": (term("min in-degree", "least kept"), f"{min(found.in_degrees)} / {SIZE}"),
        "gap": (
            term("spectral gap", "gap"),
            f"{found.gap:.3f}" + (f"<small>{plural(orphans, 'orphan')} left out</small>" if orphans else ""),
        ),
        "error": (term("output error"), f"{found.error:.3f}"),
        "score": (term("score kept"), f"{found.retained:.1%}"),
        "points": ("your score", f"{found.points:.1f}"),
        "stars": ("stars", "".join("★" if found.points >= goal else "☆" for goal in star_points())),
    }
    shown = [cells[name] for name in shows if name in cells]
    body = "".join(mini(label, f'<div class="after">{value}</div>') for label, value in shown)
    many = " four" if len(shown) == 4 else " many" if len(shown) > 5 else ""
    return f'<div class="minis{many}" data-gap="{found.gap:.6f}" data-error="{found.error:.6f}">{body}</div>'


def feedback(step: Step, answer: str | None) -> str:
    """Whether an answer is right, and why."""
    message = dict(step.answers).get(answer or "")
    if message is None:
        first = "Choose an answer;" if step.reveal is None else "Predict: the figure shows it as soon as you answer;"
        return hint(f"{first} you can try again.")
    right = answer == step.right
    words = f"<b>{'Right.' if right else 'Not quite.'}</b> {escape(message)}"
    return reading(words).replace('class="reading"', f'class="reading {"good" if right else "wrong"}"')
