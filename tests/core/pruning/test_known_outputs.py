"""Outputs that are kept while a block is pruned in stages: each is computed once, and nothing changes by that."""

import copy
from collections import Counter

import pytest
import torch
from torch import nn

from eggs_core.config import make_config
from eggs_core.models.architectures import block_layers
from eggs_core.models.experts import open_experts
from eggs_core.pruning import known_outputs
from eggs_core.pruning.block_calls import run_block
from eggs_core.pruning.block_order import End, order_of
from eggs_core.pruning.known_outputs import KnownOutputs
from eggs_core.pruning.loop import prune

pytestmark = pytest.mark.usefixtures("one_thread")


class Counted(nn.Linear):
    """Counts how often it computes."""

    def __init__(self) -> None:
        super().__init__(4, 4)
        self.count = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.count += 1
        return super().forward(x).add_(0)


class Pair(nn.Module):
    """A child of a block that returns a tuple, as attention does."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = Counted(), Counted()

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, None]:
        return self.second(self.first(x).tanh_()), None


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention, self.last = Pair(), Counted()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(x + self.attention(x)[0].mul_(2))

    def counts(self) -> list[int]:
        return [m.count for m in (self.attention.first, self.attention.second, self.last)]


@pytest.fixture
def block() -> Block:
    torch.manual_seed(0)
    return Block()


@torch.no_grad()
def computed(block: Block, known: KnownOutputs, number: int, x: torch.Tensor) -> torch.Tensor:
    with known.batch(number):
        return block(x)


def test_a_settled_layer_computes_each_batch_once(block):
    known, batches = KnownOutputs(block, ["attention.second", "last"]), torch.randn(2, 3, 4)
    wanted = [copy.deepcopy(block)(x) for x in batches]
    for _ in range(3):  # this block writes into what a layer returned, which is seen in the first batch
        assert all(torch.equal(computed(block, known, i, x), wanted[i]) for i, x in enumerate(batches))
    assert block.counts() == [3, 6, 6]
    with torch.no_grad():
        block.attention.second.weight.mul_(0.5)
    known.settle(["attention.second"])
    wanted = [copy.deepcopy(block)(x) for x in batches]
    for _ in range(3):
        assert all(torch.equal(computed(block, known, i, x), wanted[i]) for i, x in enumerate(batches))
    assert block.counts() == [4, 9, 12]
    assert known.room == known_outputs.MOST_BYTES - 2 * 48  # of the child alone
    assert "forward" not in block.attention.__dict__ and "forward" not in block.last.__dict__


def test_nothing_is_kept_behind_a_layer_that_still_changes(block):
    known, x = KnownOutputs(block, ["attention.first"]), torch.randn(3, 4)
    for _ in range(2):
        with torch.no_grad():
            block.attention.first.weight.mul_(0.5)
        assert torch.equal(computed(block, known, 0, x), copy.deepcopy(block)(x))
    assert block.counts() == [2, 2, 2] and known.room == known_outputs.MOST_BYTES


def test_what_finds_no_room_is_computed_again(block):
    known, x = KnownOutputs(block, [], most_bytes=47), torch.randn(3, 4)
    for _ in range(2):
        computed(block, known, 0, x)
    assert block.counts() == [2, 2, 2] and known.room == 47


@pytest.mark.parametrize("kind", ["llama", "falcon", "gemma2", "mixtral"])
def test_pruning_gives_the_same_bits_with_it_as_without(tiny_model, kind, monkeypatch):
    windows = torch.randint(0, 64, (6, 20), generator=torch.Generator().manual_seed(3))
    found = []
    for most in (known_outputs.MOST_BYTES, 0):
        monkeypatch.setattr(KnownOutputs.__init__, "__defaults__", (most,))
        model = tiny_model(kind)
        open_experts(model)
        list(prune(model, windows, make_config("m", "2:4", "eggs-ptp-plus")))
        found.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.equal(*found)


def test_of_a_child_that_returns_its_last_layers_output_that_layer_alone_is_computed(tiny_model):
    """What the layer reads was kept when the block was computed up to it."""
    block = tiny_model("llama").model.layers[0]
    layers = {layer.projection: layer for layer in block_layers("model.layers", 0, block)}
    counts: Counter[str] = Counter()
    for name, layer in layers.items():
        layer.module.register_forward_hook(lambda *_, n=name: counts.update([n]))
    x, table = torch.randn(2, 5, 32), torch.ones(2, 5, 8)
    arguments = (), {"position_embeddings": (table, table), "attention_mask": None}
    order = order_of(block, list(layers.values()), x, arguments)
    assert order.ends == {"self_attn": End("self_attn.o_proj", 2), "mlp": End("mlp.down_proj", None)}
    assert order.last == "model.layers.0.mlp.down_proj"
    assert order.inputs[1:] == [["model.layers.0.self_attn.o_proj"], *order.inputs[2:]] and len(order.inputs) == 4
    last, wanted = layers["mlp.down_proj"], run_block(block, x, arguments)
    known, read = KnownOutputs(block, ["mlp.down_proj"]), []
    known.ends = order.ends
    counts.clear()
    with last.module.register_forward_pre_hook(lambda _m, args: read.append(args[0])), known.batch(0, silent=last):
        stream = run_block(block, x, arguments)
    assert torch.allclose(stream + last.module(read[0]), wanted, atol=1e-5)
    known.enter("mlp.down_proj", 0, read[0])
    known.settle(["mlp.down_proj"])
    counts.clear()
    with known.batch(0):
        assert torch.equal(run_block(block, x, arguments), wanted)
    assert counts == {"mlp.down_proj": 1}
