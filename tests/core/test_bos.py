"""A model whose tokenizer begins texts with BOS sees one wherever it reads a text: once, and counted in the length."""

import json

import pytest
import torch
from bos_model import BOS, WORD, make_bos_model

from eggs_core import bos
from eggs_core.bos import EVERY, FIRST, NONE, bos_rule, has_bos, joined, settled
from eggs_core.config import PruneConfig, make_config
from eggs_core.errors import EggsError
from eggs_core.evaluation.tokens import compare_tokens
from eggs_core.models.loading import load
from eggs_core.runs.events import Finished
from eggs_core.runs.execute import execute
from eggs_core.sweep.results import from_reports
from eggs_core.text.sources import Text, bundled_text
from eggs_core.text.windows import bos_of, calibration_windows, evaluation_windows, has_beginning, prompt_ids, tokenize

SMALL = {"calibration_windows": 2, "calibration_length": 16, "evaluation_windows": 3, "evaluation_length": 16}
TEXT = bundled_text("heldout")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_bos_model(tmp_path_factory.mktemp("models") / "with-bos")


@pytest.fixture(scope="module")
def loaded(model):
    return load(model, torch.device("cpu"))


@pytest.fixture(scope="module")
def ends(tmp_path_factory):
    return load(make_bos_model(tmp_path_factory.mktemp("models") / "with-end", end=True), torch.device("cpu"))


def finished(config):
    return next(event.run for event in execute(config) if isinstance(event, Finished))


def test_every_window_begins_with_bos_and_its_length_includes_it(bundled, loaded):
    plain = tokenize(bundled().tokenizer, TEXT)
    windows = evaluation_windows(loaded.tokenizer, TEXT, 3, 16)
    assert windows.shape == (3, 16)
    assert (windows[:, 0] == BOS).all()
    assert torch.equal(windows[:, 1:].flatten(), plain[:45])
    drawn = calibration_windows(loaded.tokenizer, TEXT, 5, 16, 0)
    assert drawn.shape == (5, 16)
    assert (drawn[:, 0] == BOS).all()
    assert not (drawn[:, 1:] == BOS).any()


def test_the_first_window_only_is_what_published_tables_have(bundled, loaded):
    plain = tokenize(bundled().tokenizer, TEXT)
    windows = evaluation_windows(loaded.tokenizer, TEXT, 3, 16, FIRST)
    assert torch.equal(windows.flatten(), torch.cat([torch.tensor([BOS]), plain[:47]]))


def test_a_tokenizer_without_a_template_is_as_it_was(bundled):
    tokenizer = bundled().tokenizer
    assert not has_beginning(tokenizer)
    for rule in bos.RULES:
        assert torch.equal(evaluation_windows(tokenizer, TEXT, 3, 16, rule).flatten(), tokenize(tokenizer, TEXT)[:48])
        assert bos_of(tokenizer, rule) == NONE


def test_bos_is_neither_doubled_nor_followed_by_an_end(bundled, ends):
    plain = bundled().tokenizer("We the people").input_ids
    for text in ("We the people", f"{WORD}We the people"):
        assert prompt_ids(ends.tokenizer, text)[0].tolist() == [BOS, *plain]
        windows = evaluation_windows(ends.tokenizer, Text("x", text), 1, len(plain) + 1)
        assert windows.tolist() == [[BOS, *plain]]
    assert prompt_ids(bundled().tokenizer, "We the people")[0].tolist() == plain


def test_single_tokens_are_judged_behind_bos(loaded):
    first, changes = compare_tokens(loaded.tokenizer, loaded.model, loaded.model, "We the people")
    assert first == WORD
    assert "".join(change.text for change in changes) == "We the people"


@pytest.mark.parametrize("name", ["tiny-llama", "tiny-opt"])
def test_bundled_models_have_none(name):
    assert has_bos(name) is False
    assert make_config(name, "2:4").bos == NONE
    assert make_config(name, "2:4", bos=FIRST).key() == make_config(name, "2:4").key()


def test_files_say_what_the_tokenizer_does(model, loaded, ends, bundled):
    for dense in (loaded, ends, bundled()):
        assert has_bos(dense.name) is has_beginning(dense.tokenizer)


@pytest.mark.parametrize(
    ("template", "found"),
    [
        ({"type": "Sequence", "processors": [{"type": "ByteLevel"}]}, False),
        ({"type": "Sequence", "processors": [{"type": "BertProcessing"}]}, True),
        ({"type": "ByteLevel"}, False),
        (None, None),
    ],
)
def test_other_templates(tmp_path, template, found):
    (tmp_path / "tokenizer.json").write_text(json.dumps({"version": "1.0", "post_processor": template, "model": {}}))
    assert has_bos(str(tmp_path)) is found


@pytest.mark.parametrize("written", ["", '{"post_processor": [', '{"post_processor": {"type": "TemplateProcessing"}}'])
def test_a_damaged_file_says_nothing(tmp_path, written):
    (tmp_path / "tokenizer.json").write_text(written)
    assert has_bos(str(tmp_path)) is None


def test_a_public_server_looks_at_no_path(model, monkeypatch):
    monkeypatch.setenv("EGGS_HOSTED", "1")
    assert has_bos(model) is None


def test_the_rule():
    assert [settled(rule, True) for rule in (NONE, EVERY, FIRST)] == [EVERY, EVERY, FIRST]
    assert {settled(rule, False) for rule in bos.RULES} == {NONE}
    assert bos_rule("owner/not-here") == NONE
    assert bos_rule("owner/not-here", FIRST) == FIRST
    assert (joined(NONE, EVERY), joined(FIRST, NONE)) == (EVERY, FIRST)
    with pytest.raises(EggsError, match="BOS must stand in one of every window, first window, none; got 'both'"):
        make_config("m", "2:4", bos="both")


def test_bos_is_in_the_key_of_models_that_have_one(model):
    every, first = make_config(model, "2:4"), make_config(model, "2:4", bos=FIRST)
    unknown = PruneConfig.from_dict({**every.to_dict(), "bos": NONE})
    assert (every.bos, first.bos) == (EVERY, FIRST)
    assert len({every.key(), first.key(), unknown.key()}) == 3
    assert "--bos 'first window'" in first.command_line()
    assert "--bos" not in every.command_line()
    assert PruneConfig.from_dict(every.to_dict()) == every


def test_a_run_finds_out_what_a_configuration_could_not_know(model):
    known = make_config(model, "2:4", "wanda", **SMALL)
    unknown = PruneConfig.from_dict({**known.to_dict(), "bos": NONE})  # as for a Hub model that is not here yet
    run = finished(unknown)
    assert (run.key, run.config) == (known.key(), known)
    assert run.report["evaluation"]["bos"] == run.report["calibration"]["bos"] == EVERY


def test_a_table_never_holds_both(model):
    configs = [
        make_config(model, "2:4", "wanda", bos=rule, seed=s, **SMALL)
        for s, rule in ((0, EVERY), (1, EVERY), (0, FIRST))
    ]
    reports = [finished(config).report for config in configs]
    reports.append(finished(make_config("tiny-llama", "2:4", "wanda", **SMALL)).report)
    early = json.loads(json.dumps(reports[2]))
    del early["evaluation"]["bos"], early["config"]["bos"]
    assert reports[0]["evaluation"]["dense"] != reports[2]["evaluation"]["dense"]
    table = from_reports([*reports, early], "all")
    assert table.evaluation["bos"] == EVERY
    assert [(c.config.model, c.config.bos) for c in table.cells] == [(model, EVERY)] * 2 + [("tiny-llama", NONE)]
    table = from_reports([reports[2], reports[3]], "published")
    assert table.evaluation["bos"] == FIRST
    assert len(table.cells) == 2


def test_a_streamed_run_reads_the_same_windows(model, tmp_path):
    config = make_config(model, "2:4", "wanda", **SMALL)
    events = execute(config, stream=True, out=tmp_path / "run")
    streamed = next(event.run for event in events if isinstance(event, Finished))
    assert streamed.key == config.key()
    assert streamed.report["evaluation"]["bos"] == EVERY
    expected = finished(config).report["evaluation"]["dense"]["window_nats"]
    assert streamed.report["evaluation"]["dense"]["window_nats"] == pytest.approx(expected, abs=1e-4)
