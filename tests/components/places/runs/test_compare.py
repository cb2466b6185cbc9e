"""What the Compare tab says and draws of a sweep, from a sweep made by hand and from the shipped one."""

import math

import pytest

from components.charts.colors import color, shades
from components.places.runs.compare.figures import MEASURES, heat_figure, pareto_figure, significance_figure
from components.places.runs.compare.tables import cell_table, group_table
from components.places.runs.compare.view import (
    RUNS,
    Choice,
    chosen,
    heat,
    hues_of,
    models_of,
    open_source,
    options_of,
    significance,
    size_front,
    sources,
    speed_front,
)
from components.places.runs.compare.words import facts, overview
from eggs_core.config import make_config
from eggs_core.errors import EggsError
from eggs_core.models.source import WITHOUT_WEIGHTS
from eggs_core.sweep.grid import load_grid
from eggs_core.sweep.reading import DONE, FAILED
from eggs_core.sweep.results import EXAMPLES, Cell, Sweep, from_reports, load_sweep, save_sweep

HOSTILE = "<img src=x onerror=alert(1)>"


def cell(method: str, pattern: str, seed: int, nats: list[float], size: int) -> Cell:
    figures = {
        "perplexity": math.exp(sum(nats) / len(nats)),
        "top1": 0.3,
        "window_nats": nats,
        "packed_bytes": size,
        "mean_gap": 0.4,
        "orphans": 2,
    }
    return Cell(make_config("tiny-llama", pattern, method, seed=seed), DONE, 1.5, "", figures)


@pytest.fixture
def sweep() -> Sweep:
    cells = [
        cell("wanda", "2:4", 0, [3.0, 3.3, 3.1], 100_000),
        cell("wanda", "2:4", 1, [3.1, 3.2, 3.3], 100_000),
        cell("eggs-ptp-plus", "2:4", 0, [2.8, 3.0, 2.9], 110_000),
        cell("wanda", "1:4", 0, [4.0, 4.1, 4.3], 60_000),
        cell("eggs-ptp-plus", "1:4", 0, [3.9, 4.2, 4.3], 70_000),
        Cell(make_config("tiny-llama", "2:4", "ria"), FAILED, None, HOSTILE),
    ]
    dense = {"tiny-llama": {"perplexity": 16.0, "window_nats": [2.7, 2.8, 2.8], "bytes": 200_000}}
    speed = {"dense": {"median": 4.0}, "packed": {"median": 2.0}}
    latency = [
        {"model": "tiny-llama", "pattern": p, "permuted": permuted, "ms_per_token": speed, "threads": 2, "kernel": "C"}
        for p, permuted in (("2:4", False), ("2:4", True))
    ]
    return Sweep(HOSTILE, cells, {"text": "t", "sha256": "s", "window": 9, "windows": 3}, dense, latency)


def test_filters_narrow_what_is_in_view(sweep):
    assert models_of(sweep) == ["tiny-llama"]
    assert options_of(sweep, "tiny-llama") == (["2:4", "1:4"], ["Wanda", "EGGS-PTP+"], [0, 1])
    everything = chosen(sweep, Choice("tiny-llama"))
    assert [(g.label, g.pattern, len(g.cells)) for g in everything] == [
        ("Wanda", "2:4", 2),
        ("EGGS-PTP+", "2:4", 1),
        ("Wanda", "1:4", 1),
        ("EGGS-PTP+", "1:4", 1),
    ]
    assert [g.pattern for g in chosen(sweep, Choice("tiny-llama", ("1:4",), ("Wanda",)))] == ["1:4"]
    assert [g.label for g in chosen(sweep, Choice("tiny-llama", seeds=(1,)))] == ["Wanda"]


def test_the_front_is_ringed_and_read_aloud(sweep):
    choice = Choice("tiny-llama")
    found = chosen(sweep, choice)
    (size, said), (speed, heard) = size_front(sweep, found, choice), speed_front(sweep, found, choice)
    front = size.data[0]
    assert front.name == "Pareto front" and list(front.x) == [0.06, 0.1, 0.11, 0.2]
    assert list(front.customdata) == ["Wanda, 1:4", "Wanda, 2:4", "EGGS-PTP+, 2:4", "dense"]
    assert "by the dense model: 1 of 4 results" in said and "Learn: costs and gains" in said
    assert list(speed.data[0].x) == [0.5, 1.0] and "0.50 × the time" in heard
    names = [trace.name for trace in size.data]
    assert names == ["Pareto front", "Wanda", "EGGS-PTP+", "dense", "2:4", "1:4"]
    assert size.data[1].marker.symbol == ("circle", "square")
    whiskers = size.data[1].error_y
    assert whiskers.array[0] > 0 and whiskers.array[1] == 0
    sweep.latency.clear()
    assert speed_front(sweep, chosen(sweep, choice), choice)[0] is None


@pytest.mark.parametrize("measure", MEASURES)
def test_the_map_leaves_out_what_was_not_run(sweep, measure):
    del sweep.cells[4]
    choice = Choice("tiny-llama", measure=measure)
    figure, said = heat(sweep, chosen(sweep, choice), choice)
    (drawn,) = figure.data
    assert list(drawn.x) == ["2:4", "1:4"] and list(drawn.y) == ["EGGS-PTP+", "Wanda"]
    assert drawn.z[0][1] is None and drawn.text[0][1] == "" and drawn.z[1][1] is not None
    assert "at 2:4" in said and "Wanda at 1:4" in said


def test_differences_from_the_baseline_are_told_with_their_certainty(sweep):
    choice = Choice("tiny-llama", baseline="Wanda")
    found = chosen(sweep, choice)
    figure, said = significance(found, found, choice)
    assert "lower beyond chance in 1 of 2 results, higher in 0, and within chance in 1." in said
    assert figure.data[0].marker.symbol == ("circle",) and figure.data[2].marker.symbol == ("square-open",)
    low, high = figure.data[0].customdata[0][1:3]
    assert low <= figure.data[0].x[0] <= high < 1
    figure, said = significance(found, [], choice)
    assert figure is None and "choose another baseline" in said


def test_variants_of_a_method_share_its_hue_and_are_told_apart(sweep):
    sweep.cells += [cell("eggs-ptp-plus", "2:4", 0, [2.9, 3.0, 3.0], 105_000)]
    sweep.cells[-1].config = sweep.cells[-1].config.changed(beta=0.9)
    choice = Choice("tiny-llama", baseline="Wanda")
    found = chosen(sweep, choice)
    size, forest = size_front(sweep, found, choice)[0], significance(found, found, choice)[0]
    drawn = {trace.name: trace.marker for trace in size.data}
    plain, variant = drawn["EGGS-PTP+"], drawn["EGGS-PTP+, β 0.9"]
    assert plain.color == color("EGGS-PTP+") == color("EGGS-PTP+, β 0.9") != variant.color
    assert (plain.line.width, variant.line.width) == (0, 2)
    assert {plain.color, variant.color} <= set(forest.data[0].marker.color)
    alone = size_front(sweep, chosen(sweep, Choice("tiny-llama", methods=("EGGS-PTP+, β 0.9",))), choice)[0]
    assert alone.data[1].marker.color == variant.color  # whatever else is in view
    many = shades([f"EGGS-PTP+, β {number / 10}" for number in range(5)])
    assert len(set(many.values())) == 5


def test_whatever_a_file_says_is_shown_as_text(sweep):
    choice = Choice("tiny-llama")
    said = overview(sweep, chosen(sweep, choice), choice.model)
    assert "<img" not in said and said.count("&lt;img") == 2 and "In view: 4 results of tiny-llama, 5 runs" in said
    sweep.latency[0]["kernel"] = sweep.evaluation["text"] = HOSTILE
    assert "<img" not in facts(sweep, choice.model)


def test_runs_by_a_plan_are_not_averaged_with_others(make_run):
    runs = [make_run("ria"), make_run("ria", layers=["mlp.down_proj=3:4"])]
    found = from_reports([run.report for run in runs], "runs")
    seen = {group.label: group for group in chosen(found, Choice("micro"))}
    assert set(seen) == {"RIA", "RIA · mlp.down_proj=3:4"}
    for run, group in zip(runs, seen.values(), strict=True):
        assert group.packed_bytes == run.report["size"]["packed_bytes"] and len(group.cells) == 1


def test_tables_hold_groups_in_view_and_all_cells(sweep):
    choice = Choice("tiny-llama", ("2:4",))
    table = group_table(chosen(sweep, choice), sweep.dense[choice.model]["perplexity"])
    assert list(table["Method"]) == ["EGGS-PTP+", "Wanda"] and list(table["Seeds"]) == [1, 2]
    assert table["× dense"][0] == pytest.approx(math.exp(2.9) / 16, abs=1e-3)
    cells = cell_table(sweep)
    assert list(cells["status"]) == [DONE] * 5 + [FAILED]
    assert cells["error"].iloc[-1] == HOSTILE and "window_nats" not in cells
    assert list(cells["packed_ms_per_token"])[:2] == [2.0, 2.0]


def test_sweeps_of_this_machine_and_all_runs_can_be_opened(sweep, tmp_path, monkeypatch):
    monkeypatch.setenv("EGGS_SWEEPS", str(tmp_path))
    assert [key for title, key in sources() if "computed here" in title] == []
    path = save_sweep(sweep, tmp_path / "mine")
    assert ("mine: computed here", "own/mine") in sources()
    assert open_source("own/mine") == sweep
    runs = open_source(RUNS)
    assert {c.config.model for c in runs.cells} == {"tiny-llama", "tiny-opt", *WITHOUT_WEIGHTS} and runs.count(
        "known"
    ) >= 11
    for key in (str(path), "own/other", "own/../mine", "/etc/passwd"):
        with pytest.raises(EggsError, match="no longer here"):
            open_source(key)
    path.write_text("{}")
    with pytest.raises(EggsError):
        open_source("own/mine")


def test_the_shipped_sweep_is_whole_and_small():
    (file,) = EXAMPLES.glob("*.json")
    assert file.stat().st_size < 300_000
    found = load_sweep(file)
    assert all(cell.finished for cell in found.cells) and models_of(found) == ["tiny-llama", "tiny-opt"]
    assert {cell.config.key() for cell in found.cells} == {
        cell.key() for cell in load_grid(file.with_suffix(".yaml")).cells
    }
    for model in models_of(found):
        choice = Choice(model, baseline="Wanda")
        groups = chosen(found, choice)
        assert len(size_front(found, groups, choice)[0].data) > 6
        assert significance(groups, groups, choice)[0] is not None


def test_an_empty_view_draws_nothing():
    assert pareto_figure([], [], (1.0, 2.0), "size", "MB", [], {}).data[0].x == (1.0,)
    assert heat_figure([], "ratio", 1.0).data[0].z == ()
    assert significance_figure([], "Wanda", [], {}).data == ()


def test_values_that_lie_close_have_ticks_between_them(sweep):
    found = [g for g in chosen(sweep, Choice("tiny-llama")) if g.pattern == "2:4"]
    assert found
    figure = pareto_figure(
        found, [1.0] * len(found), (2.0, 1.02 * found[0].perplexity), "t", "u", ["2:4"], hues_of(sweep, "tiny-llama")
    )
    drawn = [y for trace in figure.data for y in trace.y or () if y is not None]
    ticks = figure.layout.yaxis.tickvals
    assert sum(min(drawn) <= tick <= max(drawn) for tick in ticks) > 1 and len(ticks) < 12
