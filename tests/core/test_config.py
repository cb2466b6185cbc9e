"""A configuration is validated before any work, and equal ones have equal names on every machine."""

import dataclasses
import json

import pytest

from eggs_core import config as config_module
from eggs_core.config import PruneConfig, make_config
from eggs_core.errors import EggsError
from eggs_core.registry import CUSTOM, DEFAULT_METHOD, DIMENSIONS, METHODS

SCORES_OF_THEIR_OWN = ("magnitude", "wanda", "ria")


def test_the_method_ids():
    ids = "magnitude wanda ria ria-cp sparsegpt eggs-ptp eggs-ptp-cp eggs-ptp-plus eggs-ptp-fit"
    assert list(METHODS) == ids.split()
    assert DEFAULT_METHOD in METHODS


@pytest.mark.parametrize("method", METHODS)
def test_a_named_method_keeps_its_name(method):
    config = make_config("m", "2:4", method, **METHODS[method].choices())
    assert config.method == method
    assert config.label == METHODS[method].label
    assert PruneConfig.from_dict(config.to_dict()) == config


def test_sparsegpt_is_its_own_choice_of_weights_and_values():
    expected = {"score": "obs", "selection": "topn", "permutation": "none", "reconstruction": "obs"}
    assert METHODS["sparsegpt"].choices() == expected
    assert make_config("m", "2:4", CUSTOM, **expected).method == CUSTOM
    assert make_config("m", "2:4", "ria", **expected).method == CUSTOM


@pytest.mark.parametrize("reconstruction", ["none", "obs", "admm", "admm-block", "admm-fit"])
def test_every_reconstruction_follows_every_choice_of_weights(reconstruction):
    assert set(DIMENSIONS["reconstruction"].entries) == {"none", "obs", "admm", "admm-block", "admm-fit"}
    keys = set()
    for score in SCORES_OF_THEIR_OWN:
        config = make_config("m", "2:4", CUSTOM, score=score, selection="topn", reconstruction=reconstruction)
        assert (config.score, config.reconstruction) == (score, reconstruction)
        assert PruneConfig.from_dict(config.to_dict()) == config
        assert f"--reconstruction {reconstruction} " in config.command_line()
        keys.add(config.key())
    assert len(keys) == len(SCORES_OF_THEIR_OWN)
    sparse = {"score": "obs", "selection": "topn", "permutation": "none", "reconstruction": reconstruction}
    if reconstruction == "obs":
        assert make_config("m", "2:4", "sparsegpt", **sparse).method == "sparsegpt"
    else:
        with pytest.raises(EggsError, match="needs the reconstruction obs"):
            make_config("m", "2:4", CUSTOM, **sparse)


def test_another_choice_makes_the_method_custom():
    config = make_config("m", "2:4", "ria", permutation="zigzag")
    assert (config.method, config.label, config.score, config.permutation) == (CUSTOM, "Custom", "ria", "zigzag")
    assert make_config("m", "2:4", "ria", permutation="none", score=None).method == "ria"
    assert make_config("m", "2:4", "ria", seed=3).method == "ria"


# These literals name runs on people's disks: they never change.
KEYS = [
    ({"model": "tiny-llama", "method": "magnitude"}, "1201396dbd3c8a4d"),
    ({"model": "tiny-llama", "method": "wanda"}, "10a82118fea84df6"),
    ({"model": "tiny-llama", "method": "ria"}, "8d0acdf0ceb43c78"),
    ({"model": "tiny-llama", "method": "ria-cp"}, "57075197b7de544b"),
    ({"model": "tiny-llama", "method": "sparsegpt"}, "4c91ab1f91ed266a"),
    ({"model": "tiny-llama", "method": "eggs-ptp"}, "d97ba89b63e4b402"),
    ({"model": "tiny-llama", "method": "eggs-ptp-cp"}, "1380e138dd96574c"),
    ({"model": "tiny-llama", "method": "eggs-ptp-plus"}, "5a5027ea368ed8c8"),
    ({"model": "tiny-opt", "pattern": "1:4", "method": "eggs-ptp-plus"}, "619e7ff00c0369d5"),
    (
        {"model": "HuggingFaceTB/SmolLM2-135M", "pattern": "4:8", "method": "sparsegpt", "seed": 2}
        | {"calibration_windows": 64, "calibration_length": 512, "evaluation_windows": 16, "evaluation_length": 1024},
        "7571910b5ed26fb8",
    ),
    (
        {"model": "tiny-llama", "method": CUSTOM, "score": "wanda", "selection": "degree", "beta": 0.25}
        | {"permutation": "zigzag", "reconstruction": "admm"},
        "2d5afb82dee64c0c",
    ),
    ({"model": "tiny-llama", "pattern": "2:8", "method": "eggs-ptp", "diagonals": 3}, "b8ab43d9cef30682"),
    (
        {"model": "tiny-llama", "method": "wanda", "calibration": "dataset:Salesforce/wikitext:wikitext-2-raw-v1"},
        "8029871c4013a332",
    ),
]


@pytest.mark.parametrize(("values", "key"), KEYS, ids=[key for _, key in KEYS])
def test_keys_stay_what_they_were(values, key):
    assert make_config(**{"pattern": "2:4", **values}).key() == key


def test_values_count_where_they_are_rounded_and_refit_what_is_kept():
    plain, rounded = make_config("m", "2:4", "wanda"), make_config("m", "2:4", "wanda", values="int4")
    assert make_config("m", "2:4", "wanda", values="model").key() == plain.key() != rounded.key()
    assert rounded.method == "wanda" and (plain.bits, rounded.bits) == (None, 4)
    assert rounded.refits and not plain.refits
    assert make_config("m", "2:4", "magnitude", values="int4").sees_inputs
    assert not make_config("m", "2:4", "magnitude", values="bf16").sees_inputs
    assert PruneConfig.from_dict(rounded.to_dict()) == rounded
    assert "--values int4" in rounded.command_line() and "values" not in plain.command_line()
    assert rounded.in_words() == "Wanda · 4 bits"
    with pytest.raises(EggsError, match="Unknown values 'int5'; choose one of model, bf16, int8"):
        make_config("m", "2:4", values="int5")
    with pytest.raises(EggsError, match="Values must be a text"):
        make_config("m", "2:4", values=4)


def test_a_raised_revision_gives_a_method_new_keys(monkeypatch):
    before = {name: make_config("m", "2:4", name).key() for name in METHODS}
    raised = dict(METHODS) | {"wanda": dataclasses.replace(METHODS["wanda"], revision=2)}
    monkeypatch.setattr(config_module, "METHODS", raised)
    after = {name: make_config("m", "2:4", name).key() for name in METHODS}
    assert [name for name in METHODS if before[name] != after[name]] == ["wanda"]


def test_the_content_hash_is_stable():
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
        "bos": "every window",
        "recovery": "distil",
        "rotation": "learned",
        "values": "int4",
    }
    keys = {base.key()} | {PruneConfig.from_dict({**base.to_dict(), k: v}).key() for k, v in others.items()}
    keys.add(PruneConfig.from_dict({**base.to_dict(), "selection": "degree", "beta": 0.5}).key())
    keys.add(PruneConfig.from_dict({**base.to_dict(), "selection": "diagonal", "diagonals": 4}).key())
    later = {"recovery_tokens": 512, "recovery_rate": 0.01, "recovery_seed": 3}
    for name, value in later.items():
        keys.add(PruneConfig.from_dict({**base.to_dict(), "recovery": "distil", name: value}).key())
    for reconstruction in DIMENSIONS["reconstruction"].entries:
        keys.add(PruneConfig.from_dict({**base.to_dict(), "reconstruction": reconstruction}).key())
    assert (
        len(keys) == len(others) + 3 + len(later) + len(DIMENSIONS["reconstruction"].entries) - 2
    )  # "none" and "admm" are there already
    assert set(others) | {"beta", "diagonals"} | set(later) == set(base.to_dict())


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
        ({"values": "int4", "pattern": "50%"}, "The pattern 50% has no packed form that could hold 4 bits"),
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
