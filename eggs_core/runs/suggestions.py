"""Models of the Hub that a newcomer can pick, and what becomes of each on this machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from huggingface_hub import try_to_load_from_cache

from eggs_core.heavy import torch
from eggs_core.limits import limits
from eggs_core.models.folder import CONFIG
from eggs_core.network import reachable
from eggs_core.runs.streamed import too_large
from eggs_core.units import many, size

NO_BREAK = "\N{NO-BREAK SPACE}"  # between a number and its unit
WHOLE, STREAMED, OFFLINE = "fits in memory", "streamed from disk", "needs the internet"


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A model of the Hub that is open to all, stored in bf16."""

    name: str
    parameters: int

    @property
    def stored(self) -> int:
        """Bytes of its weights."""
        return 2 * self.parameters

    @property
    def here(self) -> bool:
        """Is it in the Hub's cache on this machine, as far as its configuration says?"""
        return isinstance(try_to_load_from_cache(self.name, CONFIG), str)


SUGGESTED = (  # parameters as their configurations give them, the shared head of those that share it counted once
    Suggestion("HuggingFaceTB/SmolLM2-135M", 134_515_008),
    Suggestion("HuggingFaceTB/SmolLM2-360M", 361_821_120),
    Suggestion("Qwen/Qwen2.5-0.5B", 494_032_768),
    Suggestion("TinyLlama/TinyLlama-1.1B-Chat-v1.0", 1_100_048_384),
    Suggestion("Qwen/Qwen2.5-1.5B", 1_543_714_304),
    Suggestion("HuggingFaceTB/SmolLM2-1.7B", 1_711_376_384),
    Suggestion("Qwen/Qwen2.5-3B", 3_085_938_688),
    Suggestion("Qwen/Qwen2.5-7B", 7_615_616_512),
    Suggestion("Qwen/Qwen3-8B", 8_190_735_360),
)


def suggestions() -> list[Suggestion]:
    """Those that this server takes."""
    most = limits().model_bytes
    return [one for one in SUGGESTED if most is None or one.stored <= most]


def outlook(one: Suggestion, online: bool | None = None, free: Callable[[torch.device], float] | None = None) -> str:
    """Parameters, bytes, and whether this machine takes the model whole or in parts, or has no way to get it."""
    if not one.here and not (reachable() if online is None else online):
        fate = OFFLINE
    else:
        fate = STREAMED if too_large(one.stored, True, free) else WHOLE
    return " · ".join([*(part.replace(" ", NO_BREAK) for part in (many(one.parameters), size(one.stored))), fate])
