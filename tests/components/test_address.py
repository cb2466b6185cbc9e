"""The page's address: what is in view comes back from it, and what it must not do."""

import random
from urllib.parse import parse_qsl

import pytest

from components.address import address, asked_config, asked_run, restore
from components.sidebar_values import controls_of, read
from components.state.known_runs import first_run
from components.state.workspace import Workspace
from eggs_core.config import PruneConfig, make_config
from eggs_core.errors import EggsError


def query_of(workspace) -> dict[str, str]:
    return dict(parse_qsl(address(workspace)))


def test_a_view_comes_back_from_its_address():
    workspace = Workspace()
    workspace.show(first_run())
    workspace.tab = "graph"
    workspace.open_layer(workspace.run.report["layers"][3]["name"])
    workspace.row, workspace.column = 16, 32
    query = query_of(workspace)
    again = Workspace()
    again.show(asked_run(query))
    restore(again, query)

    def seen(w):
        return (w.run.key, w.tab, w.layer, w.row, w.column)

    assert seen(again) == seen(workspace)
    assert address(Workspace()) == "" and asked_run({}) is None and asked_config({}) is None


def test_a_run_that_is_about_to_begin_has_its_address_already():
    workspace, config = Workspace(), make_config("tiny-opt", "4:8", "wanda", seed=3)
    for _ in range(2):  # without and with another run in view
        query = dict(parse_qsl(address(workspace, config)))
        assert query["run"] == config.key() and asked_config(query) == config
        workspace.show(first_run())


@pytest.mark.parametrize(
    "config",
    [
        make_config("tiny-opt", "4:8", "wanda", seed=3, calibration_windows=8, calibration_length=64),
        make_config("tiny-llama", "3:7", "ria", selection="degree", beta=0.25, permutation="zigzag"),
        make_config("tiny-llama", "2:4", "ria", layers=["mlp.down_proj=3:4", "blocks 1=dense"]),
        make_config("a/b", "2:4", "eggs-ptp", diagonals=4, calibration="dataset:owner/name:part"),
    ],
)
def test_every_configuration_comes_back_from_the_address_and_from_the_controls(config, make_run):
    workspace = Workspace(run=make_run("ria"))
    workspace.run = type(workspace.run)({**workspace.run.report, "config": config.to_dict()}, {})
    assert asked_config(query_of(workspace)) == config
    assert read(*controls_of(config))[0] == config


LONG = [f"blocks {block} mlp.{part}_proj=3:8" for block in range(1, 31) for part in ("up", "down")]


@pytest.mark.parametrize("rules", [["mlp.down_proj=3:4", "blocks 1,30=dense"], LONG])
def test_a_plan_comes_back_from_a_short_address(rules):
    config = make_config("tiny-llama", "2:4", "ria", layers=rules)
    query = dict(parse_qsl(address(Workspace(), config)))
    assert asked_config(query) == config and len(query["layers"]) < 300


def test_a_plan_that_no_address_holds_is_found_by_its_run_alone():
    draw = random.Random(0)
    rules = [f"mlp.experts.{draw.randrange(10**6)}.up_proj={draw.choice(['1:4', '3:4'])}" for _ in range(2000)]
    query = dict(parse_qsl(address(Workspace(), config := make_config("tiny-llama", "2:4", layers=rules))))
    assert query["run"] == config.key() and len(query["layers"]) == 1
    with pytest.raises(EggsError, match="too long for an address"):
        asked_config(query)


@pytest.mark.parametrize("layers", ["~%", "~AAAA", "~é", "~" + "eJw" * 50, "~eNrtwTEBAAAAwqD1T20ND6A=", "nonsense"])
def test_a_damaged_plan_is_one_sentence(layers):
    with pytest.raises(EggsError):
        asked_config({"model": "tiny-llama", "method": "ria", "layers": layers})


@pytest.mark.parametrize(
    "query",
    [
        {"run": "../../etc/passwd"},
        {"run": "x" * 400},
        {"run": "0000000000000000"},
        {"tab": "<script>", "layer": "nonsense", "row": "1e9", "column": "-4"},
        {"row": "9" * 5000, "layer": "model.layers.0.mlp.down_proj"},
    ],
)
def test_nonsense_opens_the_usual_page(query):
    workspace = Workspace()
    workspace.show(first_run())
    before = (workspace.tab, workspace.row, workspace.column)
    assert asked_run(query) is None
    restore(workspace, query)
    assert (workspace.tab, workspace.row, workspace.column) == before


@pytest.mark.parametrize(
    "query", [{"pattern": "5:4"}, {"method": "nonsense"}, {"seed": "x"}, {"beta": "much"}, {"calibration_windows": "0"}]
)
def test_a_link_that_cannot_run_is_one_sentence(query):
    with pytest.raises(EggsError):
        asked_config({"model": "tiny-llama", "method": "ria", **query})


def test_the_address_names_the_shipped_run():
    run = first_run()
    workspace = Workspace()
    workspace.show(run)
    assert query_of(workspace)["run"] == PruneConfig.from_dict(run.report["config"]).key() == run.key
