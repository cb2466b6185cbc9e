"""Losses as a file, and the layers of a model without its weights."""

import json

import pytest

from eggs_core.allocation.allocate import measure_sensitivities, parse_candidates
from eggs_core.allocation.sizes import layer_sizes, sizes_in
from eggs_core.allocation.stored import (
    MeasuredLosses,
    load_losses,
    losses_key,
    measured_losses,
    save_losses,
)
from eggs_core.bos import EVERY, FIRST
from eggs_core.config import make_config
from eggs_core.errors import EggsError
from eggs_core.models.loading import load
from eggs_core.progress import Progress

SMALL = {"calibration_windows": 4, "calibration_length": 32}


def test_a_file_holds_the_whole_table(small_folder, tmp_path):
    config, candidates = make_config(str(small_folder), "2:4", "ria-cp", **SMALL), parse_candidates(["2:4", "3:8"])
    *before, found = measured_losses(config, candidates)
    assert before and all(isinstance(event, Progress) for event in before)
    save_losses(found, tmp_path / "losses.json")
    again = load_losses(tmp_path / "losses.json")
    assert again == found and again.created.startswith("20")
    steps = measure_sensitivities(config, candidates)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            assert again.sensitivities(layer_sizes(str(small_folder))) == end.value
            break


def test_layers_are_known_without_weights(small_folder):
    loaded = load(str(small_folder))
    assert layer_sizes(str(small_folder)) == list(sizes_in(loaded.model))


def test_losses_are_those_of_a_method_and_a_calibration():
    config = make_config("tiny-llama", "2:4", "ria")
    assert losses_key(config) == losses_key(config.changed(pattern="1:4", layers=("blocks 1=dense",)))
    assert losses_key(config) == losses_key(config.changed(bos=EVERY)) != losses_key(config.changed(bos=FIRST))
    for other in ({"seed": 1}, {"calibration_windows": 8}, {"model": "tiny-opt"}):
        assert losses_key(config) != losses_key(config.changed(**other))


@pytest.mark.parametrize(
    "change",
    [
        {"losses": {"a": {"5:4": 0.1}}},
        {"losses": {"a": {"2:4": -1.0}}},
        {"losses": {"a": 3}},
        {"config": {"model": ""}},
        {"tokens": 0},
        {"more": 1},
    ],
)
def test_a_damaged_file_is_one_sentence(tmp_path, change):
    good = MeasuredLosses(make_config("tiny-llama", "2:4").to_dict(), "2026-01-01", 64, {"a": {"2:4": 0.1}})
    save_losses(good, file := tmp_path / "losses.json")
    assert load_losses(file) == good
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(EggsError, match=r"losses\.json cannot be read \(.*\); measure them again\."):
        load_losses(file)
    with pytest.raises(EggsError, match="cannot be read"):
        load_losses(tmp_path / "gone.json")
