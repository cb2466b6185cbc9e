"""The registry: what every entry promises, and that one row is all that a new score, option or stage costs."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from eggs_core import registry
from eggs_core.config import make_config
from eggs_core.errors import EggsError
from eggs_core.registry import DIMENSIONS, METHODS, OPTIONS, STAGES, default, entry, everything, method_of
from eggs_core.sweep.grid import parse_grid

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_every_entry_leads_to_a_function_that_takes_its_options(dimension):
    for name, one in DIMENSIONS[dimension].entries.items():
        parameters = inspect.signature(one.load()).parameters
        assert set(one.options) <= set(parameters), name
        assert all(parameters[option].default is None for option in one.options), name
        assert one.label and one.help.endswith("."), name


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_begins_with_what_changes_nothing_and_its_options_are_known(stage):
    entries = STAGES[stage].entries
    first = entries[default(stage)]
    assert next(iter(entries.values())) is first and not (first.options or first.needs or first.sees_inputs)
    assert registry.stage_words(stage, {}) == registry.stage_words(stage, {stage: default(stage)}) == ""
    for name, one in entries.items():
        assert callable(one.load()) and one.help.endswith("."), name
        assert all(OPTIONS[option] is known for option, known in one.options.items())
        assert (registry.stage_words(stage, {stage: name}) == "") == (one is first)
    assert stage not in DIMENSIONS


def test_options_are_written_in_one_way():
    assert registry.with_options("A", ("beta", "diagonals"), {"beta": 0.5, "diagonals": None}) == "A, β 0.5"
    own = make_config("m", "2:4", "custom", score="ria", selection="degree", beta=0.25, recovery="distil")
    assert own.in_words() == "ria · degree · lsa · admm-block, β 0.25 · recovered on 300,000 tokens"
    named = make_config("m", "2:4", "eggs-ptp-plus", beta=0.9, layers=["mlp.*=3:4"], values="int4")
    assert named.in_words() == "EGGS-PTP+, β 0.9 · mlp.*=3:4 · 4 bits"
    rated = make_config("m", "2:4", "ria", recovery="distil", recovery_tokens=512, recovery_rate=0.01)
    assert rated.in_words() == "RIA · recovered on 512 tokens, rate 0.01"


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_made_of_entries_and_is_found_again(method):
    choices = METHODS[method].choices()
    for dimension, name in choices.items():
        for other, needed in entry(dimension, name).needs.items():
            assert choices[other] == needed
    assert method_of(choices) == method
    assert METHODS[method].revision >= 1


def test_an_unknown_entry_is_refused_with_those_that_there_are():
    with pytest.raises(EggsError, match="Unknown score 'x'; choose one of magnitude, wanda"):
        entry("score", "x")


def test_one_row_is_all_that_a_score_an_option_or_a_stage_costs():
    told = subprocess.run(
        [sys.executable, ROOT / "tests" / "support" / "throwaway_rows.py"], cwd=ROOT, capture_output=True, text=True
    )
    assert told.returncode == 0 and told.stdout.endswith("all rows arrived\n"), told.stderr


def test_the_command_line_and_grids_list_what_the_registry_holds():
    from eggs_core.cli.command_line import app

    shown = CliRunner().invoke(app, ["prune", "--help"], env={"COLUMNS": "200", "TERM": "dumb"}).output
    for name in (*everything(), *OPTIONS):
        assert f"--{name.replace('_', '-')}" in shown
    grid = parse_grid("models: m\npatterns: 2:4\nmethods: [{score: wanda, selection: diagonal, diagonals: 3}]")
    assert grid.cells[0].options == (("diagonals", 3),)
    grid = parse_grid("models: m\npatterns: 2:4\nmethods: [wanda, {method: wanda, values: int4}]")
    assert [(cell.method, cell.choice("values")) for cell in grid.cells] == [("wanda", "model"), ("wanda", "int4")]
