"""The OBS sweep: columns are dropped or rounded one after the other, and those after them make up for the error."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from eggs_core.heavy import no_grad, torch
from eggs_core.masks.degree_bound import keep_best
from eggs_core.models.architectures import tables
from eggs_core.packed.grid import Grid, best_scales, rounded_table, values_per_scale, whole_numbers
from eggs_core.pattern import NMPattern
from eggs_core.pruning.problem import LayerProblem, Reconstruction, checked_gram, damped_inverse

if TYPE_CHECKING:  # it takes transformers seconds to import its models
    from transformers import PreTrainedModel

SWEEP = 128  # columns that are updated before their errors are passed on, as published
FLOATS = 16  # bits of values that need no scale


def none(problem: LayerProblem, found: Reconstruction, bits: None = None) -> Reconstruction:
    """A reconstruction as it is, in the model's dtype."""
    return found


def to_bf16(problem: LayerProblem, found: Reconstruction, bits: int = FLOATS) -> Reconstruction:
    """A reconstruction whose kept weights are rounded to bf16, each by itself, its mask as it was."""
    grid = Grid(bits)
    return replace(found, weight=grid.rounded(found.weight, problem.pattern), grid=grid)


def rounded(problem: LayerProblem, found: Reconstruction, bits: int) -> Reconstruction:
    """A reconstruction whose kept weights are rounded to `bits` bits, at most 8, its mask as it was.

    The sweep goes over the mask and passes errors on; what it has rounded already stays. Raises EggsError as obs does.
    """
    if found.grid is not None:
        return found
    given = replace(problem, weight=found.weight, mask=found.mask, bits=bits)
    gram, _ = checked_gram(given, "obs")
    result = swept(given, gram, [])
    return replace(result, notes=found.notes + result.notes)


@no_grad
def round_tables(model: PreTrainedModel) -> None:
    """Round a model's embedding and LM head in place to what the packed form keeps of them."""
    for table in {id(one.weight): one.weight for one in tables(model) or ()}.values():
        table.copy_(rounded_table(table))


def swept(problem: LayerProblem, gram: torch.Tensor, notes: list[str]) -> Reconstruction:
    """Sweep over the columns of a weight, fp32 (out, in), in the problem's order (arXiv 2301.00774 and 2210.17323).

    gram: (in, in), checked; it is overwritten. Of a group that the mask leaves open, the N weights are kept whose loss
    would cost most more than keeping them does: (w² − e²) / [H⁻¹]², e what rounding takes away. A scale is chosen when
    the sweep reaches the first of its values.
    """
    order = problem.order()
    gram = gram[order][:, order]
    gram.diagonal()[gram.diagonal() == 0] = 1
    factor = torch.linalg.cholesky(damped_inverse(gram, notes), upper=True)  # (in, in), Uᵀ U = H⁻¹
    kept = None if problem.mask is None else problem.mask[:, order]
    rounds = problem.bits is not None and problem.bits < FLOATS
    sweep = _Sweep(problem.weight[:, order], factor, problem.pattern, kept, problem.bits if rounds else None)
    sweep.run()
    back = order.argsort()
    grid = Grid(problem.bits or 0, torch.stack(sweep.scales, 1).half()) if rounds else None
    return Reconstruction(sweep.work[:, back], sweep.kept[:, back], notes, grid)


@dataclass(slots=True)
class _Sweep:
    """A sweep on its way: `work` (out, in) is changed in place, `given` the mask or None, `scales` grow by (out,)."""

    work: torch.Tensor
    factor: torch.Tensor
    pattern: NMPattern
    given: torch.Tensor | None
    bits: int | None
    scales: list[torch.Tensor] = field(default_factory=list)
    kept: torch.Tensor = field(init=False)

    def run(self) -> None:
        """From the first column to the last, some at a time before their errors are passed on to all others."""
        self.kept = torch.zeros_like(self.work, dtype=torch.bool) if self.given is None else self.given.clone()
        size, cols = self.pattern.group, self.work.shape[1]
        span = values_per_scale(self.pattern) // self.pattern.keep * size
        step = max(SWEEP // size, 1) * size if self.bits is None else max(SWEEP // span, 1) * span
        for start in range(0, cols, step):
            stop = min(start + step, cols)
            errors = torch.zeros_like(self.work[:, start:stop])
            for i in range(start, stop):
                if self.bits is not None and i % span == 0:
                    self._choose_scale(slice(i, min(i + span, cols)))
                if self.given is None and i % size == 0:
                    self._choose(slice(i, i + size))
                new = self._rounded(self.work[:, i]).masked_fill_(~self.kept[:, i], 0)
                error = (self.work[:, i] - new) / self.factor[i, i]  # (out,)
                self.work[:, i:stop].addr_(error, self.factor[i, i:stop], alpha=-1)
                self.work[:, i] = new
                errors[:, i - start] = error
            self.work[:, stop:].addmm_(errors, self.factor[start:stop, stop:], alpha=-1)

    def _choose_scale(self, span: slice) -> None:
        """The scale of the values that are kept in some columns, by the weights as they are now."""
        if self.given is None:
            for first in range(span.start, span.stop, self.pattern.group):
                group = slice(first, first + self.pattern.group)
                self.kept[:, group] = keep_best(self._cost(group), self.pattern.keep, dim=1)
        values = self.work[:, span] * self.kept[:, span]
        self.scales.append(best_scales(values, self.factor.diagonal()[span] ** -2, self.bits or 0))

    def _choose(self, group: slice) -> None:
        """The mask of a group, by what each weight's loss costs now less what rounding it costs."""
        cost = self._cost(group)
        if self.bits is not None:
            work = self.work[:, group]
            cost -= ((work - self._rounded(work)) / self.factor.diagonal()[group]) ** 2
        self.kept[:, group] = keep_best(cost, self.pattern.keep, dim=1)

    def _cost(self, group: slice) -> torch.Tensor:
        return self.work[:, group] ** 2 / self.factor.diagonal()[group] ** 2

    def _rounded(self, weights: torch.Tensor) -> torch.Tensor:
        """Weights (out, …) rounded by the scale at hand; a copy of them without one."""
        if self.bits is None:
            return weights.clone()
        scale = self.scales[-1] if weights.dim() == 1 else self.scales[-1][:, None]
        return whole_numbers(weights, scale, self.bits).mul_(scale)
