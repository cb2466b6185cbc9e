"""Where it breaks: drift and leave-one-in against models that are built by hand."""

import copy
import math

import pytest
import torch

from eggs_core.evaluation.by_part import PartCost, drift, leave_one_in
from eggs_core.evaluation.perplexity import evaluate
from eggs_core.models.architectures import find_blocks, linear_layers
from eggs_core.progress import Progress


@pytest.fixture(scope="module")
def pair(bundled):
    dense = bundled("tiny-llama").model
    pruned = copy.deepcopy(dense)
    generator = torch.Generator().manual_seed(0)
    for layer in linear_layers(pruned):
        layer.set_weight(layer.weight() * (torch.rand(layer.shape, generator=generator) > 0.3))
    return dense, pruned


@pytest.fixture(scope="module")
def windows():
    return torch.randint(5, 4000, (3, 48), generator=torch.Generator().manual_seed(1))


def test_drift_is_what_hidden_states_say(pair, windows):
    dense, pruned = pair
    found = drift(dense, pruned, windows)
    with torch.no_grad():
        a, b = (m(input_ids=windows, output_hidden_states=True).hidden_states for m in pair)
    assert len(found) == len(find_blocks(dense)[1])
    for step in found[:-1]:  # transformers' last entry has gone through the final norm
        x, y = a[step.block + 1], b[step.block + 1]
        error = ((y - x).norm(dim=-1) / x.norm(dim=-1)).median().item()
        assert step.error == pytest.approx(error, rel=1e-4)
        assert step.cosine == pytest.approx(torch.cosine_similarity(x, y, dim=-1).mean().item(), abs=1e-5)
    same = drift(dense, dense, windows)
    assert all(step.error == 0 and step.cosine == pytest.approx(1, abs=1e-6) for step in same)


def test_one_part_alone_is_the_model_with_that_part_swapped(pair, windows):
    dense, pruned = pair
    before = [p.clone() for p in (*dense.parameters(), *pruned.parameters())]
    parts = [e for e in leave_one_in(dense, pruned, windows) if isinstance(e, PartCost)]
    blocks = [p for p in parts if p.kind == "block"]
    kinds = {p.name for p in parts if p.kind == "projection"}
    assert [p.name for p in blocks] == [str(i + 1) for i in range(len(find_blocks(dense)[1]))]
    assert kinds == {layer.projection for layer in linear_layers(dense)}
    for kind in ("block", "projection"):
        assert sum(p.share for p in parts if p.kind == kind) == pytest.approx(1)
    mixed, second = copy.deepcopy(dense), find_blocks(pruned)[1][1]
    find_blocks(mixed)[1][1].load_state_dict(second.state_dict())
    ratio = math.exp((evaluate(mixed, windows).nats - evaluate(dense, windows).nats).mean().item())
    assert blocks[1].ratio.value == pytest.approx(ratio, rel=1e-6)
    assert blocks[1].ratio.low <= ratio <= blocks[1].ratio.high
    after = [*dense.parameters(), *pruned.parameters()]
    assert all(torch.equal(x, y) for x, y in zip(before, after, strict=True))


def test_stopping_leaves_both_models_as_they_were(pair, windows):
    dense, pruned = pair
    before = [p.clone() for p in dense.parameters()]
    steps = leave_one_in(dense, pruned, windows)
    assert isinstance(next(steps), Progress) and isinstance(next(steps), Progress)
    steps.close()
    assert all(torch.equal(x, y) for x, y in zip(before, dense.parameters(), strict=True))
