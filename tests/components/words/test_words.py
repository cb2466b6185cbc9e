"""Words and sentences: everything that comes from outside is escaped, and every sentence agrees with its figures."""

import html
import re

import pytest

from components.jobs.messages import message, progress_bar
from components.places.layers.mask.words import layer_reading
from components.places.layers.overview.words import unfinished_card
from components.places.speed.latency.words import latency_reading, size_reading
from components.words.glossary import GLOSSARY, MEASURES
from components.words.html import escape, term
from components.words.labels import layer_name
from components.words.phrases import speed_beside
from components.words.recorded import facts, weights_hint
from components.words.run import latency_card, overview_cards, overview_reading
from eggs_core.models.source import WITHOUT_WEIGHTS
from eggs_core.units import seconds, size

HOSTILE = "<img src=x onerror=alert(1)> ${alert(2)} {{value}} \"'&"


def test_escape_leaves_nothing_that_html_or_a_template_would_run():
    escaped = escape(HOSTILE)
    assert not set('<>${}"') & set(escaped)
    assert html.unescape(escaped) == HOSTILE


def test_messages_and_progress_escape_what_they_show():
    for shown in (message(HOSTILE), message(HOSTILE, bad=True), progress_bar(0.5, HOSTILE)):
        assert "<img" not in shown
        assert "${" not in shown
        assert escape(HOSTILE) in shown


def test_a_bad_message_looks_different():
    assert 'class="hint bad"' in message("No.", bad=True)
    assert 'class="hint"' in message("Yes.")


def test_progress_tells_the_share_and_the_time_left():
    bar = progress_bar(0.25, "Block 1", 83)
    assert "width:25.0%" in bar
    assert 'role="progressbar"' in bar
    assert "about 1 min 23 s left" in bar
    assert "left" not in progress_bar(0.25, "Block 1")
    assert "left" not in progress_bar(0.99, "Block 1", 0.2)


def test_the_hostile_name_of_a_model_is_text_everywhere(make_run):
    run = make_run("ria")
    report = {**run.report, "model": HOSTILE, "device": HOSTILE}
    shown = facts(type(run)(report, run.packed_masks))
    assert "<img" not in shown
    assert "${" not in shown
    layer = {**run.report["layers"][0], "name": HOSTILE, "notes": [HOSTILE]}
    assert "<img" not in layer_reading(layer)
    assert "<img" not in overview_reading(run, HOSTILE)


def test_every_measure_is_explained():
    assert {name for name, _ in MEASURES.values()} <= GLOSSARY.keys()
    for name, explained in GLOSSARY.items():
        (title,) = re.findall(r' title="([^"]*)"', term(name))
        assert html.unescape(title) == explained


@pytest.mark.parametrize(
    ("count", "shown"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (13_800_000, "13.8 MB"), (2.5e12, "2.5 TB")]
)
def test_sizes_for_people(count, shown):
    assert size(count) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(0.2, "0 s"), (59, "59 s"), (80, "1 min 20 s"), (119.7, "2 min 0 s"), (7260, "2 h 1 min")]
)
def test_durations_for_people(value, shown):
    assert seconds(value) == shown


def test_no_duration_has_sixty_seconds():
    assert seconds(59.7) == "1 min 0 s"


def test_cards_show_the_report(make_run):
    run = make_run("ria")
    scores = {"dense": (20.04, 0.456, 0.7), "pruned": (25.05, 0.4, 0.651)}
    evaluation = {side: dict(zip(("perplexity", "top1", "top5"), v, strict=True)) for side, v in scores.items()}
    size_of = run.report["size"] | {"dense_bytes": 2_000_000, "packed_bytes": 1_240_000}
    latency = run.report["latency"] | {"kernel": "C & AVX2"}
    for side, speed in (("dense", 50.2), ("packed", 75.3)):
        latency[side] = latency[side] | {"decode_tokens_per_s": {"median": speed}}
    report = run.report | {"evaluation": evaluation, "size": size_of, "latency": latency}
    cards = overview_cards(type(run)(report, {}))
    assert cards.count('class="card ') == 4
    for shown in ("20.0", "25.1", "45.6%", "40.0%", "2.0 MB", "1.2 MB", "50.2"):
        assert f">{shown}<" in cards
    for said in ("× 1.25, lower is better", "first five: 70.0% → 65.1%", "62% of dense", ">75.3 tok/s<"):
        assert said in cards
    assert "× 1.50, faster where the run was made (C &amp; AVX2)" in cards


@pytest.mark.parametrize(("packed", "word"), [(200.0, "faster"), (102.0, "as fast"), (50.0, "slower")])
def test_a_slowdown_is_called_one(packed, word):
    def speed(v):
        return {"decode_tokens_per_s": {"median": v}, "prefill_tokens_per_s": {"median": v}}

    latency = {"kernel": "C", "threads": 1, "dense": {"dtype": "fp32", **speed(100.0)}, "packed": speed(packed)}
    assert word in latency_card(latency, "here") and " here (C)" in latency_card(latency, "here")
    assert ("slower than dense" in latency_reading(latency)) == (word == "slower")


@pytest.mark.parametrize(
    ("ratio", "words"),
    [
        (1.41, "1.41 × as fast as dense"),
        (1.02, "as fast as dense (1.02 ×)"),
        (0.5, "slower than dense, 0.50 × its speed"),
    ],
)
def test_speeds_that_are_nearly_equal_are_called_equal(ratio, words):
    assert speed_beside("dense", ratio) == words


def test_a_run_that_goes_no_further_is_not_said_to_be_under_way():
    assert "Pruning…" in unfinished_card(3, growing=True)
    ended = unfinished_card(3, growing=False)
    assert "Pruning…" not in ended and "Ended after 3 layers" in ended


def test_what_needs_the_model_pruned_again_says_so(make_run):
    assert weights_hint(make_run("ria")) == weights_hint(None) == ""
    said = weights_hint(make_run("sparsegpt"), "Both sides compute.")
    assert (
        "Both sides compute. This run’s re-fitted weights are not stored" in said
        and "pruned again first (it took" in said
    )


def test_the_overview_is_read_aloud(make_run):
    run = make_run("ria")
    layers = [{**layer, "output_error": 0.1} for layer in run.report["layers"]]
    layers[3] |= {"name": "the.fourth", "output_error": 0.456}
    sentence = overview_reading(type(run)({**run.report, "layers": layers}, {}), "RIA")
    assert "RIA kept 2 of every 4 weights in 14 layers" in sentence
    assert "(the.fourth)</span>" in sentence and "0.46)" in sentence


def test_the_number_of_orphans_is_said_in_good_english(make_run):
    run = make_run("ria")
    for count, words in ((0, "No input channel lost"), (1, "1 input channel lost"), (3, "3 input channels lost")):
        layers = [{**layer, "orphans": 0} for layer in run.report["layers"]]
        layers[0]["orphans"] = count
        assert words in overview_reading(type(run)({**run.report, "layers": layers}, {}), "RIA")


def test_a_better_model_did_not_rise(make_run):
    run = make_run("ria")
    evaluation = run.report["evaluation"]
    better = {**evaluation, "pruned": {**evaluation["pruned"], "perplexity": evaluation["dense"]["perplexity"] * 0.9}}
    sentence = overview_reading(type(run)({**run.report, "evaluation": better}, {}), "RIA")
    assert "perplexity fell by 10%" in sentence


def test_a_layer_is_read_aloud(make_run):
    layer = make_run("ria").report["layers"][0] | {"shape": [32, 48], "min_in_degree": 3, "max_in_degree": 19}
    sentence = layer_reading(layer)
    assert "32 outputs × 48 inputs" in sentence
    assert "3 to 19 weights" in sentence
    apart = layer_reading({**layer, "components": 3, "spectral_gap": 0.0})
    assert "falls into 3 separate parts" in apart


def test_a_layer_is_called_by_its_block_counted_from_one_and_its_module_keeps_its_name(make_run):
    layer = make_run("ria").report["layers"][-1]
    said = layer_name(layer)
    assert f"Block {layer['block'] + 1} · {layer['projection'].rpartition('.')[2]}" in said
    assert layer["name"] in said and said in layer_reading(layer)


def test_what_needs_weights_that_do_not_ship_says_so_and_promises_no_pruning_again(make_run):
    run = make_run("ria")
    name, instead = next(iter(WITHOUT_WEIGHTS.items()))
    config = {**run.report["config"], "model": name}
    said = weights_hint(type(run)({**run.report, "config": config}, {}), "Before.")
    assert instead in said and "Before." in said and "pruned again" not in said


def test_the_size_is_explained(make_run):
    run = make_run("ria")
    space = run.report["size"] | {"packed_bytes": 1_240_000, "dense_bytes": 2_000_000}
    said = size_reading(type(run)({**run.report, "size": space}, {}))
    assert "1.2 MB" in said and "2.0 MB" in said
