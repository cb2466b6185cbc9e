"""A dense model's evaluation is known for as long as it is the same model, and for the windows that it was made of."""

import gc

import pytest
import torch

from eggs_core.evaluation.dense_scores import DenseScores
from eggs_core.evaluation.perplexity import WindowScores

WINDOWS = torch.arange(8).view(2, 4)


def scores(value: float) -> WindowScores:
    return WindowScores(*(torch.full((2,), value) for _ in range(3)))


def test_scores_are_known_by_model_and_windows():
    known, model, other, made = DenseScores(), torch.nn.Linear(2, 2), torch.nn.Linear(2, 2), scores(1.0)
    known.put(model, WINDOWS, made)
    assert known.get(model, WINDOWS.clone()) is made
    assert known.get(other, WINDOWS) is None
    assert known.get(model, WINDOWS + 1) is None and known.get(model, WINDOWS.view(4, 2)) is None


@pytest.mark.slow
def test_evaluations_go_with_their_model():
    known = DenseScores()
    for _ in range(20):  # each is gone before the next, which is often made at the same address
        model = torch.nn.Linear(2, 2)
        assert known.get(model, WINDOWS) is None
        known.put(model, WINDOWS, scores(1.0))
        del model
        gc.collect()


def test_they_are_bounded():
    known, model = DenseScores(most=2), torch.nn.Linear(2, 2)
    for i in range(3):
        known.put(model, WINDOWS + i, scores(i))
    assert [known.get(model, WINDOWS + i) is None for i in range(3)] == [True, False, False]
