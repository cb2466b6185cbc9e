"""How much outputs matter for a block: against Jacobians computed in full, and what a pass leaves behind."""

import pytest
import torch
from torch import nn

from eggs_core.models.architectures import BLOCK_PATHS, LinearLayer, block_layers, find_blocks
from eggs_core.pruning.activations import Activations
from eggs_core.pruning.sensitivity import sensitivities

pytestmark = pytest.mark.usefixtures("one_thread")


class Block(nn.Module):
    """Two linear layers with a curve between them; the first feeds nothing but the second."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.first, self.second = nn.Linear(3, 4, bias=False), nn.Linear(4, 3, bias=False)

    def forward(self, hidden):
        return self.second(torch.tanh(self.first(hidden)))


def test_it_is_the_mean_of_the_squared_jacobian():
    block = Block()
    hidden = torch.randn(8, 512, 3, generator=torch.Generator().manual_seed(2))
    layers = [LinearLayer(name, 0, name, getattr(block, name)) for name in ("first", "second")]
    found = sensitivities(block, layers, [(hidden, ((), {}))] * 2)["first"]
    inner = hidden.reshape(-1, 3) @ block.first.weight.T
    jacobians = block.second.weight.detach() * (1 - torch.tanh(inner) ** 2)[:, None, :]  # (tokens, 3, 4)
    jacobians = jacobians / block(hidden).detach().reshape(-1, 3).norm(dim=1)[:, None, None]
    wanted = torch.einsum("tij,tik->jk", jacobians, jacobians)
    assert (found / found.norm() - wanted / wanted.norm()).norm() < 0.1
    assert block.first.weight.requires_grad and block.first.weight.grad is None


@pytest.mark.parametrize("kind", sorted(BLOCK_PATHS))
def test_every_layer_of_every_architecture_has_one(tiny_model, kind):
    model = tiny_model(kind)
    path, blocks = find_blocks(model)
    windows = torch.randint(0, 64, (6, 20), generator=torch.Generator().manual_seed(3))
    activations = Activations(model, blocks, windows)
    layers = block_layers(path, 0, blocks[0])
    found = [sensitivities(blocks[0], layers, activations.calls(0)) for _ in range(2)]
    assert set(found[0]) == {layer.name for layer in layers}
    for layer in layers:
        matrix = found[0][layer.name]
        assert matrix.shape == (layer.shape[0], layer.shape[0])
        assert torch.equal(matrix, found[1][layer.name])
        assert torch.linalg.eigvalsh(matrix).min() > -1e-4 * matrix.diagonal().max()
    assert not any(m._forward_hooks for m in model.modules())


def test_half_precision_gives_finite_values(tiny_model):
    model = tiny_model("llama").to(torch.float16)
    path, blocks = find_blocks(model)
    activations = Activations(model, blocks, torch.randint(0, 64, (2, 20), generator=torch.Generator().manual_seed(3)))
    layers = block_layers(path, 0, blocks[0])
    found = sensitivities(blocks[0], layers, activations.calls(0))
    assert set(found) == {layer.name for layer in layers}
    assert all(matrix.dtype == torch.float32 and torch.isfinite(matrix).all() for matrix in found.values())
