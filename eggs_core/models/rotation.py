"""The rotation of a run: orthogonal matrices that fold into a model, and how they are stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from eggs_core.errors import EggsError
from eggs_core.heavy import torch
from eggs_core.models.residual_stream import CannotRotate, Stream

if TYPE_CHECKING:  # it takes transformers seconds to import its models
    from transformers import PreTrainedModel

ROTATION = "rotation."  # begins the names of its stored tensors


@dataclass(frozen=True, slots=True)
class Rotation:
    """Orthogonal matrices, fp32 on the CPU.

    residual: (width, width), of the residual stream. values: (blocks, heads, head width, head width), of each head's
    values; None where they do not turn.
    """

    residual: torch.Tensor
    values: torch.Tensor | None = None

    def fold_into(self, model: PreTrainedModel) -> None:
        """Fold them into a model, in place; it computes the same. Raises CannotRotate for one that they do not fit."""
        stream = Stream.of(model)
        own = stream.blocks[0].values
        fits = own and (len(stream.blocks), own.heads, own.width, own.width)
        if len(self.residual) != stream.width or (self.values is not None and self.values.shape != fits):
            raise CannotRotate("the rotation is another model's")
        stream.fold_norms()
        stream.rotate(self.residual, self.values)

    def tensors(self) -> dict[str, torch.Tensor]:
        """What is stored of it."""
        values = {} if self.values is None else {f"{ROTATION}values": self.values}
        return {f"{ROTATION}residual": self.residual} | values

    @classmethod
    def stored(cls, tensors: Mapping[str, torch.Tensor]) -> Rotation | None:
        """What `tensors` gave, among others; None if there is none. Raises EggsError for what is no rotation."""
        found = {name.removeprefix(ROTATION): one for name, one in tensors.items() if name.startswith(ROTATION)}
        if not found:
            return None
        if "residual" not in found or found.keys() - {"residual", "values"}:
            raise EggsError("Its rotation is incomplete.")
        for name, one in found.items():
            square = one.dim() == (2 if name == "residual" else 4) and one.shape[-1] == one.shape[-2]
            if not square or one.dtype != torch.float32 or not _orthogonal(one):
                raise EggsError("Its rotation is no orthogonal matrix.")
        return cls(found["residual"], found.get("values"))


def _orthogonal(matrices: torch.Tensor) -> bool:
    return bool(((matrices.mT @ matrices - torch.eye(matrices.shape[-1])).abs() < 1e-3).all())
