"""Mixtures on the page: a block's experts stand together, and layers with a pattern of their own are told apart."""

import base64
import json

import gradio as gr
import numpy as np
import pytest

from benchmarks.mixture import mixture_run, time_tabs
from components.charts.layers import layer_chart
from components.places.layers.mask.view import map_value
from components.places.layers.overview.tab import create_overview_tab
from components.places.layers.spectrum.figures import gap_by_layer
from components.places.speed.latency.words import gpu_cards, layer_table, size_reading
from components.state.workspace import Workspace
from components.words import layer_table as layers
from components.words.recorded import facts
from components.words.run import overview_reading
from eggs_core.graph.expansion import chains
from eggs_core.models.experts import expert_of
from eggs_core.runs.layer_rows import cells_of
from eggs_core.runs.measurement import cases_of
from eggs_core.runs.model_card import model_card
from eggs_core.runs.patterns import pattern_label, pattern_words
from eggs_core.runs.run import Run

EXPERTS = "mlp.experts.*.down_proj"


@pytest.fixture(scope="module")
def run() -> Run:
    """Two blocks of four attention layers and six experts."""
    return mixture_run(2, 6)


@pytest.mark.parametrize(
    ("projection", "found"),
    [
        ("mlp.experts.17.gate_up_proj", ("mlp.experts.*.gate_up_proj", 17)),
        ("block_sparse_moe.experts.0.w1", ("block_sparse_moe.experts.*.w1", 0)),
        ("mlp.input_linear.3.weight", ("mlp.input_linear.*.weight", 3)),
        ("mlp.shared_experts.gate_proj", None),
        ("mlp.experts.3", None),
        ("mlp.0.linear", None),
        ("mlp.experts.03.w1", None),
        ("self_attn.q_proj", None),
        ("", None),
    ],
)
def test_an_expert_is_told_by_its_name(projection, found):
    assert expert_of(projection) == found


def test_the_experts_of_a_block_share_a_cell(run):
    cells = cells_of(run.report["layers"])
    assert len(cells) == 2 * (4 + 2)
    assert [cell.row for cell in cells[:6]] == [cell.row for cell in cells[6:]]
    own = next(cell for cell in cells if cell.row == EXPERTS)
    assert own.name == "model.layers.0.mlp.experts.*.down_proj" and own.numbers == list(range(6))
    assert [layer["name"] for layer in own.layers] == [f"{own.head}{i}{own.tail}" for i in range(6)]
    assert sum(len(cell.layers) for cell in cells) == len(run.report["layers"])


def test_names_that_do_not_end_with_their_projection_stay_apart(run):
    odd = [{**layer, "name": f"other {i}"} for i, layer in enumerate(run.report["layers"])]
    assert len(cells_of(odd)) == len(odd)
    assert len(map_value(Run({**run.report, "layers": odd}, {}), "orphans", "")["rows"]) == 4 + 12


def test_the_map_says_the_mean_and_carries_every_value(run):
    value = map_value(run, "spectral_gap", "")
    cell = next(row for row in value["rows"] if row["projection"] == EXPERTS)["cells"][1]
    gaps = [x["spectral_gap"] for x in run.report["layers"] if x["block"] == 1 and x["name"].endswith(".down_proj")]
    assert cell["value"] == pytest.approx(np.mean(gaps)) and cell["text"] == f"{np.mean(gaps):.3f}"
    sent = np.frombuffer(base64.b64decode(cell["values"]), "<f4")
    assert sent == pytest.approx(gaps, rel=1e-6) and cell["numbers"] is None
    lowest, highest = (f"{f(gaps):.3f} (expert {gaps.index(f(gaps))})" for f in (min, max))
    assert cell["note"] == f"mean of 6 experts, lowest {lowest}, highest {highest}"


def test_experts_with_gaps_in_their_numbers_keep_them(run):
    some = [layer for layer in run.report["layers"] if ".experts.2." not in layer["name"]]
    value = map_value(Run({**run.report, "layers": some}, {}), "orphans", "")
    numbers = next(row for row in value["rows"] if row["projection"] == EXPERTS)["cells"][0]["numbers"]
    assert np.frombuffer(base64.b64decode(numbers), "<i4").tolist() == [0, 1, 3, 4, 5]


def test_charts_and_tables_have_one_line_for_all_experts(run):
    figure = layer_chart(run, "output_error")
    line = next(trace for trace in figure.data if trace.name == EXPERTS)
    assert len(figure.data) == 6 and len(line.x) == 2 and "mean of 6 experts" in line.text[0]
    errors = [x["output_error"] for x in run.report["layers"] if x["block"] == 0 and x["name"].endswith(".down_proj")]
    assert line.y[0] + line.error_y.array[0] == pytest.approx(max(errors))
    assert line.y[0] - line.error_y.arrayminus[0] == pytest.approx(min(errors))
    gaps = [trace for trace in gap_by_layer([run]).data if trace.customdata is not None]
    assert [len(trace.x) for trace in gaps] == [2] * 6  # a small figure for each projection, the experts' among them
    assert "(mean of 6 experts)" in layers.layer_table(run)["Layer"].to_list()[5]
    assert len(layers.layer_table(run)) == 12


def test_a_chart_of_means_says_so(run):
    with gr.Blocks():
        overview = create_overview_tab(gr.State(None))
    for shown, said in ((run, True), (mixture_run(2, 0), False)):
        workspace = Workspace()
        workspace.show(shown)
        note = {c.elem_id: value for c, value in overview.render(workspace).items()}["measure-note"]
        assert ("stands for all experts" in note) == said


def test_a_layer_feeds_none_of_another_expert():
    layer = {"block": 0, "shape": [8, 8]}
    names = [f"mlp.experts.{i}.{name}" for i in range(2) for name in ("up_proj", "down_proj")]
    found = chains([{**layer, "name": name, "projection": name} for name in names])
    assert found == [(names[0], names[1]), (names[2], names[3])]


def test_twelve_thousand_layers_are_drawn_quickly_and_sent_small():
    large = mixture_run()
    assert len(large.report["layers"]) == 12_480
    assert len(json.dumps(map_value(large, "spectral_gap", ""))) < 200_000
    for name, (seconds, megabytes) in time_tabs(large).items():
        assert megabytes < 1, name
        assert seconds < 5, name  # a tenth of this where nothing else runs; all pairs of layers took minutes


def test_words_name_the_patterns_of_layers_with_their_own():
    run = mixture_run(2, 2, {"down_proj": "3:4", "o_proj": "1:4"})
    assert pattern_words(run.report) == "2:4, with 4 layers at 3:4 and 2 layers at 1:4"
    assert pattern_label(run.report) == "2:4 and others"
    told = overview_reading(run, "X")
    assert "X kept 2 of every 4 weights in 10 layers and 3 of every 4 in 4 layers and 1 of every 4 in 2 layers" in told
    assert "2:4, with 4 layers at 3:4 and 2 layers at 1:4" in facts(run)
    assert "(2 bits each), and 4 layers at 3:4 and 2 layers at 1:4 likewise" in size_reading(run)
    assert "of 16<" in gpu_cards(run) and "at 3:4, 1:4 a GPU" in gpu_cards(run).replace("at 1:4, 3:4", "at 3:4, 1:4")
    assert "are kept, but for 4 layers at 3:4 and 2 layers at 1:4;" in model_card(run, "masks")
    assert {case[2] for case in cases_of(run)} == {"2:4", "3:4", "1:4"}
    assert "8 × 16 at 3:4" in layer_table(None, cases_of(run))


def test_words_of_one_pattern_stay_as_they_were(run):
    assert (pattern_words(run.report), pattern_label(run.report)) == ("2:4", "2:4")
    assert " at 2:4" not in layer_table(None, cases_of(run)) and "likewise" not in size_reading(run)
    many = [{**run.report["layers"][0], "pattern": p} for p in ("2:4", "2:4", "1:4", "3:4", "4:4", "1:2")]
    assert pattern_words({**run.report, "layers": many}) == "2:4, with 4 layers otherwise"
    assert "and other shares in 4 layers;" in overview_reading(Run({**run.report, "layers": many}, {}), "X")
    ruled = [{**run.report["layers"][0], "pattern": "1:4"}]
    assert pattern_words({**run.report, "layers": ruled}) == "1:4"
