"""Singular values of normalised biadjacency matrices: how well a mask lets information mix."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from eggs_core.heavy import torch
from eggs_core.masks.selection import topn
from eggs_core.pattern import NMPattern

MAX_STEPS = 400
CHECK_EVERY = 10
TOLERANCE = 2e-6  # change of σ₂² between two checks
VERIFIED_UP_TO = 2048  # smaller side of a matrix whose σ₂ is bounded by proof; the work grows with its cube
SLACKS = (1e-4, 1e-3, 1e-2)  # added to the computed σ₂ until the proof succeeds
EXACT_UP_TO = 1024  # smaller side of a matrix whose singular values are all computed
PROBES, PROBE_STEPS = 8, 80


@dataclass(frozen=True, slots=True)
class Density:
    """How the singular values of Â spread over [0, 1]: the share of them in each bin, σ₁ = 1 included."""

    edges: np.ndarray  # (bins + 1,)
    shares: np.ndarray  # (bins,), sums to 1
    exact: bool  # else estimated by stochastic Lanczos quadrature


def normalized(matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Â = D_R^{-1/2} A D_C^{-1/2} with its top singular vectors.

    matrix: (..., out, in), bool mask or non-negative weights. Returns Â fp32 of the same shape, u (..., out) and
    v (..., in), the unit vectors √degree/√volume. Columns and rows without edges stay zero.
    """
    a = matrix.to(torch.float32)
    rows, columns = a.sum(-1), a.sum(-2)  # (..., out), (..., in)
    volume = rows.sum(-1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
    scale_rows = torch.where(rows > 0, rows.rsqrt(), 0.0)
    scale_columns = torch.where(columns > 0, columns.rsqrt(), 0.0)
    a = a * scale_rows.unsqueeze(-1) * scale_columns.unsqueeze(-2)
    return a, (rows / volume).sqrt(), (columns / volume).sqrt()


def second_singular_value(matrix: torch.Tensor) -> torch.Tensor:
    """σ₂ of the normalised biadjacency matrix, by Lanczos on ÂᵀÂ with the known top vector deflated.

    matrix: (out, in) or a batch (k, out, in), bool mask or non-negative weights, on any device. Returns fp32 of shape
    () or (k,), within 1e-4 of a dense SVD. A disconnected graph has σ₂ = 1.

    >>> round(second_singular_value(torch.eye(4, dtype=torch.bool)).item(), 4)
    1.0
    """
    if matrix.dim() == 2:
        return second_singular_value(matrix.unsqueeze(0))[0]
    a, u, v = normalized(matrix)
    if a.shape[-2] < a.shape[-1]:  # work on the smaller side
        a, v = a.transpose(-1, -2), u
    count, size = v.shape
    if size == 1:
        return torch.zeros(count, dtype=torch.float32, device=a.device)
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(size, generator=generator, dtype=torch.float32).to(a.device).expand(count, size)

    def orthogonalize(x: torch.Tensor, basis: list[torch.Tensor]) -> torch.Tensor:
        stacked = torch.stack(basis, dim=1)  # (k, steps, size)
        for _ in range(2):  # twice is enough (Kahan, Parlett)
            x = x - torch.matmul(stacked.transpose(1, 2), torch.matmul(stacked, x.unsqueeze(-1))).squeeze(-1)
        return x

    # The known top vector heads the basis, which deflates it at every step; vertices without edges lie in the kernel,
    # and starting outside it keeps the iteration there too.
    basis = [v / v.norm(dim=-1, keepdim=True).clamp_min(1e-30)]
    alphas: list[torch.Tensor] = []
    betas: list[torch.Tensor] = []
    q = orthogonalize(start * (v > 0), basis)
    q = q / q.norm(dim=-1, keepdim=True).clamp_min(1e-30)
    basis.append(q)
    previous = torch.full((count,), -1.0, dtype=torch.float32, device=a.device)
    theta = previous
    for step in range(1, min(MAX_STEPS, size) + 1):
        w = torch.matmul(a.transpose(-1, -2), torch.matmul(a, q.unsqueeze(-1))).squeeze(-1)
        alphas.append((w * q).sum(-1))
        w = orthogonalize(w, basis)
        beta = w.norm(dim=-1)
        last = step == min(MAX_STEPS, size) or bool((beta < 1e-6).all())
        if last or step % CHECK_EVERY == 0:
            tridiagonal = torch.diag_embed(torch.stack(alphas, -1).double())
            if betas:
                off = torch.diag_embed(torch.stack(betas, -1).double(), offset=1)
                tridiagonal = tridiagonal + off + off.transpose(-1, -2)
            theta = torch.linalg.eigvalsh(tridiagonal)[:, -1].float()
            if last or bool(((theta - previous).abs() < TOLERANCE).all()):
                break
            previous = theta
        betas.append(beta)
        q = torch.where(beta.unsqueeze(-1) > 1e-6, w / beta.clamp_min(1e-30).unsqueeze(-1), 0.0)
        basis.append(q)
    return theta.clamp(0.0, 1.0).sqrt()


def verified_sigma2(mask: torch.Tensor, sigma2: float) -> float | None:
    """An upper bound on σ₂ that a Cholesky factorisation proves, up to rounding in fp64; None for very large masks.

    mask: bool (out, in); sigma2: its computed value, which Lanczos approaches from below. Let K = ÂÂᵀ on the smaller
    side, and u the known top vector. All other singular values are below s exactly if s²I − (K − uuᵀ) is positive
    definite, which means that it has a Cholesky factor. A bound of 1 needs no proof.
    """
    matrix = mask.to(torch.float64)
    if mask.shape[0] > mask.shape[1]:
        matrix = matrix.T
    if len(matrix) > VERIFIED_UP_TO:
        return None
    rows, columns = matrix.sum(1), matrix.sum(0)
    scaled = matrix * rows.clamp_min(1).rsqrt()[:, None] * columns.clamp_min(1).rsqrt()
    top = (rows / rows.sum().clamp_min(1)).sqrt()
    rest = scaled @ scaled.T - torch.outer(top, top)
    eye = torch.eye(len(rest), dtype=torch.float64, device=mask.device)
    for slack in SLACKS:
        bound = sigma2 + slack
        if bound >= 1:
            break
        if not torch.linalg.cholesky_ex(bound**2 * eye - rest).info:
            return bound
    return 1.0


def ramanujan_sigma(row_degree: float, mean_column_degree: float) -> float:
    """The Ramanujan edge on the normalised scale, (√(d_R−1) + √(d̄_C−1)) / √(d_R·d̄_C).

    A biregular graph whose σ₂ stays below it expands about as well as any graph of these degrees can.
    """
    d_r, d_c = max(row_degree, 1.0), max(mean_column_degree, 1.0)
    return ((d_r - 1) ** 0.5 + (d_c - 1) ** 0.5) / (d_r * d_c) ** 0.5


@lru_cache(maxsize=256)
def null_gap(shape: tuple[int, int], pattern: NMPattern, samples: int = 20, seed: int = 0) -> tuple[float, float]:
    """Mean and standard deviation of the spectral gap of random N:M masks of one shape (out, in)."""
    generator = torch.Generator().manual_seed(seed)
    # One mask at a time beyond 2 million weights, so that the batch's copies stay small.
    batch = max(1, min(samples, 2_000_000 // (shape[0] * shape[1])))
    gaps = []
    for first in range(0, samples, batch):
        scores = torch.rand(min(batch, samples - first) * shape[0], shape[1], generator=generator, dtype=torch.float32)
        gaps.append(1 - second_singular_value(topn(scores, pattern).view(-1, *shape)))
    values = torch.cat(gaps)
    return values.mean().item(), values.std().item()


def singular_values(matrix: torch.Tensor) -> torch.Tensor:
    """All singular values of Â, descending, fp32, by a dense SVD; matrix: (out, in)."""
    return torch.linalg.svdvals(normalized(matrix)[0])


def singular_density(matrix: torch.Tensor, bins: int = 60, exact_up_to: int = EXACT_UP_TO) -> Density:
    """The distribution of Â's min(out, in) singular values: all of them, or for big matrices a stochastic estimate.

    The estimate runs Lanczos on ÂÂᵀ from random vectors and weighs its Ritz values by their first components squared
    (stochastic Lanczos quadrature; Ubaru, Chen and Saad 2017). matrix: (out, in), bool mask or non-negative weights;
    it is big if its smaller side is more than `exact_up_to`.
    """
    edges = np.linspace(0, 1, bins + 1)
    if min(matrix.shape) <= exact_up_to:
        values = singular_values(matrix).clamp(0, 1).cpu().numpy()
        return Density(edges, np.histogram(values, edges)[0] / len(values), True)
    a = normalized(matrix)[0]
    a = a if a.shape[0] <= a.shape[1] else a.T
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(a.shape[0], PROBES, generator=generator, dtype=torch.float32).to(a.device)
    q = q / q.norm(dim=0)
    before, beta, alphas, betas = torch.zeros_like(q), torch.zeros(PROBES, dtype=torch.float32, device=a.device), [], []
    for _ in range(PROBE_STEPS):
        w = a @ (a.T @ q) - beta * before
        alphas.append((w * q).sum(0))
        w = w - alphas[-1] * q
        before, beta = q, w.norm(dim=0)
        betas.append(beta)
        q = w / beta.clamp_min(1e-12)
    off = torch.diag_embed(torch.stack(betas[:-1], -1).double(), offset=1)
    ritz, vectors = torch.linalg.eigh(torch.diag_embed(torch.stack(alphas, -1).double()) + off + off.transpose(-1, -2))
    weights = vectors[:, 0].square().flatten().cpu().numpy() / PROBES  # (probes · steps,)
    values = ritz.clamp(0, 1).sqrt().flatten().cpu().numpy()
    return Density(edges, np.histogram(values, edges, weights=weights)[0], False)
