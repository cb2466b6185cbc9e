"""The registry: what every entry promises, and that one row is all that a new score or option costs."""

import inspect
import sys
import types
from types import MappingProxyType
from urllib.parse import parse_qsl

import pytest
import torch
from typer.testing import CliRunner

from components import address, api, sidebar_values
from eggs_core import config, registry
from eggs_core.config import make_config
from eggs_core.errors import EggsError
from eggs_core.masks.selection import Selection, by_topn, select
from eggs_core.pattern import NMPattern
from eggs_core.registry import (
    DIMENSIONS,
    METHODS,
    OPTIONS,
    STAGES,
    Dimension,
    Entry,
    Option,
    entry,
    everything,
    method_of,
)
from eggs_core.sweep.grid import parse_grid


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_every_entry_leads_to_a_function_that_takes_its_options(dimension):
    for name, one in DIMENSIONS[dimension].entries.items():
        parameters = inspect.signature(one.load()).parameters
        assert set(one.options) <= set(parameters), name
        assert all(parameters[option].default is None for option in one.options), name
        assert one.label and one.help.endswith("."), name


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_begins_with_nothing_and_its_options_are_known(stage):
    entries = STAGES[stage].entries
    assert next(iter(entries)) == "none" and not entries["none"].options
    for name, one in entries.items():
        assert callable(one.load()) and one.help.endswith("."), name
        assert all(registry.stage_of(option) == stage and option in OPTIONS for option in one.options)
    assert registry.stage_of(stage) == stage and registry.stage_of("beta") is None


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


@pytest.fixture
def throwaway(monkeypatch):
    """A score and a selection with an option of its own: a function and a row each."""
    module = types.ModuleType("throwaway")

    def noise(weight, act_norm=None):
        return torch.rand(weight.shape, generator=torch.Generator().manual_seed(0))

    def by_luck(scores: torch.Tensor, pattern: NMPattern, luck: float | None = None) -> Selection:
        chosen = by_topn(scores, pattern)
        return Selection(chosen.mask, "by luck", {"luck": luck or 0.5})

    module.noise, module.by_luck = noise, by_luck
    monkeypatch.setitem(sys.modules, "throwaway", module)
    luck = Option("Luck, %", "L", "luck", "How lucky", "a half", "Luck must lie between 0 and 1", 0, 1)
    rows = {
        "score": {"noise": Entry("Noise", "No score at all.", "throwaway:noise")},
        "selection": {"luck": Entry("by luck", "As it comes.", "throwaway:by_luck", {"luck": luck})},
    }
    dimensions = {
        name: Dimension(d.label, d.help, {**d.entries, **rows.get(name, {})}) for name, d in DIMENSIONS.items()
    }
    for where in (registry, config, sidebar_values, address):
        monkeypatch.setattr(where, "DIMENSIONS", MappingProxyType(dimensions))
        monkeypatch.setattr(where, "OPTIONS", MappingProxyType({**OPTIONS, "luck": luck}))
    monkeypatch.setattr(sidebar_values, "NAMES", (*sidebar_values.NAMES, "luck"))


def test_one_row_reaches_configuration_core_page_address_and_api(throwaway):
    made = make_config("tiny-llama", "2:4", "custom", score="noise", selection="luck", luck=0.25)
    assert config.PruneConfig.from_dict(made.to_dict()) == made
    assert made.key() != make_config("tiny-llama", "2:4", "custom", score="noise", selection="luck").key()
    assert select(torch.rand(4, 8), NMPattern(2, 4), "luck", luck=0.25).options == {"luck": 0.25}
    assert "--luck 0.25" in made.command_line() and "noise · luck" in made.in_words()
    with pytest.raises(EggsError, match="Luck must lie between 0 and 1; got 2"):
        make_config("tiny-llama", "2:4", "custom", selection="luck", luck=2.0)
    with pytest.raises(EggsError, match="does not use luck"):
        make_config("tiny-llama", "2:4", "wanda", luck=0.5)
    assert sidebar_values.read(*sidebar_values.controls_of(made))[0] == made
    query = dict(parse_qsl(address.address(address.Workspace(), made)))
    assert address.asked_config(query) == made
    signature = inspect.signature(registry.with_choices(api.prune, registry.plain_types(), before="seed"))
    assert signature.parameters["luck"].annotation == float | None
    assert "luck" in registry.descriptions()


def test_new_rows_leave_old_keys_alone(throwaway):
    assert make_config("tiny-llama", "2:4", "eggs-ptp").key() == "d97ba89b63e4b402"


def test_the_command_line_and_grids_list_what_the_registry_holds():
    from eggs_core.cli.command_line import app

    shown = CliRunner().invoke(app, ["prune", "--help"], env={"COLUMNS": "200", "TERM": "dumb"}).output
    for name in (*everything(), *OPTIONS, "values"):
        assert f"--{name.replace('_', '-')}" in shown
    grid = parse_grid("models: m\npatterns: 2:4\nmethods: [{score: wanda, selection: diagonal, diagonals: 3}]")
    assert grid.cells[0].options == (("diagonals", 3),)
    grid = parse_grid("models: m\npatterns: 2:4\nmethods: [wanda, {method: wanda, values: int4}]")
    assert [(cell.method, cell.values) for cell in grid.cells] == [("wanda", "model"), ("wanda", "int4")]
