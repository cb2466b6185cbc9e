"""The accuracy table: dense on top, then one row per run."""

import re

from components.places.quality.perplexity.tables import accuracy_table
from components.words.labels import run_label


def test_rows_are_dense_and_then_the_runs(make_run):
    runs = [make_run(method) for method in ("magnitude", "ria")]
    table = accuracy_table(runs)
    assert list(table["Method"]) == ["Dense", *(run_label(run) for run in runs)]
    evaluation = runs[1].report["evaluation"]
    assert table["Perplexity"][0] == f"{evaluation['dense']['perplexity']:.2f}"
    assert table["Perplexity"][2] == f"{evaluation['pruned']['perplexity']:.2f}"
    assert table["Top-1"][2] == f"{evaluation['pruned']['top1']:.1%}"
    assert table["Orphans"][2] == str(sum(layer["orphans"] for layer in runs[1].report["layers"]))
    assert all(table[column].map(type).eq(str).all() for column in table)


def test_the_interval_holds_the_value(make_run):
    cell = accuracy_table([make_run("ria")])["× dense [95 % interval]"][1]
    value, low, high = (float(x) for x in re.fullmatch(r"([\d.]+) \[([\d.]+), ([\d.]+)\]", cell).groups())
    assert low <= value <= high


def test_no_runs_make_an_empty_table():
    assert accuracy_table([]).empty


def test_the_best_is_marked_only_where_the_interval_excludes_the_runner_up(make_run):
    near, far = make_run("ria"), make_run("wanda")
    assert not accuracy_table([near, make_run("ria")])["Perplexity"].str.contains("★").any()
    losses = near.report["evaluation"]["pruned"]["window_nats"]
    far.report["evaluation"]["pruned"] |= {"window_nats": [x + 0.5 + 0.01 * i for i, x in enumerate(losses)]}
    far.report["evaluation"]["pruned"]["perplexity"] *= 2
    assert list(accuracy_table([far, near])["Perplexity"].str.contains("★")) == [False, False, True]
