"""Curves of what structure costs: means, what larger groups win back, and damaged files."""

import json
from dataclasses import asdict

import pytest

from eggs_core.errors import EggsError
from eggs_core.evaluation.intervals import Interval
from eggs_core.evaluation.structure import Curve, Step, load_curves


def curve(*perplexities: float, patterns=("2:4", "4:8", "50%"), method="ria") -> Curve:
    steps = [
        Step(p, [x - 1, x + 1], Interval(x / perplexities[0], 0.5, 1.5))
        for p, x in zip(patterns, perplexities, strict=True)
    ]
    return Curve("tiny-llama", method, "2 × 3 tokens", 20.0, steps)


def test_what_larger_groups_win_back_is_a_share_of_what_small_ones_cost():
    found = curve(40.0, 34.0, 32.0)
    assert [found.won_back(step) for step in found.steps] == [0.0, 0.75, 1.0]
    assert [step.perplexity for step in found.steps] == [40.0, 34.0, 32.0]
    same = curve(40.0, 40.0, 40.0)
    assert same.won_back(same.steps[1]) == 0.0


def test_curves_are_read_as_they_were_written_and_damage_is_one_sentence(tmp_path):
    file = tmp_path / "curves.json"
    file.write_text(json.dumps([asdict(found := curve(40.0, 34.0, 32.0))]))
    assert load_curves(file) == [found]
    for bad, why in (
        (curve(40.0, 34.0, 32.0, patterns=("2:4", "3:8", "50%")), "the same share"),
        (curve(40.0, patterns=("2:4",)), "at least two"),
        (curve(40.0, 34.0, 32.0, method="no such"), "known method"),
    ):
        file.write_text(json.dumps([asdict(bad)]))
        with pytest.raises(EggsError, match=why):
            load_curves(file)
    file.write_text("[{}]")
    with pytest.raises(EggsError, match=r"curves\.json cannot be read"):
        load_curves(file)
    with pytest.raises(EggsError, match="No such file"):
        load_curves(tmp_path / "none.json")
