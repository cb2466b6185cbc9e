"""One expert of a mixture as a linear layer; importing this imports torch at once."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import linear


class ExpertLinear(nn.Module):
    """One expert's linear layer; its weight is a view of the tensor that all experts of a mixture share."""

    def __init__(self, owner: nn.Module, tensor: str, index: int, experts: int, transposed: bool) -> None:
        super().__init__()
        self._owner = (owner,)  # in a tuple, so that the shared tensor is counted once
        self.tensor, self.index, self.experts, self.transposed = tensor, index, experts, transposed

    @property
    def shared(self) -> torch.Tensor:
        """The tensor of all experts."""
        return self._owner[0].get_parameter(self.tensor)

    @property
    def weight(self) -> torch.Tensor:
        """(out_features, in_features), in place in the shared tensor."""
        shared = self.shared
        weight = (
            shared.view(self.experts, -1, shared.shape[-1])[self.index] if shared.dim() == 2 else shared[self.index]
        )
        return weight.T if self.transposed else weight

    @property
    def bias(self) -> torch.Tensor | None:
        """(out_features,), in place in the shared bias; None without one."""
        shared = self._owner[0]._parameters.get(f"{self.tensor}_bias")
        return None if shared is None else shared[self.index]

    @property
    def in_features(self) -> int:
        """Inputs of the expert."""
        return self.weight.shape[1]

    @property
    def out_features(self) -> int:
        """Outputs of the expert."""
        return self.weight.shape[0]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (tokens, in) → (tokens, out)."""
        return linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        """What print(model) shows of the layer."""
        return f"in_features={self.in_features}, out_features={self.out_features}, expert={self.index}"
