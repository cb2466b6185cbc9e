"""A configuration is validated before any work, and equal ones have equal names on every machine."""

import dataclasses
import json

import pytest

from eggs_core.config import CUSTOM, DEFAULT_METHOD, METHODS, PruneConfig, make_config
from eggs_core.errors import EggsError
from eggs_core.masks.selection import SELECTIONS
from eggs_core.pruning.permutation import PERMUTATIONS
from eggs_core.pruning.scores import SCORES


def test_the_method_ids():
    ids = "magnitude wanda ria ria-cp sparsegpt eggs-ptp eggs-ptp-cp eggs-ptp-plus"
    assert list(METHODS) == ids.split()
    assert DEFAULT_METHOD in METHODS


@pytest.mark.parametrize("method", METHODS)
def test_a_named_method_keeps_its_name(method):
    config = make_config("m", "2:4", method, **METHODS[method].choices())
    assert config.method == method
    assert config.label == METHODS[method].label
    assert PruneConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize("method", [m for m in METHODS if m != "sparsegpt"])
def test_methods_are_built_from_what_exists(method):
    choices = METHODS[method].choices()
    assert choices["score"] in SCORES
    assert choices["selection"] in SELECTIONS
    assert choices["permutation"] in PERMUTATIONS


def test_another_choice_makes_the_method_custom():
    config = make_config("m", "2:4", "ria", permutation="zigzag")
    assert (config.method, config.label, config.score, config.permutation) == (CUSTOM, "Custom", "ria", "zigzag")
    assert make_config("m", "2:4", "ria", permutation="none", score=None).method == "ria"
    assert make_config("m", "2:4", "ria", seed=3).method == "ria"


def test_the_content_hash_is_stable():
    """This literal may change only together with SCHEMA or the fields, since it names runs on disk."""
    config = make_config("tiny-llama", "2:4", "eggs-ptp", seed=0)
    assert config.key() == config.key() == make_config("tiny-llama", " 2 : 4", "eggs-ptp").key()
    assert PruneConfig.from_dict(json.loads(json.dumps(config.to_dict()))).key() == config.key()
    assert config.key() == "d97ba89b63e4b402"


def test_every_field_counts_in_the_hash():
    base = make_config("m", "2:4", CUSTOM, score="ria", selection="topn", permutation="none", reconstruction="none")
    others = {
        "model": "n",
        "pattern": "1:4",
        "method": "ria",
        "score": "wanda",
        "selection": "degree",
        "permutation": "lsa",
        "reconstruction": "admm",
        "seed": 1,
        "calibration": "text:00",
        "evaluation": "text:00",
        "calibration_windows": 8,
        "calibration_length": 32,
        "evaluation_windows": 8,
        "evaluation_length": 32,
    }
    keys = {base.key()} | {PruneConfig.from_dict({**base.to_dict(), k: v}).key() for k, v in others.items()}
    keys.add(PruneConfig.from_dict({**base.to_dict(), "selection": "degree", "beta": 0.5}).key())
    keys.add(PruneConfig.from_dict({**base.to_dict(), "selection": "diagonal", "diagonals": 4}).key())
    assert len(keys) == len(others) + 3
    assert set(others) | {"beta", "diagonals"} == {f.name for f in dataclasses.fields(PruneConfig)}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"scores": "ria", "betta": 1}, "Unknown option 'betta', 'scores'; known are .*beta.*score"),
        ({"method": "gmp"}, "Unknown method 'gmp'; choose one of magnitude, wanda"),
        ({"method": "wanda"}, "not those of the method 'wanda'"),
        ({"score": "taylor"}, "Unknown score 'taylor'; choose one of"),
        ({"selection": "best"}, "Unknown selection"),
        ({"permutation": "random"}, "Unknown permutation"),
        ({"reconstruction": "sgd"}, "Unknown reconstruction"),
        ({"score": "obs"}, "SparseGPT"),
        ({"beta": 0.5}, "does not use β"),
        ({"diagonals": 3}, "does not use diagonals"),
        ({"selection": "degree", "beta": 1.5}, "β must lie between 0"),
        ({"selection": "degree", "beta": float("nan")}, "β must lie between 0"),
        ({"selection": "degree", "beta": "high"}, "β must lie between 0"),
        ({"selection": "diagonal", "diagonals": -1}, "whole number from 0"),
        ({"selection": "diagonal", "diagonals": 1.5}, "whole number from 0"),
        ({"seed": -1}, "seed must be a whole number from 0"),
        ({"seed": True}, "seed must be a whole number"),
        ({"seed": 0.5}, "seed must be a whole number"),
        ({"calibration_windows": 0}, "calibration windows must be a whole number from 1 to 4096; got 0"),
        ({"evaluation_length": 8193}, "evaluation length must be"),
        ({"model": ""}, "Choose a model"),
        ({"model": "x" * 501}, "Choose a model"),
        ({"pattern": "5:4"}, "N cannot exceed M"),
        ({"pattern": "4:64"}, "at most 32"),
        ({"pattern": None}, "2:4"),
    ],
)
def test_refused_before_any_work(changes, says):
    base = make_config("m", "2:4", CUSTOM, score="ria", selection="topn", permutation="none", reconstruction="none")
    with pytest.raises(EggsError, match=says):
        PruneConfig.from_dict({**base.to_dict(), **changes})


def test_sparsegpt_needs_both_of_its_halves():
    values = make_config("m", "2:4", "sparsegpt").to_dict()
    with pytest.raises(EggsError, match="sparsegpt"):
        PruneConfig.from_dict({**values, "reconstruction": "none"})


def test_a_model_must_be_named():
    with pytest.raises(EggsError, match="Choose a model"):
        PruneConfig.from_dict({"pattern": "2:4"})


def test_configurations_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        make_config("m", "2:4").seed = 1


def test_the_command_line_names_every_choice_that_is_not_the_default():
    config = make_config(
        "a b",
        "4:8",
        "ria",
        selection="degree",
        beta=0.25,
        seed=3,
        calibration_windows=8,
        calibration="dataset:owner/name",
        evaluation="text:00",
    )
    assert config.command_line() == (
        "python -m eggs_core prune --model 'a b' --pattern 4:8 --method custom --seed 3 --score ria --selection degree "
        "--permutation none --reconstruction none --beta 0.25 --calibration-windows 8 "
        "--calibration-dataset owner/name --evaluation-file YOUR_TEXT.txt --out run"
    )
