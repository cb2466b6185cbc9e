"""What was measured of a run later: kept in its folder, bounded, and of no other weights."""

import gzip
import json

import pytest
from made_up import made_up_run

from eggs_core.errors import EggsError
from eggs_core.runs import measured
from eggs_core.runs.measured import KINDS, MEASURED, MOST_ROWS, TOKENS, Measured, keep_measured, read_measured
from eggs_core.runs.run import Run
from eggs_core.runs.store import RunStore


@pytest.fixture
def run() -> Run:
    return made_up_run("aa11")


def row(text: str, found: object = 1) -> Measured:
    return Measured(TOKENS, {"text": text}, found)


def test_rows_come_back_in_order_and_a_new_answer_takes_the_old_ones_place(tmp_path, run):
    for text, found in (("a", 1), ("b", {"é": [0.5]}), ("a", 3)):
        keep_measured(tmp_path, run, row(text, found))
    kept = read_measured(tmp_path, run, TOKENS)
    assert [(one.asked["text"], one.found) for one in kept] == [("b", {"é": [0.5]}), ("a", 3)]
    assert all(one.created.endswith("+00:00") for one in kept)
    assert [read_measured(tmp_path, run, kind) for kind in KINDS if kind != TOKENS] == [[], []]
    assert Measured.of(kept[0].packed()) == kept[0]


def test_the_oldest_rows_make_room(tmp_path, run, monkeypatch):
    for number in range(MOST_ROWS + 3):
        keep_measured(tmp_path, run, row(str(number)))
    kept = [one.asked["text"] for one in read_measured(tmp_path, run, TOKENS)]
    assert kept == [str(number) for number in range(3, MOST_ROWS + 3)]
    monkeypatch.setattr(measured, "MOST_BYTES", 2000)
    with pytest.raises(EggsError, match="too large"):
        keep_measured(tmp_path, run, row("b", "x" * 3000))
    assert len(read_measured(tmp_path, run, TOKENS)) == MOST_ROWS


def test_rows_of_other_weights_are_not_this_runs(tmp_path, run):
    keep_measured(tmp_path, run, row("a"))
    other = Run({**run.report, "fingerprint": "sha256:" + "0" * 32}, {})
    assert read_measured(tmp_path, other, TOKENS) == []
    keep_measured(tmp_path, other, row("b"))
    assert read_measured(tmp_path, run, TOKENS) == [] and len(read_measured(tmp_path, other, TOKENS)) == 1


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no gzip",
        gzip.compress(b"{"),
        gzip.compress(b"[1]"),
        gzip.compress(b'{"of": 1}'),
        gzip.compress(b"{}" * 9)[:-9],
        gzip.compress(bytes(measured.MOST_BYTES + 1)),
    ],
    ids=["empty", "no gzip", "no JSON", "no object", "no rows", "cut off", "too large"],
)
def test_a_damaged_file_holds_nothing(tmp_path, run, data):
    (tmp_path / MEASURED[KINDS.index(TOKENS)]).write_bytes(data)
    assert read_measured(tmp_path, run, TOKENS) == []


@pytest.mark.parametrize("rows", [1, [1], [{}], [{"asked": 1, "found": 1, "created": ""}], [{"asked": {}, "found": 1}]])
def test_rows_that_are_none_are_not_taken(tmp_path, run, rows):
    value = {"of": [run.key, run.report.get("fingerprint") or ""], "rows": rows}
    (tmp_path / MEASURED[KINDS.index(TOKENS)]).write_bytes(gzip.compress(json.dumps(value).encode()))
    assert read_measured(tmp_path, run, TOKENS) == []


def test_the_store_keeps_counts_and_removes_them_with_the_run(tmp_path, run):
    store = RunStore(tmp_path / "store")
    store.keep_measured(run, row("a"))
    assert store.measured(run, TOKENS) == [] and not store.folder.exists()  # of a run that is not stored
    store.put(run)
    store.keep_measured(run, row("a"))
    assert [one.found for one in store.measured(run, TOKENS)] == [1]
    store.put(run)  # computed again on the same weights
    assert len(store.measured(run, TOKENS)) == 1 and store.get(run.key).key == run.key
    store.remove(run.key)
    assert not (store.folder / run.key).exists()
