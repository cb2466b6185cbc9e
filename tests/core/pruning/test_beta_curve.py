"""The curve over β: real prunings of a small model, growing point by point."""

import pytest

from eggs_core.config import make_config
from eggs_core.errors import EggsError
from eggs_core.models.dense_models import ModelCache
from eggs_core.models.source import BUNDLED
from eggs_core.pruning.beta_curve import (
    BETAS,
    CURVES,
    BetaCurve,
    BetaProgress,
    beta_curve,
    curve_config,
    load_curve,
    save_curve,
)

SMALL = {"calibration_windows": 2, "calibration_length": 32, "evaluation_windows": 4, "evaluation_length": 64}


@pytest.fixture
def cache(bundled):
    cache = ModelCache()
    cache.get = bundled
    return cache


def test_a_sweep_grows_and_leaves_the_model_alone(cache, bundled):
    config = make_config("tiny-llama", "2:4", "ria", **SMALL)
    before = bundled().model.model.layers[0].mlp.up_proj.weight.clone()
    events = list(beta_curve(config, betas=(0.0, 1.0), cache=cache))
    assert (bundled().model.model.layers[0].mlp.up_proj.weight == before).all()
    shares = [e.share for e in events if isinstance(e, BetaProgress)]
    assert shares == sorted(shares) and shares[-1] < 1
    curve = events[-1]
    first, last = curve.points
    assert (first.beta, last.beta) == (0, 1)
    assert first.low == first.perplexity == first.high
    assert last.low <= last.perplexity <= last.high
    assert last.min_in_degree > first.min_in_degree and last.orphans == 0
    assert last.retained_score < first.retained_score
    assert first.min_gap <= first.mean_gap
    assert curve.dense_perplexity < first.perplexity


def test_a_saved_sweep_is_read_back(cache, tmp_path):
    config = make_config("tiny-llama", "2:4", "ria", **SMALL)
    curve = list(beta_curve(config, betas=(0.5,), cache=cache))[-1]
    save_curve(curve, tmp_path / "one.json")
    assert load_curve(tmp_path / "one.json") == curve
    (tmp_path / "one.json").write_text('{"points": [')
    with pytest.raises(EggsError, match=r"one\.json cannot be read"):
        load_curve(tmp_path / "one.json")


def test_the_method_s_other_choices_stay():
    config = curve_config(make_config("tiny-llama", "2:4", "eggs-ptp-cp"))
    assert (config.selection, config.permutation, config.score, config.option("diagonals")) == (
        "degree",
        "lsa",
        "ria",
        None,
    )
    with pytest.raises(EggsError, match="β cannot steer it"):
        curve_config(make_config("tiny-llama", "2:4", "sparsegpt"))


def test_the_shipped_curves_are_whole():
    for model in BUNDLED:
        curve = load_curve(CURVES / f"{model}-2of4-ria.json")
        assert isinstance(curve, BetaCurve) and curve.config["model"] == model
        assert tuple(p.beta for p in curve.points) == BETAS
        degrees = [p.min_in_degree for p in curve.points]
        assert degrees == sorted(degrees)
