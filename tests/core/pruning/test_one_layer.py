"""A bundled layer between top-N and biregular: real scores, exact selections."""

import itertools

import pytest
import torch

from eggs_core.errors import EggsError
from eggs_core.masks.degree_bound import min_degree_bound
from eggs_core.masks.selection import check_mask, degree, topn
from eggs_core.pattern import NMPattern
from eggs_core.pruning.one_layer import BETAS, beta_step, input_norms, layer_scores

LAYER, PATTERN = "model.layers.0.self_attn.k_proj", NMPattern(2, 4)


def test_scores_are_those_of_the_dense_weights_and_norms(bundled):
    found = layer_scores("tiny-llama", LAYER, "wanda")
    weight = bundled().model.get_submodule(LAYER).weight
    assert torch.equal(found.weight, weight.float())
    norms = input_norms(bundled())
    assert torch.allclose(found.scores, weight.abs() * norms[LAYER], rtol=1e-4)
    assert "2,048 calibration tokens (wanda score)" in found.source
    assert "magnitudes" in layer_scores("tiny-llama", LAYER, "magnitude").source
    assert torch.equal(layer_scores("tiny-llama", LAYER, "obs").scores, found.scores)


def test_from_topn_to_biregular():
    scores = layer_scores("tiny-llama", LAYER, "ria").scores
    steps = [beta_step("tiny-llama", LAYER, "ria", PATTERN, beta) for beta in BETAS]
    assert torch.equal(steps[0].mask, topn(scores, PATTERN)) and steps[0].retained == 1
    assert steps[-1].mask.sum(0).unique().numel() == 1
    for step, later in itertools.pairwise(steps):
        check_mask(step.mask, PATTERN, LAYER)
        assert step.min_in_degree >= step.bound
        assert later.retained <= step.retained
    middle = steps[5]
    exact = degree(scores, PATTERN, 0.5)
    assert torch.where(middle.mask, scores, 0).sum() == pytest.approx(torch.where(exact, scores, 0).sum().item())
    assert middle.orphans == int((exact.sum(0) == 0).sum())


def test_between_the_steps_a_beta_has_a_selection_of_its_own():
    scores = layer_scores("tiny-llama", LAYER, "ria").scores
    step = beta_step("tiny-llama", LAYER, "ria", PATTERN, 0.87)
    exact = degree(scores, PATTERN, 0.87)
    assert (step.beta, step.bound) == (0.87, min_degree_bound(len(scores), PATTERN, 0.87))
    assert torch.where(step.mask, scores, 0).sum() == pytest.approx(torch.where(exact, scores, 0).sum().item())
    assert step.min_in_degree >= step.bound > beta_step("tiny-llama", LAYER, "ria", PATTERN, 0.8).bound


def test_an_unknown_layer_is_one_sentence():
    with pytest.raises(EggsError, match=r"no layer model\.nothing"):
        layer_scores("tiny-llama", "model.nothing", "ria")
