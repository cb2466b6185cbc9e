"""An evaluation that tells how far it is."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import TYPE_CHECKING

from eggs_core.evaluation.perplexity import WindowScores, join, score_windows
from eggs_core.heavy import torch
from eggs_core.progress import Progress

if TYPE_CHECKING:  # it takes transformers seconds to import its models
    from transformers import PreTrainedModel


def evaluate_steps(
    model: PreTrainedModel, windows: torch.Tensor, text: str, first: float, last: float
) -> Generator[Progress, None, WindowScores]:
    """Evaluate with progress between the shares `first` and `last`; returns the scores."""
    parts, done, started = [], 0, time.monotonic()
    yield Progress(text, first)
    for part in score_windows(model, windows):
        parts.append(part)
        done += len(part.nats)
        left = (time.monotonic() - started) / done * (len(windows) - done)
        yield Progress(f"{text}: window {done} of {len(windows)}", first + (last - first) * done / len(windows), left)
    return join(parts)
