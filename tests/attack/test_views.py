"""Reports and sweeps that were damaged and still pass their check: whatever the page makes of them can be drawn."""

import json
from dataclasses import replace

import hypothesis.strategies as st
from harness import damaged_value, fuzz, junk, only_sentences
from hypothesis import given

from components.address import address
from components.charts.layers import layer_chart
from components.charts.sizes import size_bars
from components.charts.speeds import SPEEDS, speed_bars
from components.places.layers.mask.view import map_value
from components.places.layers.mask.words import layer_reading, model_summary
from components.places.layers.overview.words import measure_reading
from components.places.layers.spectrum.figures import gap_by_layer
from components.places.layers.spectrum.words import gap_reading
from components.places.quality.perplexity.figures import perplexity_forest, window_scatter
from components.places.quality.perplexity.tables import accuracy_table
from components.places.runs.compare.figures import MEASURES
from components.places.runs.compare.tables import cell_table, group_table
from components.places.runs.compare.view import (
    Choice,
    chosen,
    heat,
    models_of,
    significance,
    size_front,
    speed_front,
)
from components.places.runs.compare.words import facts, overview
from components.places.runs.stored.view import as_json, runs_table
from components.places.runs.stored.words import comparison, title_of
from components.places.speed.latency.words import gpu_cards, latency_reading, size_reading
from components.places.speed.race.words import race_note
from components.state.known_runs import bundled_runs
from components.state.workspace import Workspace
from components.words.labels import run_label
from components.words.layer_table import layer_table
from components.words.recorded import facts as run_facts
from components.words.recorded import made_with
from components.words.run import overview_cards, overview_reading
from eggs_core.runs.model_card import model_card
from eggs_core.runs.report import checked_report
from eggs_core.runs.run import Run
from eggs_core.sweep.results import EXAMPLES, Sweep, from_reports

WHOLE = bundled_runs()[0]
OTHER = bundled_runs()[1].report | {"label": ""}
FEW = 4  # layers, so that each case is quick
SMALL = WHOLE.report | {"layers": WHOLE.report["layers"][:FEW]}
SWEEP = json.loads((EXAMPLES / "bundled.json").read_text(encoding="utf-8"))
SWEEP["cells"] = SWEEP["cells"][:3]
ODD = [1e-300, 1e300, -1e30, 1e30, 2**53, -1, -0.0, 0, 0.5, 1, 1e-30, "", "x", "\u202e", "<b>${1}"]
VALUES = st.one_of(junk, st.sampled_from(ODD), st.sampled_from(ODD))


def draw_run(run: Run) -> None:
    """Draw what the page shows of a run without its masks, alone and beside another."""
    report, label = run.report | {"label": ""}, run_label(run)
    workspace = Workspace()
    workspace.show(run)
    assert address(workspace) and title_of(report) and len(runs_table([report, OTHER])) == 2
    assert comparison([report, OTHER]) and as_json([report])
    assert overview_cards(run) and overview_reading(run, label) and run_facts(run) and made_with(report)
    assert accuracy_table([run, WHOLE]).size and layer_table(run).size and model_summary(report["layers"], label)
    assert perplexity_forest([run]).to_json() and window_scatter(run).to_json()
    assert gap_by_layer([run]).to_json() and gap_reading(label, report["layers"], {label: 0.5})
    assert size_bars(run).to_json() and size_reading(run) and latency_reading(report["latency"]) and gpu_cards(run)
    for kind in SPEEDS if report["latency"] else ():
        assert speed_bars(report["latency"], kind).to_json()
    for measure in ("spectral_gap", "orphans", "output_error"):
        assert layer_chart(run, measure).to_json() and measure_reading(report["layers"], measure)
        assert map_value(run, measure, "")
    assert all(layer_reading(layer) for layer in report["layers"]) and race_note(run)
    assert model_card(run, "masks")
    draw_sweep(from_reports([report, OTHER], "runs"))


def draw_sweep(sweep: Sweep) -> None:
    """Draw all that the Compare tab shows of a sweep."""
    assert len(cell_table(sweep)) == len(sweep.cells)
    for model in models_of(sweep):
        choice = Choice(model, baseline="Wanda")
        found = chosen(sweep, choice)
        shown = [
            *size_front(sweep, found, choice),
            *speed_front(sweep, found, choice),
            *significance(found, found, choice),
        ]
        for measure in MEASURES:
            shown += heat(sweep, found, replace(choice, measure=measure))
        assert all(value is None or isinstance(value, str) or value.to_json() for value in shown)
        assert overview(sweep, found, choice.model) and facts(sweep, choice.model)
        assert len(group_table(found, sweep.dense[choice.model]["perplexity"])) == len(found)


@fuzz
@given(damaged_value(SMALL, VALUES))
def test_a_damaged_report_is_refused_or_drawn(value):
    whole = None
    with only_sentences():
        whole = checked_report(value)
    if whole is not None:
        draw_run(replace(WHOLE, report=whole))


@fuzz
@given(damaged_value(SWEEP, VALUES))
def test_a_damaged_sweep_is_refused_or_drawn(value):
    whole = None
    with only_sentences():
        whole = Sweep.from_dict(value)
    if whole is not None:
        draw_sweep(whole)
