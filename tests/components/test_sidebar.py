"""The sidebar's values become a configuration, or one sentence that says what is wrong."""

import hashlib
from urllib.parse import parse_qsl

import pytest
from bos_model import make_bos_model

from components.address import address, asked_config
from components.sidebar_values import (
    NAMES,
    OTHER,
    PATTERNS,
    controls_of,
    method_note,
    name_and_note,
    pattern_note,
    read,
    read_pattern,
)
from components.state.workspace import Workspace
from eggs_core.bos import EVERY, FIRST
from eggs_core.config import make_config
from eggs_core.errors import EggsError
from eggs_core.pattern import NMPattern
from eggs_core.registry import CUSTOM, METHODS

DEFAULTS = {
    "model": "tiny-llama",
    "pattern": "2:4",
    "keep": 2,
    "group": 4,
    "method": "ria",
    "score": "ria",
    "selection": "topn",
    "permutation": "none",
    "reconstruction": "none",
    "beta": 0,
    "diagonals": 0,
    "windows": 64,
    "length": 256,
    "seed": 0,
    "source": "bundled",
    "text": "",
    "dataset": "",
    "bos": "every window",
}


def values(**changes) -> list:
    given = {**DEFAULTS, **changes}
    return [given[name] for name in NAMES]


def refused(**changes) -> str:
    with pytest.raises(EggsError) as caught:
        read(*values(**changes))
    return str(caught.value)


@pytest.mark.parametrize("method", list(METHODS))
@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_named_method_is_read_as_the_core_makes_it(method, pattern):
    config, texts = read(*values(method=method, pattern=pattern, **METHODS[method].choices()))
    assert config == make_config("tiny-llama", pattern, method)
    assert texts == {}


def test_the_defaults_give_the_configuration_of_the_command_line():
    config, _ = read(*values())
    assert config.key() == make_config("tiny-llama", "2:4", "ria").key()


def test_the_free_pattern_counts_only_when_it_is_chosen():
    assert read_pattern("2:4", 5, 20) == NMPattern(2, 4)
    assert read_pattern(OTHER, 5, 20) == NMPattern(5, 20)
    assert read_pattern(OTHER, 5.0, 20.0) == NMPattern(5, 20)


@pytest.mark.parametrize(
    ("keep", "group", "sentence"),
    [
        (5, 4, "cannot exceed M"),
        (0, 4, "at least 1"),
        (-1, 4, "at least 1"),
        (1, 64, "32"),
        (None, 4, "whole numbers"),
        (2, None, "whole numbers"),
        (1.5, 4, "whole numbers"),
    ],
)
def test_a_pattern_that_is_none_is_one_sentence(keep, group, sentence):
    with pytest.raises(EggsError, match=sentence):
        read_pattern(OTHER, keep, group)
    note = pattern_note(OTHER, keep, group)
    assert sentence in note
    assert "bad" in note


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_is_one_sentence(value):
    with pytest.raises(EggsError, match="whole numbers"):
        read_pattern(OTHER, value, 4)


def test_the_pattern_in_words():
    assert "keeps 1 of every 4 weights: 75% pruned" in pattern_note("1:4", 9, 9)
    assert "bad" not in pattern_note("1:4", 9, 9)


def test_beta_and_diagonals_count_only_for_their_selection():
    assert read(*values(beta=50, diagonals=3))[0].option("beta") is None
    config, _ = read(*values(selection="degree", beta=50, diagonals=3))
    assert (config.method, config.options) == (CUSTOM, (("beta", 0.5),))
    config, _ = read(*values(method="eggs-ptp", selection="diagonal", beta=50, diagonals=3))
    assert (config.method, config.options) == ("eggs-ptp", (("diagonals", 3),))
    assert read(*values(selection="degree"))[0].option("beta") is None  # 0 means automatic


def test_a_text_of_ones_own_travels_beside_the_configuration():
    text = "Four score and seven years ago"
    config, texts = read(*values(source="own", text=text))
    name = f"text:{hashlib.sha256(text.encode()).hexdigest()}"
    assert config.calibration == name
    assert texts[name].content == text
    assert config.evaluation == "bundled"


def test_a_dataset_is_named_in_the_configuration():
    config, texts = read(*values(source="dataset", dataset=" owner/name:part "))
    assert (config.calibration, texts) == ("dataset:owner/name:part", {})


@pytest.mark.parametrize("blank", ["", "  \n\t", None])
def test_a_chosen_text_must_be_given(blank):
    assert "Paste a text" in refused(source="own", text=blank)
    assert "Name a dataset" in refused(source="dataset", dataset=blank)


def test_only_the_chosen_text_counts():
    config, texts = read(*values(text="left over", dataset="left/over"))
    assert (config.calibration, texts) == ("bundled", {})


def test_what_cannot_be_is_refused_before_any_work():
    assert "Choose a model" in refused(model="  ")
    assert "Choose a model" in refused(model=None)
    assert "calibration windows" in refused(windows=None)
    assert "calibration windows" in refused(windows=0)
    assert "calibration length" in refused(length=9000)
    assert "seed" in refused(seed=-1)
    assert "diagonals" in refused(method="eggs-ptp", selection="diagonal", diagonals=-2)
    assert "obs" in refused(score="obs", method=CUSTOM)


def test_the_model_name_is_trimmed_and_otherwise_kept():
    assert read(*values(model="  owner/model "))[0].model == "owner/model"
    assert read(*values(model="<img src=x>"))[0].model == "<img src=x>"


@pytest.mark.parametrize("method", list(METHODS))
def test_choices_find_their_name(method):
    name, note = name_and_note(*METHODS[method].choices().values())
    assert name == method
    assert note == method_note(method)


def test_other_choices_are_custom():
    name, note = name_and_note("magnitude", "degree", "none", "none")
    assert name == CUSTOM
    assert "own combination" in note


def test_bos_can_stand_before_the_text_only(tmp_path):
    model = make_bos_model(tmp_path / "with-bos")
    every, first = (read(*values(model=model, bos=rule))[0] for rule in (EVERY, FIRST))
    assert (every.bos, first.bos) == (EVERY, FIRST)
    assert read(*controls_of(first))[0] == first
    assert asked_config(parsed(address(Workspace(), first))) == first
    assert "got 'both'" in refused(bos="both")


def parsed(query: str) -> dict[str, str]:
    return dict(parse_qsl(query))
