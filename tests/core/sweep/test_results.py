"""A sweep's file, and what its figures say: worked by hand on a few cells."""

import json
import math

import numpy as np
import pytest

from eggs_core.config import make_config
from eggs_core.errors import EggsError
from eggs_core.sweep.analysis import against, groups, label_of, pareto_front
from eggs_core.sweep.reading import DONE, FAILED
from eggs_core.sweep.results import Cell, Sweep, from_reports, load_sweep, save_sweep

LATENCY = {"dense": {"median": 4.0}, "packed": {"median": 2.0}}


def cell(method: str, seed: int, nats: list[float], **options) -> Cell:
    figures = {"perplexity": math.exp(sum(nats) / len(nats)), "window_nats": nats, "packed_bytes": 100 + len(method)}
    figures |= {"top1": 0.3, "mean_gap": 0.4, "orphans": 2}
    return Cell(make_config("tiny-llama", "2:4", method, seed=seed, **options), DONE, 1.5, "", figures)


@pytest.fixture
def sweep() -> Sweep:
    cells = [
        cell("wanda", 0, [3.0, 3.2]),
        cell("wanda", 1, [3.2, 3.4]),
        cell("eggs-ptp-plus", 0, [2.9, 3.1]),
        cell("eggs-ptp-plus", 0, [2.8, 3.0], beta=0.5),
        Cell(make_config("tiny-llama", "2:4", "ria"), FAILED, None, "It broke."),
    ]
    row = {"model": "tiny-llama", "pattern": "2:4", "permuted": True, "ms_per_token": LATENCY}
    dense = {"perplexity": 20.0, "window_nats": [2.9, 3.1], "bytes": 200}
    return Sweep(
        "mine",
        cells,
        {"text": "t", "sha256": "s", "window": 64, "windows": 2},
        {"tiny-llama": dense},
        [row],
        seconds=7.0,
    )


def test_a_saved_sweep_is_read_back(sweep, tmp_path):
    path = save_sweep(sweep, tmp_path / "new")
    assert load_sweep(path) == load_sweep(tmp_path / "new") == sweep
    assert not list(path.parent.glob("*.part"))
    assert sweep.count(DONE) == 4 and sweep.count(FAILED) == 1
    assert sweep.speed(sweep.cells[2])["ms_per_token"]["packed"]["median"] == 2.0
    assert sweep.speed(sweep.cells[0]) is None  # its channels are not permuted


def test_a_damaged_sweep_is_one_sentence(sweep, tmp_path):
    with pytest.raises(EggsError, match=r"sweep\.json is missing"):
        load_sweep(tmp_path)
    path = save_sweep(sweep, tmp_path)
    text = path.read_text()
    for broken in (
        text[:200],
        "[]",
        text.replace('"perplexity"', '"p"', 1),
        text.replace('"pattern": "2:4"', '"x": 1', 1),
    ):
        path.write_text(broken)
        with pytest.raises(EggsError):
            load_sweep(path)
    values = json.loads(text) | {"schema": 99}
    path.write_text(json.dumps(values))
    with pytest.raises(EggsError, match="another version"):
        load_sweep(path)
    (tmp_path / "file").write_text("")
    with pytest.raises(EggsError, match="could not be written"):
        save_sweep(sweep, tmp_path / "file")


def test_cells_are_grouped_over_seeds(sweep):
    wanda, plus, bound = groups(sweep, "tiny-llama")
    assert [g.label for g in (wanda, plus, bound)] == ["Wanda", "EGGS-PTP+", "EGGS-PTP+, β 0.5"]
    assert wanda.seeds == (0, 1) and list(wanda.nats) == pytest.approx([3.1, 3.3])
    assert wanda.perplexity == pytest.approx((math.exp(3.1) + math.exp(3.3)) / 2)
    assert wanda.spread == pytest.approx((math.exp(3.1), math.exp(3.3)))
    assert (wanda.ms_per_token, plus.ms_per_token, plus.dense_ms) == (None, 2.0, 4.0)
    assert [g.label for g in groups(sweep, "tiny-llama", label=["Wanda"], seed=[1])] == ["Wanda"]
    assert groups(sweep, "tiny-llama", pattern=["1:4"]) == [] == groups(sweep, "tiny-opt")


def test_a_custom_method_is_spelled_out():
    choices = {"score": "ria", "selection": "degree", "permutation": "none", "reconstruction": "none"}
    config = make_config("tiny-llama", "2:4", "custom", beta=1.0, **choices)
    assert label_of(config) == "ria · degree, β 1"


def test_differences_are_paired_over_windows_and_common_seeds(sweep):
    wanda, plus, _ = groups(sweep, "tiny-llama")
    found, seeds = against(plus, wanda)
    assert seeds == 1  # seed 0 alone, in which every window gains 0.1
    assert found.value == found.low == found.high == pytest.approx(math.exp(-0.1))
    sweep.cells[2].config = make_config("tiny-llama", "2:4", "eggs-ptp-plus", seed=5)
    with pytest.raises(EggsError, match="no seed in common"):
        against(groups(sweep, "tiny-llama")[1], wanda)


def test_the_front_is_what_no_other_point_beats():
    costs = np.array([[1, 5], [2, 3], [2, 4], [3, 3], [4, 1], [4, 1]])
    assert pareto_front(costs).tolist() == [True, True, False, False, True, True]
    assert pareto_front(np.empty((0, 2))).tolist() == []
    points = np.random.default_rng(0).random((200, 2))
    front = pareto_front(points)
    for point, on in zip(points, front, strict=True):
        beaten = ((points <= point).all(1) & (points < point).any(1)).any()
        assert on == (not beaten)


def test_finished_runs_make_a_sweep_of_those_with_the_same_protocol(make_report):
    reports = [make_report("wanda"), make_report("ria"), make_report("ria-cp", window=99)]
    found = from_reports(reports, "runs")
    assert [c.config.method for c in found.cells] == ["wanda", "ria"]
    assert found.dense["tiny-llama"]["perplexity"] == pytest.approx(math.exp(2))
    assert found.cells[0].figures["orphans"] == 3 and found.speed(found.cells[0])["threads"] == 2
    assert from_reports([], "runs").cells == []


@pytest.fixture
def make_report():
    def build(method: str, window: int = 64) -> dict:
        layer = {"spectral_gap": 0.4, "retained_score": 0.9, "orphans": 3, "min_in_degree": 1}

        def side(nats):
            return {"perplexity": math.exp(nats), "top1": 0.3, "top5": 0.5, "window_nats": [nats, nats]}

        speed = {"ms_per_token": {"median": 1.0, "low": 0.9, "high": 1.1, "count": 9}}
        return {
            "model": "tiny-llama",
            "config": make_config("tiny-llama", "2:4", method).to_dict(),
            "layers": [layer],
            "evaluation": {"text": "t", "sha256": "s", "window": window, "windows": 2}
            | {"dense": side(2), "pruned": side(3)},
            "size": {"dense_bytes": 200, "packed_bytes": 120},
            "seconds": {"total": 3.0, "prune": 1.0},
            "latency": {"dense": speed, "packed": speed, "kernel": "C", "threads": 2},
        }

    return build
