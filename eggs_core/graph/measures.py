"""The bipartite graph that a mask is: input channels on one side, output channels on the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from typing_extensions import TypedDict

from eggs_core.graph.spectrum import null_gap, ramanujan_sigma, second_singular_value, verified_sigma2
from eggs_core.heavy import scipy, torch
from eggs_core.pattern import NMPattern
from eggs_core.report_types import LayerEntry

CERTIFICATE_SHARE = 0.1  # ρ, the share of all edges that the certified set T holds


@dataclass(frozen=True, slots=True)
class GraphMeasures:
    """What is measured on one mask's graph; degrees are those of input channels, in edges."""

    min_in_degree: int
    mean_in_degree: float
    max_in_degree: int
    orphans: int
    components: int
    sigma2: float
    spectral_gap: float
    ramanujan_margin: float
    null_gap_mean: float
    null_gap_std: float
    gap_z: float
    certified_expansion: dict[str, float]


def certified_expansion(mask: torch.Tensor, sigma2: float, share: float = CERTIFICATE_SHARE) -> dict[str, float]:
    """A lower bound on |Γ(T)|/|T| for every set T of inputs, or of outputs, that holds `share` ρ of the edges.

    mask: bool (out, in). Proof: with Â = D_R^{-1/2} A D_C^{-1/2}, vol(T) = Σ_{c∈T} deg c and y = Â D_C^{1/2} 1_T,
    Cauchy–Schwarz over the rows that T touches gives vol(T)² = ⟨y, D_R^{1/2} 1_{Γ(T)}⟩² ≤ ‖y‖² · vol(Γ(T)). Splitting
    D_C^{1/2} 1_T along the top singular vector, ‖y‖² ≤ vol(T)²/vol + σ₂²(vol(T) − vol(T)²/vol). Hence vol(Γ(T)) ≥
    vol(T)/(σ₂² + (1−σ₂²)ρ); vol(T) ≥ d_min|T| and vol(Γ(T)) ≤ d_max|Γ(T)| turn volumes into counts. The same with A
    transposed certifies sets of outputs. sigma2: an upper bound on σ₂, see certificate_sigma2.
    """
    rows, columns = mask.sum(1), mask.sum(0)
    spread = sigma2**2 + (1 - sigma2**2) * share
    if not mask.any() or spread == 0:
        return {"inputs": 0.0, "outputs": 0.0}
    return {
        "inputs": (columns.min() / rows.max()).item() / spread,
        "outputs": (rows.min() / columns.max()).item() / spread,
    }


def certificate_sigma2(mask: torch.Tensor, sigma2: float) -> float:
    """The σ₂ that certificates rest on: the verified bound, or the computed value where proving it is too much work."""
    bound = verified_sigma2(mask, sigma2)
    return sigma2 if bound is None else bound


def count_components(mask: torch.Tensor) -> int:
    """Number of connected components among the channels that have at least one edge."""
    rows, columns = mask.cpu().numpy().nonzero()
    out_features, in_features = mask.shape
    size = out_features + in_features
    adjacency = scipy.sparse.coo_matrix((np.ones(len(rows), bool), (rows, columns + out_features)), (size, size))
    total, _ = scipy.sparse.csgraph.connected_components(adjacency, directed=False)
    isolated = int((~mask.any(0)).sum() + (~mask.any(1)).sum())
    return int(total) - isolated


def measure(mask: torch.Tensor, pattern: NMPattern, null_samples: int = 20) -> GraphMeasures:
    """All measures of one mask, bool (out, in); the null distribution is cached per shape and pattern."""
    degrees = mask.sum(0)
    sigma2 = second_singular_value(mask).item()
    row_degree, mean_degree = mask.sum(1).float().mean().item(), degrees.float().mean().item()
    mean, std = null_gap((mask.shape[0], mask.shape[1]), pattern, null_samples)
    gap = 1 - sigma2
    return GraphMeasures(
        min_in_degree=int(degrees.min()),
        mean_in_degree=mean_degree,
        max_in_degree=int(degrees.max()),
        orphans=int((degrees == 0).sum()),
        # A positive gap proves that the graph is connected. Only a gap near 0 needs the search.
        components=1 if gap > 1e-3 and mask.any() else count_components(mask),
        sigma2=sigma2,
        spectral_gap=gap,
        ramanujan_margin=ramanujan_sigma(row_degree, mean_degree) - sigma2,
        null_gap_mean=mean,
        null_gap_std=std,
        gap_z=(gap - mean) / std if std > 1e-9 else 0.0,
        certified_expansion=certified_expansion(mask, certificate_sigma2(mask, sigma2)),
    )


class Summary(TypedDict):
    """A whole model's graphs in a few numbers."""

    layers: int
    inputs: int  # of all layers together
    orphans: int
    min_in_degree: int
    disconnected: int  # layers of more than one component
    mean_gap: float
    min_gap: float
    weakest: str  # the layer with the smallest gap
    below_null: int  # layers more than two standard deviations below random masks


def summarize(layers: Sequence[LayerEntry]) -> Summary:
    """The whole model's graphs in a few numbers; layers as in a run's report, at least one."""
    weakest = min(layers, key=lambda layer: layer["spectral_gap"])
    return {
        "layers": len(layers),
        "inputs": sum(layer["shape"][1] for layer in layers),
        "orphans": sum(layer["orphans"] for layer in layers),
        "min_in_degree": min(layer["min_in_degree"] for layer in layers),
        "disconnected": sum(layer["components"] != 1 for layer in layers),
        "mean_gap": sum(layer["spectral_gap"] for layer in layers) / len(layers),
        "min_gap": weakest["spectral_gap"],
        "weakest": weakest["name"],
        "below_null": sum(layer["gap_z"] < -2 for layer in layers),
    }
