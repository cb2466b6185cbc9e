"""Perplexity and next-token accuracy over fixed windows, with everything needed to repeat the figure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from eggs_core.errors import EggsError
from eggs_core.heavy import no_grad, torch
from eggs_core.models.architectures import vocabulary_of
from eggs_core.report_types import Protocol, Scores
from eggs_core.text.sources import Text

if TYPE_CHECKING:  # it takes transformers seconds to import its models
    from transformers import PreTrainedModel

LOGITS_PER_BATCH = 2**27  # logits held at once, 512 MB in fp32

MOST_NATS = 700.0  # of which exp is taken: beyond is infinity

LOGITS_PER_CHUNK = 2**22  # logits turned into fp32 log-probabilities at once


@dataclass(frozen=True, slots=True)
class WindowScores:
    """Scores of some windows: nats per token, and how many next tokens were ranked first and among the first five."""

    nats: torch.Tensor  # (windows,) fp64
    top1: torch.Tensor  # (windows,) share in 0..1
    top5: torch.Tensor  # (windows,)

    @property
    def perplexity(self) -> float:
        """exp of the mean loss in nats per token."""
        return math.exp(min(self.nats.mean().item(), MOST_NATS))

    def to_dict(self) -> Scores:
        """Plain values: the three measures, and the loss of each window for paired comparisons."""
        return {
            "perplexity": self.perplexity,
            "top1": self.top1.mean().item(),
            "top5": self.top5.mean().item(),
            "window_nats": [round(x, 6) for x in self.nats.tolist()],
        }


def windows_at_once(model: PreTrainedModel, length: int) -> int:
    """How many windows of `length` tokens go through the model together, so that their logits stay small."""
    return max(1, min(16, LOGITS_PER_BATCH // (length * vocabulary_of(model))))


@no_grad
def score_windows(model: PreTrainedModel, windows: torch.Tensor) -> Iterator[WindowScores]:
    """Yield the scores of each batch of windows, (windows, length) int64; every token but a window's first is scored.

    Raises EggsError if the model's output is not finite.
    """
    device = next((p.device for p in model.parameters() if not p.is_meta), "cpu")  # accelerate keeps some on "meta"
    vocabulary = vocabulary_of(model)
    for batch in windows.split(windows_at_once(model, windows.shape[1])):
        logits = model(input_ids=batch.to(device), use_cache=False).logits.flatten(0, 1)
        targets = (
            batch.roll(-1, 1).flatten().to(logits.device)
        )  # a window's last token has no next one: its row is dropped
        nats, ranks = [], []
        rows = max(1, LOGITS_PER_CHUNK // vocabulary)
        for chunk, target in zip(logits.split(rows), targets.split(rows), strict=True):
            chunk = chunk.float()
            right = chunk.gather(1, target[:, None])
            nats.append((chunk.logsumexp(1) - right[:, 0]).double())
            ranks.append((chunk > right).sum(1, dtype=torch.int32))
        loss = torch.cat(nats).view(len(batch), -1)[:, :-1]
        rank = torch.cat(ranks).view(len(batch), -1)[:, :-1]
        if not torch.isfinite(loss).all():
            raise EggsError(
                "The model's output holds NaN or infinite values, so it has no perplexity; "
                "load it in fp32, or prune less."
            )
        yield WindowScores(loss.mean(1).cpu(), (rank < 1).double().mean(1).cpu(), (rank < 5).double().mean(1).cpu())


def join(parts: list[WindowScores]) -> WindowScores:
    """One result from the scores of several batches."""
    return WindowScores(*(torch.cat([getattr(p, name) for p in parts]) for name in ("nats", "top1", "top5")))


def evaluate(model: PreTrainedModel, windows: torch.Tensor) -> WindowScores:
    """Scores of all windows, (windows, length) int64."""
    return join(list(score_windows(model, windows)))


def protocol(text: Text, windows: torch.Tensor, bos: str) -> Protocol:
    """What a figure needs beside it: text, its SHA-256, tokens in a window, number of windows, and where BOS is."""
    count, length = windows.shape
    return {"text": text.name, "sha256": text.sha256, "window": length, "windows": count, "bos": bos}
