"""Evaluations of dense models, which all runs on a model share."""

from __future__ import annotations

import hashlib
import weakref
from typing import TYPE_CHECKING

from eggs_core.cache import Bounded
from eggs_core.evaluation.perplexity import WindowScores
from eggs_core.heavy import torch

if TYPE_CHECKING:  # it takes transformers seconds to import its models
    from transformers import PreTrainedModel

MOST = 64


class DenseScores:
    """Scores by model and windows; those used longest ago make room. Safe to share between threads.

    A model is told by its identity: one that was loaded anew, perhaps of other weights, is evaluated anew.
    """

    def __init__(self, most: int = MOST) -> None:
        self._known: Bounded[tuple, WindowScores] = Bounded(most)

    def get(self, model: PreTrainedModel, windows: torch.Tensor) -> WindowScores | None:
        """The model's scores on windows (windows, length) int64, if they are known."""
        return self._known.get(_key(model, windows))

    def put(self, model: PreTrainedModel, windows: torch.Tensor, scores: WindowScores) -> None:
        """Keep the model's scores on windows (windows, length) int64."""
        self._known.put(_key(model, windows), scores)


def _key(model: PreTrainedModel, windows: torch.Tensor) -> tuple:
    return weakref.ref(model), tuple(windows.shape), hashlib.sha256(windows.cpu().contiguous().numpy().data).digest()


DENSE_SCORES = DenseScores()
