"""The texts that a run reads, and their windows of tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from eggs_core.config import PruneConfig
from eggs_core.heavy import torch
from eggs_core.text.named import chosen_text
from eggs_core.text.sources import Text
from eggs_core.text.windows import bos_of, calibration_windows, evaluation_windows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Reader(Protocol):
    """A model that says which windows it cannot read: LoadedModel and Checkpoint."""

    def check_window(self, length: int) -> None:
        """Raise EggsError if the model cannot read windows of `length` tokens."""

    def check_tokens(self, *ids: torch.Tensor) -> None:
        """Raise EggsError for a token that the model has no embedding for."""


@dataclass(frozen=True, slots=True)
class Texts:
    """The text that guides the choice, and the one on which both models are evaluated."""

    calibration: Text
    evaluation: Text

    @classmethod
    def of(cls, config: PruneConfig, own: Mapping[str, Text] | None) -> Texts:
        """Those that a configuration names, of one's own by the names in `own`; raises EggsError for any other."""
        return cls(chosen_text(config.calibration, "calibration", own), chosen_text(config.evaluation, "heldout", own))


@dataclass(frozen=True, slots=True)
class Inputs:
    """Windows of tokens, (windows, length) int64 each, and the texts that they were cut from."""

    texts: Texts
    calibration: torch.Tensor
    evaluation: torch.Tensor
    bos: str  # where they have BOS, one of bos.RULES

    @classmethod
    def of(cls, config: PruneConfig, texts: Texts, tokenizer: PreTrainedTokenizerBase) -> Inputs:
        """Cut as a configuration says; raises EggsError for a text that is shorter than one window."""
        bos = bos_of(tokenizer, config.bos)
        calibration = calibration_windows(
            tokenizer, texts.calibration, config.calibration_windows, config.calibration_length, config.seed, bos
        )
        evaluation = evaluation_windows(
            tokenizer, texts.evaluation, config.evaluation_windows, config.evaluation_length, bos
        )
        return cls(texts, calibration, evaluation, bos)

    def check(self, model: Reader) -> None:
        """Raise EggsError if the model cannot read them."""
        model.check_window(max(self.calibration.shape[1], self.evaluation.shape[1]))
        model.check_tokens(self.calibration, self.evaluation)
