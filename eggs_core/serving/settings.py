"""How an answer is written: its length, and how its tokens are chosen."""

from dataclasses import dataclass

from eggs_core.errors import EggsError

HOTTEST = 2.0
LONGEST_STOP = 256  # characters


@dataclass(frozen=True, slots=True)
class Settings:
    """How an answer is written; raises EggsError for what no model can do.

    Without `max_tokens` it may be as long as the model reads; without a seed it is another one every time.
    """

    max_tokens: int | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.max_tokens is not None and self.max_tokens < 1:
            raise EggsError(f"max_tokens must be at least 1; got {self.max_tokens}.")
        if not 0 <= self.temperature <= HOTTEST:
            raise EggsError(f"temperature must lie between 0 and {HOTTEST:g}; got {self.temperature}.")
        if not 0 < self.top_p <= 1:
            raise EggsError(f"top_p must lie above 0 and be at most 1; got {self.top_p}.")
        if self.seed is not None and not -(2**63) <= self.seed < 2**63:
            raise EggsError("seed must be a whole number of at most 63 bits.")
        if not all(0 < len(stop) <= LONGEST_STOP for stop in self.stop):
            raise EggsError(f"A stop sequence has 1 to {LONGEST_STOP} characters.")

    @property
    def exact(self) -> bool:
        """Must the answer be the same whatever was asked before?"""
        return self.temperature == 0 or self.seed is not None
