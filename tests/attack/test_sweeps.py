"""Sweeps, grids and curves that somebody else wrote: refused in a sentence, or fit for every use."""

import copy
import json
import time
from pathlib import Path

import pytest
from harness import damaged_bytes, damaged_value, fuzz, only_sentences
from hypothesis import given
from hypothesis import strategies as st

from components.places.layers.spectrum.view import tradeoff
from components.places.runs.compare import view as compare_view
from eggs_core.config import PruneConfig
from eggs_core.errors import EggsError
from eggs_core.pruning.beta_curve import CURVES, BetaCurve, load_curve
from eggs_core.sweep.analysis import groups
from eggs_core.sweep.grid import load_grid, parse_grid
from eggs_core.sweep.results import EXAMPLES, Sweep, from_reports, load_sweep, save_sweep

DEEP = 100_000
GRID = """
name: mine
models: [tiny-llama, tiny-opt]
patterns: [2:4, 1:4]
methods: [wanda, {score: ria, selection: degree, permutation: zigzag}]
betas: [auto, 0.5]
seeds: [0, 1]
calibration_windows: 8
include: [{model: tiny-llama, pattern: 4:8, method: ria, seed: [5, 6]}]
exclude: [{model: tiny-opt, seed: 1}]
"""
SMALL = {
    "models": "x",
    "patterns": "2:4",
    "methods": "wanda",
    "betas": "0.5",
    "seeds": ["0"],
    "name": "n",
    "include": [{"model": "x", "pattern": "1:4", "method": "ria"}],
    "exclude": [{"seed": "0"}],
    "calibration_file": "a",
}


@pytest.fixture(scope="module")
def values() -> dict:
    """The bundled sweep with four of its windows and every twelfth cell."""
    whole = json.loads((EXAMPLES / "bundled.json").read_text(encoding="utf-8"))
    whole["cells"] = whole["cells"][::12]
    whole["evaluation"]["windows"] = 4
    for figures in (*whole["dense"].values(), *(cell["figures"] for cell in whole["cells"])):
        figures["window_nats"] = figures["window_nats"][:4]
    return whole


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("attack") / "sweep.json"


def use(sweep: Sweep, folder: Path) -> None:
    """Everything that the app and the command line do with a sweep that was read."""
    for model in compare_view.models_of(sweep):
        found = groups(sweep, model)
        choice = compare_view.Choice(model, baseline=found[0].label)
        compare_view.options_of(sweep, model)
        compare_view.overview(sweep, found, choice)
        for draw in (compare_view.pareto, compare_view.heat, compare_view.group_table):
            draw(sweep, found, choice)
        compare_view.significance(found, found, choice)
        compare_view.facts(sweep, choice)
    compare_view.cell_table(sweep).to_csv(folder / "cells.csv")
    assert load_sweep(save_sweep(sweep, folder)) == sweep


@fuzz
@given(data=st.data())
def test_a_damaged_sweep_is_refused_or_fit_for_use(values, file, data):
    file.write_text(json.dumps(data.draw(damaged_value(values))), encoding="utf-8")
    with only_sentences():
        use(load_sweep(file), file.parent)


@fuzz
@given(data=st.data())
def test_a_sweep_file_with_damaged_bytes(values, file, data):
    file.write_bytes(data.draw(damaged_bytes(json.dumps(values).encode())))
    with only_sentences():
        use(load_sweep(file), file.parent)


def test_reading_a_sweep_leaves_what_was_read_as_it_was(values):
    before = copy.deepcopy(values)
    assert Sweep.from_dict(values) == Sweep.from_dict(values)
    assert values == before


@pytest.mark.parametrize(
    "broken", ["[" * DEEP, '{"a":' * DEEP, '{"schema": 1, "cells": ' + "[" * DEEP], ids=str.__len__
)
def test_nesting_without_end_is_a_sentence_at_once(file, broken):
    file.write_text(broken)
    started = time.process_time()
    for read in (load_sweep, load_curve):
        with pytest.raises(EggsError, match="nested more than 64 deep"):
            read(file)
    assert time.process_time() - started < 2


@pytest.mark.parametrize(
    "change",
    [
        {"cells": None},
        {"cells": {}},
        {"cells": [None]},
        {"evaluation": None},
        {"dense": []},
        {"latency": None},
        {"latency": [None]},
        {"machine": None},
        {"machine": {"nodes": "two"}},
        {"versions": []},
        {"created": 7},
        {"seconds": -1},
        {"seconds": True},
        {"name": None},
        {"strange": 1},
        {"schema": "1"},
        {"schema": True},
    ],
    ids=str,
)
def test_a_sweep_with_a_part_of_another_kind(values, file, change):
    file.write_text(json.dumps(values | change))
    with pytest.raises(EggsError, match=r"run (it|the sweep) again"):
        load_sweep(file)


@pytest.mark.parametrize(
    "change",
    [
        {"config": None},
        {"config": {"pattern": None}},
        {"config": []},
        {"status": "lost"},
        {"status": None},
        {"seconds": "4"},
        {"error": 7},
        {"figures": None},
        {"figures": {}},
    ],
    ids=str,
)
def test_a_cell_with_a_part_of_another_kind(values, file, change):
    broken = copy.deepcopy(values)
    broken["cells"][1] |= change
    file.write_text(json.dumps(broken))
    with pytest.raises(EggsError, match="cell 2"):
        load_sweep(file)


@pytest.mark.parametrize("name", ["method", "score", "calibration", "evaluation", "selection", "seed", "beta"])
@pytest.mark.parametrize("junk", [[], {}, 10**400, True], ids=["list", "object", "number", "true"])
def test_a_configuration_of_junk(values, file, name, junk):
    broken = copy.deepcopy(values)
    broken["cells"][0]["config"][name] = junk
    file.write_text(json.dumps(broken))
    with pytest.raises(EggsError, match="cell 1"):
        load_sweep(file)


def test_runs_without_a_measured_speed_make_a_sweep(values):
    """As streamed runs are: nothing that needs all weights in memory was measured."""
    report = json.loads((EXAMPLES.parent / "runs" / "tiny-opt-2of4-wanda" / "report.json").read_text())
    sweep = from_reports([report | {"latency": None}], "mine")
    assert len(sweep.cells) == 1 and sweep.latency == []


@fuzz
@given(data=st.data())
def test_a_damaged_grid_is_refused_or_made(file, data):
    grid = file.with_suffix(".yaml")
    grid.write_bytes(data.draw(damaged_bytes(GRID.encode())))
    with only_sentences():
        load_grid(grid)


@fuzz
@given(values=damaged_value(SMALL))
def test_a_grid_of_junk_is_refused_or_made(values):
    with only_sentences():
        parse_grid(json.dumps(values))  # JSON is YAML


START = "models: x\npatterns: 2:4\nmethods: wanda\n"
HOSTILE = {
    "deep": "models: " + "[" * DEEP,
    "deep mapping": "models: " + "{a: " * DEEP,
    "alias": "a: &a [x, x]\nmodels: [*a, *a]\npatterns: 2:4\nmethods: wanda",
    "lines": "- " * DEEP,
    "product": START + "include: " + json.dumps([{axis: ["x"] * 300 for axis in ("model", "pattern", "method")}]),
    "rules": START + "exclude: " + json.dumps([{"model": [f"n{i}" for i in range(90_000)]}]),
    "large": "models: x\n" * 200_000,
    "bytes of one file": START + f"evaluation_windows: 4096\nseeds: {list(range(9000))}",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_grid_that_would_take_forever_is_a_sentence_at_once(text):
    started = time.process_time()
    with pytest.raises(EggsError):
        parse_grid(text)
    assert time.process_time() - started < 3


@pytest.mark.parametrize("path", ["/dev/zero", "a" * 5000, "a\0b", "."], ids=lambda p: p[:9])
def test_a_grid_that_is_no_file(path):
    with pytest.raises(EggsError, match=r"cannot be read|larger than"):
        load_grid(Path(path))
    with pytest.raises(EggsError, match=r"cannot be read|larger than"):
        parse_grid(f"models: x\npatterns: 2:4\nmethods: wanda\ncalibration_file: {json.dumps(path)}")


@fuzz
@given(data=st.data())
def test_a_damaged_curve_is_refused_or_whole(file, data):
    whole = json.loads((CURVES / "tiny-llama-2of4-ria.json").read_text(encoding="utf-8"))
    for point in whole["points"]:
        point["window_nats"] = point["window_nats"][:2]
    whole["evaluation"]["windows"] = 2
    file.write_text(json.dumps(data.draw(damaged_value(whole))), encoding="utf-8")
    with only_sentences():
        curve = load_curve(file)
        tradeoff(curve)
        assert PruneConfig.from_dict(curve.config).to_dict() == curve.config
        assert BetaCurve.from_dict(curve.to_dict()) == curve
