"""Tasks, texts, parts, writing and the report: figures against what the core measures, and hostile words."""

import json
import re

import gradio as gr
import pytest

from components.places.quality.breakdown.view import breakdown, measure_breakdown
from components.places.quality.report.page import report_html, report_json
from components.places.quality.tasks.view import LIMIT, measure_tasks, task_pairs
from components.places.quality.tasks.words import task_table
from components.places.quality.texts.view import measure_text, text_rows
from components.places.quality.texts.words import texts_table
from components.places.quality.tokens.tab import create_tokens_panel
from components.places.quality.tokens.view import SAMPLE, SAMPLE_NAME, compare_text, compared, token_work
from components.places.quality.writing.tab import create_writing_panel
from components.places.quality.writing.view import TOKENS, brought, write, written
from components.places.quality.writing.words import Lane, lanes_html
from components.state.known_runs import bundled_runs, first_run
from components.state.measured import visitors_keeper
from components.state.results import Results
from components.state.workspace import Workspace
from components.widgets.assets import plotly
from components.words.labels import run_label
from components.words.prompt import PROMPT
from eggs_core.assets import ASSETS
from eggs_core.config import PruneConfig
from eggs_core.errors import EggsError
from eggs_core.evaluation.perplexity import evaluate
from eggs_core.evaluation.task_file import CLOZE
from eggs_core.models.source import BUNDLED
from eggs_core.runs.later_measures import task_steps
from eggs_core.runs.measured import MEASURED
from eggs_core.runs.pruned_models import recover
from eggs_core.runs.run import Run
from eggs_core.text.sources import Text, bundled_text
from eggs_core.text.windows import evaluation_windows

HOSTILE = '<img src=x onerror=alert(1)> ${alert(2)} "quoted"'
TEXT = Text(HOSTILE, bundled_text("calibration").content[:6000])


@pytest.fixture(scope="module")
def run():
    return first_run()


@pytest.fixture(scope="module")
def models(run, result):
    return result(recover(run))


@pytest.fixture(scope="module")
def results(follow, run) -> Results:
    """What a visitor has had measured: a task, a text and the parts."""
    found = Results()
    list(measure_tasks(follow, run, ["cloze"], 20, found))
    list(measure_text(follow, run, TEXT, found))
    list(measure_breakdown(follow, run, 2, found))
    return found


def runs_of(run):
    workspace = Workspace()
    workspace.show(run)
    return workspace.comparable()


def test_shipped_runs_have_their_answers_with_them(follow):
    for one in [run for run in bundled_runs() if run.report["model"] in BUNDLED]:
        [(dense, pruned)] = task_pairs(one, Results())
        assert dense.items == pruned.items == LIMIT and dense.chance == 0.25
        assert (
            list(measure_tasks(follow, one, [CLOZE], LIMIT, Results())) == []
        )  # no model is loaded, none pruned again
        tokens, texts = compared(one, Results()), written(one, Results())
        assert SAMPLE.startswith(tokens.first + "".join(change.text for change in tokens.changes))
        assert texts.prompt == PROMPT and [lane.title for lane in texts.lanes] == ["Dense", run_label(one)]
        assert {lane.tokens for lane in texts.lanes} == {TOKENS}


@pytest.mark.parametrize(
    ("create", "name", "seen"), [(create_tokens_panel, "tokens", "view"), (create_writing_panel, "writing", "lanes")]
)
def test_a_section_is_filled_when_it_opens(run, create, name, seen):
    with gr.Blocks():
        panel = create(gr.State(None))
    workspace = Workspace()
    workspace.show(run)
    closed = {part.elem_id: value for part, value in panel.render(workspace).items()}
    assert closed[f"{name}-{seen}"] == "" and "facts" not in closed[f"{name}-reading"]
    workspace.section = name
    opened = {part.elem_id: value for part, value in panel.render(workspace).items()}
    assert "EGGS-PTP+" in opened["writing-lanes"] if name == "writing" else "data-change" in opened["tokens-view"]
    assert "20" in opened[f"{name}-reading"].partition('class="facts"')[2]


def test_shipped_answers_are_small():
    files = [file for name in MEASURED for file in (ASSETS / "runs").glob(f"*/{name}")]
    assert files and sum(file.stat().st_size for file in files) < 300_000


@pytest.mark.slow
def test_shipped_answers_are_those_that_are_measured(follow):
    one = next(run for run in bundled_runs() if run.report["method"] == "wanda")
    for place, side in enumerate(("dense", "pruned")):
        *_, scores = task_steps(one, side, (CLOZE,), LIMIT)
        assert scores[CLOZE].right == task_pairs(one, Results())[0][place].right
    *_, (_, changes) = follow(token_work(one, SAMPLE))
    kept = compared(one, Results()).changes
    assert [change.change for change in changes] == pytest.approx([change.change for change in kept], abs=1e-3)


def test_what_a_visitor_asked_is_kept_with_a_stored_run(follow, store, make_run, micro):
    one, mine = make_run("wanda"), Results()
    store.put(one)
    list(compare_text(follow, one, "Four score and seven", visitors_keeper(one, mine, brought=True)))
    list(write(follow, [one], "Fellow", 4, 0.0, 3, visitors_keeper(one, mine, brought=True)))
    [tokens], [texts] = store.measured(one, "tokens"), store.measured(one, "writing")
    assert tokens.asked == {"text": "Four score and seven"} and texts.asked["seed"] == 3
    assert [change.text for change in compared(one).changes] == tokens.found["texts"][1:]
    assert written(one).lanes[0].tokens == 4 and written(one).seed == 3


def test_on_a_public_server_a_visitors_text_and_prompt_are_theirs_alone(follow, store, make_run, micro, monkeypatch):
    one, mine, others = make_run("magnitude"), Results(), Results()
    store.put(one)
    monkeypatch.setattr("components.state.measured.hosted", lambda: True)
    list(compare_text(follow, one, "My own secret text", visitors_keeper(one, mine, brought=True)))
    list(write(follow, [one], "My own prompt", 4, 0.0, 0, visitors_keeper(one, mine, brought=True)))
    assert compared(one, mine).text == "a text of one’s own" and written(one, mine).prompt == "My own prompt"
    assert compared(one, others) is None and written(one, others) is None
    assert store.measured(one, "tokens") == store.measured(one, "writing") == []
    list(compare_text(follow, one, SAMPLE, visitors_keeper(one, mine, brought=False)))
    assert compared(one, others).text == SAMPLE_NAME and len(store.measured(one, "tokens")) == 1


def test_what_runs_on_a_visitors_text_write_is_brought_too(make_run):
    one, other = make_run("wanda"), make_run("magnitude")
    assert not brought(PROMPT, [one, other]) and brought("My own prompt", [one])
    config = {**other.report["config"], "calibration": "text:secret"}
    theirs = Run({**other.report, "config": config}, other.packed_masks)  # a run of its own: others use that one too
    assert brought(PROMPT, [one, theirs])


def test_tasks_are_measured_once_for_both_models(follow, run, results):
    dense, pruned = task_pairs(run, results)[-1]
    assert dense.items == pruned.items == 20 and dense.acc >= pruned.acc - 0.2
    assert list(measure_tasks(follow, run, ["cloze"], 20, results)) == []  # known: no progress, no work
    assert f'data-dense="{dense.acc:.6f}" data-pruned="{pruned.acc:.6f}"' in task_table([(dense, pruned)], HOSTILE)
    assert "<img" not in task_table([(dense, pruned)], HOSTILE)


def test_another_text_is_evaluated_in_windows_of_the_runs_length(follow, run, models, results):
    row = text_rows(run, results)[-1]
    windows = evaluation_windows(models.dense.tokenizer, TEXT, 64, run.report["evaluation"]["window"])
    assert row["windows"] == len(windows)
    assert row["pruned"]["perplexity"] == pytest.approx(evaluate(models.zeros, windows).perplexity, rel=1e-6)
    table = texts_table(run, text_rows(run, results))
    assert "<img" not in table and "${" not in table
    list(measure_text(follow, run, TEXT, results))
    assert [r["text"] for r in text_rows(run, results)] == [HOSTILE]
    with pytest.raises(EggsError, match="fewer than one window"):
        list(measure_text(follow, run, Text("short", "Four score"), results))


def test_the_parts_of_a_run_are_measured_and_kept(follow, run, results):
    windows, blocks, parts = breakdown(run, results)
    assert windows == 2 and len(blocks) == max(layer["block"] for layer in run.report["layers"]) + 1
    assert {p.kind for p in parts} == {"block", "projection"}
    assert list(measure_breakdown(follow, run, 2, results)) == []
    assert breakdown(run, Results()) is None


def test_lanes_begin_with_the_dense_text_and_mark_where_they_part(follow, run, models):
    kept: list = []
    *_, (said, html) = write(follow, runs_of(run)[:3], PROMPT, 24, 0.0, 0, kept.append)
    lanes = re.findall(r'data-writer="([^"]*)" data-tokens="(\d+)" data-parted="(\d*)"', html)
    assert lanes[0] == ("Dense", "24", "") and len(lanes) == 4 and {tokens for _, tokens, _ in lanes} == {"24"}
    texts = re.findall(r'<span class="generated">(.*?)</span>', html)
    plain = [re.sub(r"</?mark[^>]*>", "", text) for text in texts]
    for (_, _, parted), text, whole in zip(lanes, texts, plain, strict=True):
        assert bool(parted) == ("<mark" in text)
        if parted:
            same = text.partition("<mark")[0]
            assert plain[0].startswith(same) and whole != plain[0]
    assert "token" in said
    assert lanes_html([Lane(**lane) for lane in kept[0].found], PROMPT) == html


@pytest.mark.parametrize(
    ("prompt", "count", "sentence"), [(" ", 1, "few words"), ("a", 0, "Choose one"), ("a", 4, "Choose one")]
)
def test_writing_refuses_what_cannot_be_written(follow, run, prompt, count, sentence):
    with pytest.raises(EggsError, match=sentence):
        list(write(follow, (runs_of(run) * 4)[:count], prompt, 8, 0.0, 0, print))


def test_a_hostile_prompt_stays_text(follow, run):
    *_, (_, html) = write(follow, [run], HOSTILE, 4, 0.0, 0, print)
    assert "<img" not in html and "${" not in html


def test_the_report_holds_everything_and_needs_no_network(run, results):
    page, values = report_html(run, runs_of(run), results), json.loads(report_json(run, runs_of(run), results))
    assert values["report"] == json.loads(json.dumps(run.report))
    assert values["tasks"] and values["texts"] and values["breakdown"]["windows"] == 2
    assert len(values["methods"]) == len(runs_of(run)) - 1
    assert values["command"] in page.replace("&#x27;", "'")
    own = page.replace(plotly().text, "")  # plotly's maps name their makers' addresses
    assert not re.findall(r'(?:src|href)="(https?:[^"]*)"', own) and "<img src=x" not in own
    assert page.count('class="plotly-graph-div"') == 9


def test_the_command_line_repeats_the_configuration():
    config = PruneConfig.from_dict(first_run().report["config"])
    assert config.command_line() == (
        "python -m eggs_core prune --model tiny-llama --pattern 2:4 --method eggs-ptp-plus --seed 0 --out run"
    )
