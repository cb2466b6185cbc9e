"""How far a set of channels reaches: its neighbours, the worst sets found, how signal spreads, and reach over layers.

Sets lie on one side of a mask's graph, "inputs" (columns) or "outputs" (rows); masks are bool (out, in).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from eggs_core.errors import EggsError
from eggs_core.graph.measures import certified_expansion
from eggs_core.heavy import torch
from eggs_core.report_types import LayerEntry

SIDES = ("inputs", "outputs")
CURVE_POINTS, CURVE_LARGEST, RANDOM_SETS = 12, 512, 16
# Projections of a block that feed one another, by the last part of their names.
CHAINS = (
    ("up_proj", "down_proj"),
    ("fc1", "fc2"),
    ("c_fc", "c_proj"),
    ("dense_h_to_4h", "dense_4h_to_h"),
    ("v_proj", "o_proj"),
    ("v_proj", "out_proj"),
)


@dataclass(frozen=True, slots=True)
class Expansion:
    """A set T: how many channels it has, how many neighbours they have, and what is certified for sets of its share."""

    size: int
    neighbours: int
    share: float  # ρ, the share of all edges that T holds
    certificate: float  # lower bound on |Γ(T)|/|T| for every set of this share

    @property
    def ratio(self) -> float:
        """|Γ(T)| / |T|, 0 for the empty set."""
        return self.neighbours / self.size if self.size else 0.0


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """|Γ(T)|/|T| over sets of one size: random ones, the lowest degrees, the worst found, and the certificate."""

    size: int
    random_mean: float
    random_min: float
    lowest_degree: float
    worst_found: float
    certificate: float


@dataclass(frozen=True, slots=True)
class SpreadStep:
    """Where a unit of signal is after some steps: the side, the share on each channel, and how uneven it still is."""

    side: str
    amounts: torch.Tensor  # (channels of that side,), fp64; its sum is what orphans have not swallowed
    distance: float  # ‖p/π − 1‖ in L²(π) with π ∝ degree: 0 when mixed; falls at least by σ₂ a step
    uneven: float  # total variation distance to π, 0..1


def oriented(mask: torch.Tensor, side: str) -> torch.Tensor:
    """The mask with the channels of `side` as columns; raises EggsError for an unknown side."""
    if side not in SIDES:
        raise EggsError(f"There is no side {side!r}; choose one of {', '.join(SIDES)}.")
    return mask if side == "inputs" else mask.T


def _certified(mask: torch.Tensor, side: str, sigma2: float, share: float) -> float:
    found = certified_expansion(mask, sigma2, share)
    return found["inputs"] if side == "inputs" else found["outputs"]


def expansion(mask: torch.Tensor, side: str, members: torch.Tensor, sigma2: float) -> Expansion:
    """Neighbours and certificate of the set of `members`, int64 channel numbers of `side`."""
    matrix = oriented(mask, side)[:, members]
    share = matrix.sum().item() / max(int(mask.sum()), 1)
    bound = _certified(mask, side, sigma2, share) if share else 0.0
    return Expansion(len(members), int(matrix.any(1).sum()), share, bound)


def random_set(channels: torch.Tensor, size: int, seed: int) -> torch.Tensor:
    """`size` of the given channel numbers, drawn without replacement."""
    order = torch.randperm(len(channels), generator=torch.Generator().manual_seed(seed))
    return channels[order[:size]]


def lowest_degree_set(mask: torch.Tensor, side: str, channels: torch.Tensor, size: int) -> torch.Tensor:
    """The `size` of the given channels that have the fewest edges."""
    degrees = oriented(mask, side)[:, channels].sum(0)
    return channels[degrees.sort(stable=True).indices[:size]]


def worst_set(mask: torch.Tensor, side: str, channels: torch.Tensor, size: int) -> torch.Tensor:
    """A set with few neighbours, found greedily: always the channel that adds the fewest new ones.

    channels: int64 numbers to choose from. Returns `size` of them in the order in which they were taken. Every
    neighbour is counted off once, so the whole search costs one pass over the matrix.
    """
    matrix = oriented(mask, side)[:, channels]
    gain = matrix.sum(0).to(torch.float32)  # new neighbours that each channel would add
    covered = torch.zeros(matrix.shape[0], dtype=torch.bool, device=mask.device)
    taken = []
    for _ in range(min(size, len(channels))):
        best = int(gain.argmin())
        taken.append(best)
        new = matrix[:, best] & ~covered
        gain -= matrix[new].sum(0)
        gain[best] = torch.inf
        covered |= new
    return channels[torch.tensor(taken, dtype=torch.int64, device=channels.device)]


def neighbours_of_prefixes(mask: torch.Tensor, side: str, order: torch.Tensor) -> torch.Tensor:
    """|Γ| of the first 1, 2, … channels of an order; returns int64 (len(order),)."""
    matrix = oriented(mask, side)[:, order]
    first = matrix.to(torch.uint8).argmax(1)[matrix.any(1)]  # the channel that covers each neighbour first
    return torch.bincount(first, minlength=len(order)).cumsum(0)


def expansion_curve(mask: torch.Tensor, side: str, sigma2: float, seed: int = 0) -> list[CurvePoint]:
    """Sampled |Γ(T)|/|T| against the certificate, for sets of 1, 2, … channels of one side.

    The certificate of a size holds for every set of that size: it assumes the largest share of edges that one can have.
    """
    matrix = oriented(mask, side)
    count = matrix.shape[1]
    sizes = torch.logspace(0, 1, CURVE_POINTS, base=min(count, CURVE_LARGEST)).round().long().unique()
    everybody, largest = torch.arange(count, device=mask.device), int(sizes[-1])
    worst = neighbours_of_prefixes(mask, side, worst_set(mask, side, everybody, largest))
    lowest = neighbours_of_prefixes(mask, side, lowest_degree_set(mask, side, everybody, largest))
    drawn = [random_set(everybody, largest, seed + k) for k in range(RANDOM_SETS)]
    random = torch.stack([neighbours_of_prefixes(mask, side, order) for order in drawn]).double()
    volume = matrix.sum(0).sort(descending=True).values.cumsum(0) / max(int(mask.sum()), 1)
    points = []
    for size in sizes.tolist():
        bound = _certified(mask, side, sigma2, float(volume[size - 1]))
        tried = random[:, size - 1] / size
        found = min(worst[size - 1].item() / size, lowest[size - 1].item() / size, tried.min().item())
        points.append(
            CurvePoint(size, tried.mean().item(), tried.min().item(), lowest[size - 1].item() / size, found, bound)
        )
    return points


def spread(mask: torch.Tensor, side: str, sources: torch.Tensor, steps: int) -> list[SpreadStep]:
    """Put a unit of signal on `sources`, in equal parts, and let it cross the graph evenly over each channel's edges.

    sources: int64 channel numbers of `side`. Returns the start and `steps` steps, which alternate between the sides.
    Signal that starts at a channel without edges is lost.
    """
    matrix = oriented(mask, side).to(torch.float64)
    volume = matrix.sum().clamp_min(1)
    other = SIDES[1 - SIDES.index(side)]
    weights = {side: matrix.sum(0), other: matrix.sum(1)}
    amounts = torch.zeros(matrix.shape[1], dtype=torch.float64, device=mask.device)
    amounts[sources] = 1 / max(len(sources), 1)
    result, here = [], side
    for step in range(steps + 1):
        even = weights[here] / volume
        alive = even > 0
        excess = (amounts - even)[alive]
        distance = (excess.square() / even[alive]).sum().sqrt().item()
        result.append(SpreadStep(here, amounts, distance, (amounts - even).abs().sum().item() / 2))
        if step < steps:
            sent = torch.where(alive, amounts / weights[here].clamp_min(1), 0)
            amounts, here = (matrix @ sent, other) if here == side else (matrix.T @ sent, side)
    return result


def chains(layers: Sequence[LayerEntry]) -> list[tuple[str, str]]:
    """Pairs of layer names in which the first feeds the second within a module; layers as in a run's report."""
    modules: dict[tuple[int, str], list[LayerEntry]] = {}
    for layer in layers:
        modules.setdefault((layer["block"], layer["name"].rpartition(".")[0]), []).append(layer)
    found = []
    for own in modules.values():
        for first in own:
            for second in own:
                ends = tuple(layer["projection"].split(".")[-1] for layer in (first, second))
                if first["shape"][0] == second["shape"][1] and ends in CHAINS:
                    found.append((first["name"], second["name"]))
    return found


def paths_through(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """How many paths lead from each input of `first` to each output of `second`, fp32 (out, in).

    first: bool (middle, in); second: bool (out, middle). An output with no path from an input is out of its reach.
    """
    if first.shape[0] != second.shape[1]:
        raise EggsError(
            f"A layer of shape {tuple(first.shape)} does not feed one of shape {tuple(second.shape)}: "
            f"outputs of the first must be the inputs of the second."
        )
    return second.to(torch.float32) @ first.to(torch.float32)
