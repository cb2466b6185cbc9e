"""Texts are cut into windows: by the seed for calibration, from the start and without overlap for evaluation."""

import hashlib

import pytest
import torch

from eggs_core.errors import EggsError
from eggs_core.text.sources import Text, bundled_text
from eggs_core.text.windows import calibration_windows, evaluation_windows, tokenize, training_windows


class Letters:
    """A tokenizer that turns every character into its code, so that windows can be read."""

    def __call__(self, text, return_tensors="", verbose=True, add_special_tokens=True):
        class Batch:
            input_ids = torch.tensor([[ord(c) for c in text]]) if return_tensors else [ord(c) for c in text]

        return Batch


TEXT = Text("counting", "".join(chr(i) for i in range(40, 140)))


def test_calibration_windows_are_pieces_of_the_text():
    windows = calibration_windows(Letters(), TEXT, 50, 10, seed=0)
    assert windows.shape == (50, 10)
    assert windows.dtype == torch.int64
    assert torch.equal(windows.diff(dim=1), torch.ones(50, 9, dtype=torch.int64))
    assert windows.min() >= 40
    assert windows.max() < 140


def test_the_seed_decides():
    first, again, other = (calibration_windows(Letters(), TEXT, 8, 10, seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_global_randomness_is_neither_used_nor_changed():
    state = torch.get_rng_state()
    first = calibration_windows(Letters(), TEXT, 8, 10, 0)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(99)
    assert torch.equal(calibration_windows(Letters(), TEXT, 8, 10, 0), first)


def test_the_first_and_the_last_start_occur():
    starts = calibration_windows(Letters(), TEXT, 2000, 98, 0)[:, 0] - 40
    assert set(starts.tolist()) == {0, 1, 2}


def test_one_window_that_is_the_whole_text():
    assert torch.equal(calibration_windows(Letters(), TEXT, 3, 100, 0), torch.arange(40, 140).expand(3, 100))


def test_evaluation_windows_do_not_overlap():
    windows = evaluation_windows(Letters(), TEXT, 3, 30)
    assert torch.equal(windows.flatten(), torch.arange(40, 130))
    assert evaluation_windows(Letters(), TEXT, 99, 30).shape == (3, 30)
    assert evaluation_windows(Letters(), TEXT, 2, 30).shape == (2, 30)


@pytest.mark.parametrize("content", ["", "   \n\t"])
def test_an_empty_text_is_refused(content):
    with pytest.raises(EggsError, match="'mine' is empty"):
        tokenize(Letters(), Text("mine", content))


def test_a_short_text_is_refused_with_its_length():
    with pytest.raises(EggsError, match="calibration text has 100 tokens, fewer than one window of 101"):
        calibration_windows(Letters(), TEXT, 1, 101, 0)
    with pytest.raises(EggsError, match="evaluation text has 100 tokens, fewer than one window of 101"):
        evaluation_windows(Letters(), TEXT, 1, 101)


def test_sha256_is_that_of_the_bytes():
    assert Text("x", "naïve").sha256 == hashlib.sha256("naïve".encode()).hexdigest()


def test_bundled_texts_do_not_overlap(bundled):
    calibration, heldout = bundled_text("calibration"), bundled_text("heldout")
    tokenizer = bundled().tokenizer
    assert len(tokenize(tokenizer, calibration)) > 20_000
    assert evaluation_windows(tokenizer, heldout, 64, 256).shape == (64, 256)
    shared = {p for p in calibration.content.split("\n") if len(p) > 200} & set(heldout.content.split("\n"))
    assert not shared


def test_training_windows_cover_the_text_and_never_reach_what_is_measured_on():
    training, held_out = training_windows(Letters(), TEXT, 200, 5, 4, seed=0)
    assert held_out.shape == (2, 5)  # an eighth of twenty
    assert torch.equal(held_out.flatten(), torch.arange(130, 140))
    assert training.shape == (200, 5) and training.max() < 130
    assert set(training[:, 0].tolist()) == set(range(40, 126))
    again, other = (training_windows(Letters(), TEXT, 200, 5, 4, seed)[0] for seed in (0, 1))
    assert torch.equal(training, again) and not torch.equal(training, other)


def test_a_text_of_less_than_two_windows_has_nothing_to_measure_on():
    assert len(training_windows(Letters(), TEXT, 3, 50, 4, seed=0)[0]) == 3
    with pytest.raises(EggsError, match="100 tokens, fewer than two windows of 51"):
        training_windows(Letters(), TEXT, 3, 51, 4, seed=0)
