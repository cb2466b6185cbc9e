"""The grid of a sweep: what it turns into, and that whatever cannot run is named before anything does."""

import pytest

from eggs_core.errors import EggsError
from eggs_core.models.loading import LoadedModel, Outline, outline
from eggs_core.sweep.grid import check_models, describe, layouts, load_grid, parse_grid

GRID = """
models: [tiny-llama, tiny-opt]
patterns: [2:4, 1:4]
methods:
  - wanda
  - eggs-ptp-plus
  - {score: ria, selection: degree}
betas: [auto, 0.5]
seeds: [0, 1]
calibration_windows: 4
"""


def test_the_cells_are_the_cross_product_and_beta_multiplies_only_what_it_steers():
    grid = parse_grid(GRID, "mine")
    assert grid.name == "mine" and grid.models == ("tiny-llama", "tiny-opt")
    assert len(grid.cells) == 2 * 2 * 2 * (1 + 2 + 2)
    assert len({cell.key() for cell in grid.cells}) == len(grid.cells)
    assert {cell.option("beta") for cell in grid.cells if cell.method == "wanda"} == {None}
    assert {cell.option("beta") for cell in grid.cells if cell.selection == "degree"} == {None, 0.5}
    assert {str(cell.pattern) for cell in grid.cells} == {"2:4", "1:4"}  # YAML itself reads 2:4 as 124
    assert all(cell.calibration_windows == 4 for cell in grid.cells)
    assert describe(grid.cells[0]) == "tiny-llama 2:4 wanda seed 0"


def test_exclude_takes_away_and_include_adds():
    grid = parse_grid(
        GRID
        + """
exclude:
  - {model: tiny-opt, method: [eggs-ptp-plus]}
  - {pattern: 1:4, seed: 1}
include:
  - {model: tiny-opt, pattern: 4:8, method: [ria, magnitude], seed: 3}
  - {model: tiny-llama, pattern: 2:4, method: wanda, seed: 0}
"""
    )
    assert not [c for c in grid.cells if c.model == "tiny-opt" and c.method == "eggs-ptp-plus"]
    assert {c.seed for c in grid.cells if str(c.pattern) == "1:4"} == {0}
    assert [c.method for c in grid.cells if str(c.pattern) == "4:8"] == ["ria", "magnitude"]
    assert sum(describe(c) == "tiny-llama 2:4 wanda seed 0" for c in grid.cells) == 1  # included twice, run once


def test_one_entry_needs_no_brackets_and_layouts_are_named_once():
    grid = parse_grid("models: tiny-llama\npatterns: 2:4\nmethods: [wanda, ria, ria-cp]")
    assert [cell.seed for cell in grid.cells] == [0, 0, 0]
    assert layouts(grid.cells) == (("2:4", False), ("2:4", True))


def test_texts_are_found_beside_the_grid(tmp_path):
    (tmp_path / "own.txt").write_text("Some words of my own.")
    file = tmp_path / "grid.yaml"
    file.write_text("models: tiny-llama\npatterns: 2:4\nmethods: wanda\nevaluation_file: own.txt")
    grid = load_grid(file)
    assert grid.name == "grid"
    assert [text.content for text in grid.texts.values()] == ["Some words of my own."]
    assert grid.cells[0].evaluation in grid.texts
    file.write_text("models: tiny-llama\npatterns: 2:4\nmethods: wanda\ncalibration_file: none.txt")
    with pytest.raises(EggsError, match=r"none\.txt cannot be read"):
        load_grid(file)


def test_all_impossible_cells_are_named_together():
    with pytest.raises(EggsError) as caught:
        parse_grid(
            """
models: tiny-llama
patterns: [2:4, 5:4]
methods: [wanda, nonsense, eggs-ptp-plus]
betas: [auto, 3]
include: [{model: tiny-llama, pattern: 2:4, method: ria, beta: 0.5}]
"""
        )
    said = str(caught.value).splitlines()
    assert said[0] == "10 cells of the grid cannot run, so nothing was started:"
    assert len(said) == 5
    for reason in ("N cannot exceed M; got 5:4", "Unknown method 'nonsense'", "β must lie between", "does not use β"):
        assert sum(reason in line for line in said) == 1
    assert "(model tiny-llama pattern 2:4 method nonsense seed 0, and 3 more)" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "A grid is YAML"),
        ("a: [", "no YAML that can be read: .* in line "),
        ("models: x\npatterns: 2:4\nmethods: wanda\nmodles: y", "Unknown key 'modles'"),
        ("patterns: 2:4\nmethods: wanda", "names no models"),
        ("models: [[x]]\npatterns: 2:4\nmethods: wanda", "holds x, which is no plain value"),
        ("models: x\npatterns: 2:4\nmethods: wanda\nseeds: one", "seed must be a whole number; got 'one'"),
        ("models: x\npatterns: 2:4\nmethods: wanda\nbetas: 0.5", "none of its methods"),
        ("models: x\npatterns: 2:4\nmethods: eggs-ptp-plus\nbetas: much", "between 0 .* and 1 .*, or auto"),
        ("models: x\npatterns: 2:4\nmethods: {score: ria, colour: red}", "Unknown choice 'colour'"),
        ("models: x\npatterns: 2:4\nmethods: wanda\ncalibration_length: 7", "from 16 to 8192; got 7"),
        ("models: x\npatterns: 2:4\nmethods: wanda\nexclude: [{model: y}]", "Nothing in the grid matches"),
        ("models: x\npatterns: 2:4\nmethods: wanda\nexclude: [{model: x}]", "The grid is empty"),
        ("models: x\npatterns: 2:4\nmethods: wanda\ninclude: [{model: y}]", "lacks pattern"),
        ("models: x\npatterns: 2:4\nmethods: wanda\ninclude: [{size: y}]", "An entry of include is a mapping"),
        ("models: x\npatterns: 2:4\nmethods: wanda\nname: ../up", "names a folder"),
        (f"models: x\npatterns: 2:4\nmethods: wanda\nseeds: {list(range(10_001))}", "more than 10,000; split it"),
        ("models: x\npatterns: 2:4\nmethods: wanda\ncalibration_file: a\ncalibration_dataset: b", "not both"),
    ],
)
def test_a_grid_that_is_none_is_one_sentence(text, sentence):
    with pytest.raises(EggsError, match=sentence):
        parse_grid(text)


def test_patterns_that_do_not_fit_and_models_that_are_not_there_are_named_without_weights():
    grid = parse_grid("models: [tiny-llama, nobody/nothing, tiny-opt]\npatterns: [2:4, 1:7]\nmethods: [wanda, ria]\n")
    with pytest.raises(EggsError) as caught:
        check_models(grid, outline)
    said = str(caught.value)
    assert said.startswith("8 cells of the grid cannot run")
    assert "layer model.layers.0.self_attn.q_proj has shape (192, 192)" in said
    assert "'nobody/nothing' cannot be downloaded" in said and "and 3 more" in said
    check_models(parse_grid("models: tiny-opt\npatterns: [2:4, 4:8]\nmethods: wanda"), outline)


def test_windows_longer_than_a_model_reads_are_named():
    grid = parse_grid("models: tiny-llama\npatterns: 2:4\nmethods: wanda\ncalibration_length: 8192")
    with pytest.raises(EggsError, match="reads at most"):
        check_models(grid, outline)


def test_an_outline_has_shapes_and_no_weights():
    found = outline("tiny-llama")
    assert isinstance(found, Outline) and not isinstance(found, LoadedModel) and found.parameters > 3_000_000
    assert all(parameter.is_meta for parameter in found.model.parameters())
