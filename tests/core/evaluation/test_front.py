"""Prune or quantise: which points are beaten, and pruning beside plain bits, on points made by hand."""

import json
import math
from dataclasses import asdict, replace

import pytest

from eggs_core.errors import EggsError
from eggs_core.evaluation.front import LLAMA_CPP, OURS, Front, Point, beside_plain, leaders, load_fronts


def point(name, bits, nats, pattern="1:1", maker=OURS):
    return Point(name, maker, pattern, bits, round(1000 * bits), math.exp(nats), [nats - 0.1, nats, nats + 0.1])


DENSE, FOUR, TWO = point("dense", 16.0, 3.0), point("4 bits", 4.5, 3.1), point("2 bits", 2.5, 3.5)


def test_what_another_beats_in_both_does_not_lead():
    beaten, tie = point("2:4 + 8 bits", 5.25, 3.2, "2:4"), replace(FOUR, name="tie")
    assert [p.name for p in leaders([DENSE, beaten, FOUR, TWO, tie])] == ["2 bits", "4 bits", "dense"]


def test_pruning_is_compared_on_the_line_between_plain_bits():
    pruned = point("2:4 + 4 bits", 3.25, 3.3, "2:4")
    ratio = beside_plain(pruned, [DENSE, FOUR, TWO, pruned])
    expected = math.exp(3.3 - (3.5 - 0.4 * 0.375))  # three eighths of the way from 2.5 to 4.5 bits
    assert ratio.value == pytest.approx(expected) and ratio.low == pytest.approx(expected)
    assert beside_plain(replace(pruned, bits=4.5), [FOUR, TWO]).value == pytest.approx(math.exp(0.2))


def test_outside_of_what_was_measured_nothing_is_said():
    assert beside_plain(point("1:4 + 2 bits", 1.1, 5.0, "1:4"), [FOUR, TWO]) is None
    assert beside_plain(point("2:4 + 4 bits", 3.25, 3.3, "2:4"), [FOUR, TWO], LLAMA_CPP) is None


def test_fronts_are_read_back_and_damaged_ones_refused(tmp_path):
    front = Front("tiny-llama", "fp16", "3 × 4 tokens", "a machine", "SparseGPT", [DENSE, FOUR, TWO])
    file = tmp_path / "fronts.json"
    file.write_text(json.dumps([asdict(front)]))
    assert load_fronts(file) == [front] and load_fronts(file)[0].dense == DENSE
    odd = replace(front, points=[DENSE, replace(FOUR, window_nats=[1.0])])
    for text in ("{", "[{}]", json.dumps([asdict(odd)]), json.dumps([asdict(replace(front, points=[]))])):
        file.write_text(text)
        with pytest.raises(EggsError, match="cannot be read"):
            load_fronts(file)
    with pytest.raises(EggsError, match="cannot be read"):
        load_fronts(tmp_path / "none.json")
