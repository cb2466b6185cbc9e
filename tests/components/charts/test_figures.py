"""Every figure names its axes and units, and a method has one colour everywhere."""

import plotly.graph_objects as go
import pytest

from components.charts.colors import COLORS, OTHER, color
from components.charts.layers import layer_chart
from components.charts.sizes import size_bars
from components.charts.speeds import speed_bars
from components.places.layers.mask.figures import degree_histogram
from components.places.layers.spectrum.figures import gap_by_layer
from components.places.quality.perplexity.figures import perplexity_forest, window_scatter
from components.words.glossary import MEASURES, measure_of
from components.words.labels import run_label
from eggs_core.registry import METHODS

METHODS_SHOWN = ("magnitude", "ria", "eggs-ptp")


@pytest.fixture
def runs(make_run):
    return [make_run(method) for method in METHODS_SHOWN]


def axis_titles(figure: go.Figure) -> tuple[str, str]:
    return figure.layout.xaxis.title.text or "", figure.layout.yaxis.title.text or ""


def test_every_method_has_a_colour_of_its_own():
    labels = ["Dense", *(method.label for method in METHODS.values())]
    assert set(labels) == set(COLORS)
    assert len(set(COLORS.values())) == len(labels)
    assert color("RIA · plan 3f2a") == COLORS["RIA"] and color("ria · something else") == OTHER
    assert OTHER not in COLORS.values()


def luminance(hue: str) -> float:
    parts = [int(hue[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_figures_on_bars_can_be_read(runs):
    bars = speed_bars(runs[0].report["latency"], "decode_tokens_per_s").data[0]
    for hue, letters in zip(bars.marker.color, bars.insidetextfont.color, strict=True):
        light, dark = sorted((luminance(hue), luminance(letters)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, hue


def test_axes_have_titles_with_units(runs):
    run, latency = runs[1], runs[1].report["latency"]
    wanted = {
        "layers": (layer_chart(run, "spectral_gap"), "block", "spectral gap"),
        "gaps": (gap_by_layer(runs), "block", "spectral gap"),
        "windows": (window_scatter(run), "nats per token", "nats per token"),
        "degrees": (degree_histogram([1, 2], [2, 2], "RIA"), "weights kept per input", "input channels"),
        "forest": (perplexity_forest(runs), "95 % interval", ""),
        "size": (size_bars(run), "megabytes", ""),
        "decode": (speed_bars(latency, "decode_tokens_per_s"), "tokens per second", ""),
        "prefill": (speed_bars(latency, "prefill_tokens_per_s"), "tokens per second", ""),
    }
    for name, (figure, x, y) in wanted.items():
        assert isinstance(figure, go.Figure), name
        assert figure.data, name
        titles = axis_titles(figure)
        assert x in titles[0], name
        assert y in titles[1], name


@pytest.mark.parametrize("measure", list(MEASURES))
def test_layer_charts_show_every_layer_once(make_run, measure):
    run = make_run("ria")
    figure = layer_chart(run, measure)
    shown = {name: y for trace in figure.data for name, y in zip(trace.customdata, trace.y, strict=True)}
    assert shown == {layer["name"]: measure_of(layer, measure) for layer in run.report["layers"]}
    assert axis_titles(figure)[1] == MEASURES[measure][0]


def test_an_unfinished_run_can_be_drawn(make_run):
    run = make_run("ria")
    none_yet = type(run)({**run.report, "layers": [], "evaluation": {}, "size": {}}, {})
    assert isinstance(layer_chart(none_yet, "spectral_gap"), go.Figure)


def test_a_method_keeps_its_colour_from_figure_to_figure(runs):
    for run in runs:
        label = run_label(run)
        hue = COLORS[label]
        drawn = [
            next(t for t in gap_by_layer(runs).data if t.name == label),
            next(t for t in perplexity_forest(runs).data if t.name == label),
            next(t for t in window_scatter(run).data if t.name == label),
            next(t for t in degree_histogram([1], [1], label).data if t.name == label),
        ]
        assert [trace.marker.color for trace in drawn] == [hue] * len(drawn)


def test_the_spectrum_has_every_method_and_the_band_of_random_masks(runs):
    figure = gap_by_layer(runs)
    names = [trace.name for trace in figure.data if trace.name and trace.showlegend]
    assert names[0].startswith("random masks")
    assert names[1:] == [run_label(run) for run in runs]
    layers = runs[0].report["layers"]
    assert (
        len(figure.layout.annotations) == figure.layout.meta["tiles"]["count"] == len({x["projection"] for x in layers})
    )
    shown = {
        name: y
        for t in figure.data
        if t.customdata and t.name == "RIA"
        for name, y in zip(t.customdata, t.y, strict=True)
    }
    assert shown == {layer["name"]: layer["spectral_gap"] for layer in runs[1].report["layers"]}
    for trace in (t for t in figure.data if t.fill):
        low, high = trace, next(t for t in figure.data if t.xaxis == trace.xaxis and t.name is None)
        assert all(a < b for a, b in zip(low.y, high.y, strict=True))
    assert not any((t.name or "").startswith("random") for t in gap_by_layer(runs, "orphans").data)
    assert not gap_by_layer([]).data


def test_the_forest_shows_ratios_inside_their_intervals(runs):
    figure = perplexity_forest(runs)
    assert len(figure.data) == len(runs)
    for trace in figure.data:
        evaluation = next(r for r in runs if run_label(r) == trace.y[0]).report["evaluation"]
        ratio = evaluation["pruned"]["perplexity"] / evaluation["dense"]["perplexity"]
        assert trace.x[0] == pytest.approx(ratio, rel=1e-3)
        assert trace.error_x.array[0] >= 0
        assert trace.error_x.arrayminus[0] >= 0


def test_the_bars_of_size_add_up_to_the_counted_bytes(make_run):
    run = make_run("ria")
    figure = size_bars(run)
    dense, packed = (sum(trace.x[row] for trace in figure.data) for row in (0, 1))
    assert dense * 1e6 == pytest.approx(run.report["size"]["dense_bytes"])
    assert packed * 1e6 == pytest.approx(run.report["size"]["packed_bytes"])


def test_speed_is_shown_for_all_three_forms(make_run):
    latency = make_run("ria").report["latency"]
    bars = speed_bars(latency, "decode_tokens_per_s").data[0]
    assert list(bars.y) == ["dense", "zeros stored", "packed"]
    assert bars.x[0] == latency["dense"]["decode_tokens_per_s"]["median"]
