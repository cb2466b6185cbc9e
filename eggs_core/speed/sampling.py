"""How the next token is chosen: the likeliest, or drawn with a chance that depends on the seed and the place alone."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Choice = Callable[[Tensor], Tensor]  # logits (1, vocabulary) to token ids (1,)
FEW = 256  # tokens that are looked at first for the likeliest ones


def drawn(temperature: float, seed: int, top_p: float = 1.0) -> Choice | None:
    """A choice among the likeliest tokens that have `top_p` of the probability; None, the likeliest, at temperature 0.

    Drawn by the Gumbel-max trick with noise that depends on the seed and the place alone: two models with the same seed
    meet the same chance, so that they write the same text for as long as their predictions allow it.
    """
    if temperature == 0:
        return None
    generator = torch.Generator().manual_seed(seed)

    def choose(logits: Tensor) -> Tensor:
        noise = torch.rand(logits.shape, generator=generator).to(logits.device)
        heated = logits.float() / temperature
        if top_p == 1:
            return (heated + _gumbel(noise)).argmax(-1)
        tokens = likeliest(heated.softmax(-1), top_p)
        return tokens[(heated[0, tokens] + _gumbel(noise[0, tokens])).argmax(-1, keepdim=True)]

    return choose


def _gumbel(uniform: Tensor) -> Tensor:
    """Noise of Gumbel's distribution made, in place, of noise in 0..1; -inf where that is 0."""
    return uniform.log_().neg_().log_().neg_()


def likeliest(chances: Tensor, share: float) -> Tensor:
    """The fewest tokens that have `share` of the probability together, the likeliest first; of chances (1, vocabulary).

    Nucleus sampling draws from them (Holtzman et al., arXiv 1904.09751).
    """
    count = 0
    while True:
        count = min(count * 8 or FEW, chances.shape[1])
        best = chances[0].topk(count)
        before = best.values.cumsum(0) - best.values
        if before[-1] >= share or count == chances.shape[1]:
            return best.indices[before < share]
