"""One 8×8 layer, small enough to prune by hand; everything measured on it is measured as on a real layer.

Its random seed was picked among 40,000 by tools/find_lesson.py, as one of those on which all that the lesson says is
true. The layer illustrates and proves nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from eggs_core.errors import EggsError
from eggs_core.graph.spectrum import second_singular_value
from eggs_core.heavy import torch
from eggs_core.masks.selection import best_diagonals, retained_score, select
from eggs_core.pattern import NMPattern
from eggs_core.pruning.permutation import lsa
from eggs_core.pruning.problem import LayerProblem
from eggs_core.pruning.reconstruction import obs
from eggs_core.pruning.scores import score

SIZE, TOKENS, SEED = 8, 64, 5928
WEIGHT_SCALE = (1.0, 1.1, 0.9, 0.2, 1.0, 0.8, 1.2, 0.7)  # input channel 4 has small weights: top-N forgets it
INPUT_SCALE = (1.0, 0.5, 1.2, 0.4, 1.6, 0.6, 1.0, 0.8)
BRIDGES = ((0, 1, 3), (4, 3, 1), (1, 5, 7), (5, 7, 5), (2, 4, 6), (6, 6, 4), (3, 0, 2), (7, 2, 0))  # row, own, other
BEST_FOUND = (  # the mask that simulated annealing found for the challenge; row by row, 1 = kept
    "01100011",
    "10101010",
    "11001100",
    "10101010",
    "10011001",
    "10011010",
    "11001010",
    "00110110",
)
LEAST_LEAD = 0.05  # points that a score of the challenge rounds away
DEGREE = SIZE // 2  # kept weights of an input at 2:4 if all inputs keep equally many
SHARED = 0.8  # of the crowded layer's inputs: what one input lacks, others can make up for


@dataclass(frozen=True, slots=True)
class ToyLayer:
    """A layer: weight (8, 8) fp32, and the calibration tokens it sees, inputs (64, 8) fp32."""

    weight: torch.Tensor
    inputs: torch.Tensor

    @property
    def act_norm(self) -> torch.Tensor:
        """L2 norm of every input channel over the tokens, (8,) fp32."""
        return self.inputs.norm(dim=0)

    def louder(self, channel: int, factor: float) -> ToyLayer:
        """The same layer with one input channel's activations multiplied by a factor."""
        scale = torch.ones(SIZE, dtype=torch.float32)
        scale[channel] = factor
        return ToyLayer(self.weight, self.inputs * scale)

    def heavier(self, channel: int, factor: float) -> ToyLayer:
        """The same layer with one input channel's weights multiplied by a factor."""
        scale = torch.ones(SIZE, dtype=torch.float32)
        scale[channel] = factor
        return ToyLayer(self.weight * scale, self.inputs)

    @property
    def token(self) -> torch.Tensor:
        """The first calibration token, rounded to 0.1 so that outputs can be checked by hand, (8,) fp32."""
        return self.inputs[0].mul(10).round() / 10


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a mask of the toy layer is worth; channels and groups count from 0."""

    kept: int
    wrong_groups: list[tuple[int, int]]  # (row, group) that do not keep exactly N
    orphans: list[int]  # input channels without a kept weight
    in_degrees: list[int]
    gap: float  # spectral gap, 1 − σ₂
    error: float  # ‖X(W−Ŵ)ᵀ‖ ÷ ‖XWᵀ‖
    retained: float  # share of top-N's RIA score that the mask keeps; above 1 if it keeps more weights

    @property
    def points(self) -> float:
        """The challenge's score, 100 · gap · (1 − error); nothing for a mask that breaks N:M or cuts an input off."""
        return 0.0 if self.wrong_groups or self.orphans else 100 * self.gap * max(0.0, 1 - self.error)


def _normal(rows: int, columns: int, generator: torch.Generator) -> torch.Tensor:
    """Normal numbers, (rows, columns) fp32 whatever torch's default is: a model made in another thread changes it."""
    return torch.randn(rows, columns, generator=generator, dtype=torch.float32)


@cache
def toy_layer(seed: int = SEED) -> ToyLayer:
    """The lesson's layer, the same for everybody; weights are multiples of 0.1."""
    generator = torch.Generator().manual_seed(seed)
    weight = (_normal(SIZE, SIZE, generator) * torch.tensor(WEIGHT_SCALE, dtype=torch.float32)).mul(10).round() / 10
    inputs = _normal(TOKENS, SIZE, generator) * torch.tensor(INPUT_SCALE, dtype=torch.float32)
    return ToyLayer(weight, inputs)


@cache
def crowded_layer(seed: int = SEED) -> ToyLayer:
    """The lesson's layer with its four strongest inputs in one group, and a signal that all inputs share."""
    layer = toy_layer(seed)
    strength = score("wanda", layer.weight, layer.act_norm).sum(dim=0)
    order = strength.sort(descending=True, stable=True).indices
    shared = _normal(TOKENS, 1, torch.Generator().manual_seed(seed))
    return ToyLayer(layer.weight[:, order], (layer.inputs + SHARED * shared)[:, order])


def judge(
    layer: ToyLayer,
    mask: torch.Tensor,
    pattern: NMPattern,
    order: torch.Tensor | None = None,
    values: torch.Tensor | None = None,
) -> Judgement:
    """Measure a mask, bool (8, 8), in the columns' own order; `order` says which columns share a group.

    values: (8, 8) fp32, what the kept weights became, if not the layer's own.
    Raises EggsError unless the mask is a bool matrix of the layer's shape.
    """
    if mask.dtype != torch.bool or mask.shape != layer.weight.shape:
        raise EggsError(f"A mask of this layer is bool and {tuple(layer.weight.shape)}; got {tuple(mask.shape)}.")
    grouped = (mask if order is None else mask[:, order]).view(SIZE, -1, pattern.group).sum(dim=2)
    degrees = mask.sum(dim=0)
    dense = layer.inputs @ layer.weight.T
    lost = layer.inputs @ (layer.weight - (layer.weight if values is None else values) * mask).T
    importance = score("ria", layer.weight, layer.act_norm)
    most = importance if order is None else importance[:, order]
    return Judgement(
        kept=int(mask.sum()),
        wrong_groups=[tuple(pair) for pair in (grouped != pattern.keep).nonzero().tolist()],
        orphans=(degrees == 0).nonzero().flatten().tolist(),
        in_degrees=degrees.tolist(),
        gap=1 - second_singular_value(mask).item() if mask.any() else 0.0,
        error=(lost.norm() / dense.norm()).item(),
        retained=retained_score(importance, mask) / retained_score(most, select(most, pattern, "topn").mask),
    )


def largest(layer: ToyLayer, count: int) -> torch.Tensor:
    """Keep the `count` largest weights wherever they lie, bool (8, 8): pruning without structure."""
    mask = torch.zeros(SIZE * SIZE, dtype=torch.bool)
    order = score("magnitude", layer.weight).flatten().sort(descending=True, stable=True).indices
    mask[order[: max(0, count)]] = True
    return mask.view(SIZE, SIZE)


def suggest(
    layer: ToyLayer, pattern: NMPattern, name: str, selection: str = "topn", **options: float | None
) -> torch.Tensor:
    """The mask that a score and a selection choose, bool (8, 8); options as masks.select takes them."""
    return select(score(name, layer.weight, layer.act_norm), pattern, selection, **options).mask


def diagonals(layer: ToyLayer, pattern: NMPattern, count: int) -> torch.Tensor:
    """The weights on EGGS-PTP's best diagonals by RIA's score, `count` in every strip, bool (8, 8)."""
    return best_diagonals(score("ria", layer.weight, layer.act_norm), pattern, count)


def two_halves(bridges: int) -> torch.Tensor:
    """A valid 2:4 mask without orphans, in two parts that so many rows (0 to 8) bridge, bool (8, 8)."""
    mask = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    for rows, columns in ((slice(0, 4), [0, 1, 4, 5]), (slice(4, 8), [2, 3, 6, 7])):
        mask[rows, columns] = True
    for row, own, other in BRIDGES[:bridges]:
        mask[row, own], mask[row, other] = False, True
    return mask


def reorder(layer: ToyLayer, pattern: NMPattern) -> tuple[torch.Tensor, torch.Tensor]:
    """Order the columns by RIA's score, then take the best N of M: mask bool (8, 8) and order int64 (8,)."""
    scores = score("ria", layer.weight, layer.act_norm)
    order = lsa(scores, pattern)
    return select(scores[:, order], pattern, "topn").mask[:, order.argsort()], order


def refit(layer: ToyLayer, mask: torch.Tensor, pattern: NMPattern, order: torch.Tensor | None = None) -> torch.Tensor:
    """New values of the kept weights, (8, 8) fp32, that SparseGPT's sweep finds for a given mask."""
    gram = layer.inputs.T @ layer.inputs / TOKENS
    return obs(LayerProblem(layer.weight, gram, pattern, mask, permutation=order)).weight


def refit_own(layer: ToyLayer, pattern: NMPattern) -> tuple[torch.Tensor, torch.Tensor]:
    """SparseGPT's own mask, bool (8, 8), and the values that its sweep gives the kept weights, (8, 8) fp32."""
    gram = layer.inputs.T @ layer.inputs / TOKENS
    found = obs(LayerProblem(layer.weight, gram, pattern))
    return found.mask, found.weight


@cache
def promised(bound: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Two 2:4 masks, bool (8, 8), in which every input keeps so many weights (0 to 4): diagonals, exact bound."""
    layer, pattern = toy_layer(), NMPattern(2, 4)
    return (
        suggest(layer, pattern, "ria", "diagonal", diagonals=bound),
        suggest(layer, pattern, "ria", "degree", beta=bound / DEGREE),
    )


@cache
def star_marks() -> tuple[float, float, float]:
    """What the challenge's three marks earn: EGGS-PTP's own mask, the best exact bound, the best mask known."""
    masks = [promised(bound)[1] for bound in range(DEGREE + 1)]
    diagonals, *exact = (judge(toy_layer(), mask, NMPattern(2, 4)).points for mask in (promised(1)[0], *masks))
    return diagonals, max(exact), best_points()


def star_points() -> tuple[float, float, float]:
    """The points from which on a mask has one, two and three stars: more than the first two marks, and the third."""
    first, second, third = star_marks()
    return first + LEAST_LEAD, second + LEAST_LEAD, third - LEAST_LEAD


@cache
def best_points() -> float:
    """What the best mask known earns in the challenge at 2:4."""
    return judge(toy_layer(), read_mask("".join(BEST_FOUND)), NMPattern(2, 4)).points


def read_mask(bits: str) -> torch.Tensor:
    """A mask from 64 zeros and ones, row by row, bool (8, 8); raises EggsError for anything else."""
    if len(bits) != SIZE * SIZE or set(bits) - {"0", "1"}:
        raise EggsError("A mask is 64 zeros and ones; reload the page.")
    return torch.tensor([bit == "1" for bit in bits]).view(SIZE, SIZE)
