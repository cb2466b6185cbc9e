"""Zero-shot tasks: against plain log-likelihoods, against lm-eval's own command line, and bad input."""

import copy
import json
import math
import subprocess
import sys

import pytest
import torch
from bos_model import BOS, make_bos_model

from eggs_core.assets import ASSETS
from eggs_core.errors import EggsError
from eggs_core.evaluation.intervals import paired_difference
from eggs_core.evaluation.task_file import CLOZE, task_file, write_task
from eggs_core.evaluation.zeroshot import MISSING, TaskScore, difference, zero_shot
from eggs_core.models.loading import load
from eggs_core.packed.hf_folder import save_hf
from eggs_core.progress import Progress

pytestmark = pytest.mark.timeout(900)
ITEMS = 24


@pytest.fixture(scope="module")
def tiny():
    return load("tiny-llama")


def answer(tiny, tasks, limit=ITEMS) -> list[TaskScore]:
    return [e for e in zero_shot(tiny.model, tiny.tokenizer, tasks, limit) if isinstance(e, TaskScore)]


def write(path, items):
    path.write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")
    return str(path)


def test_accuracy_equals_plain_log_likelihoods(tiny):
    [score] = answer(tiny, [CLOZE])
    items = [json.loads(line) for line in task_file(CLOZE).read_text().splitlines()[:ITEMS]]
    right, right_norm = [], []
    for item in items:
        start = tiny.tokenizer(item["query"]).input_ids
        sums = []
        for choice in item["choices"]:
            ids = torch.tensor([tiny.tokenizer(f"{item['query']} {choice}").input_ids])
            with torch.no_grad():
                logs = tiny.model(input_ids=ids).logits[0, :-1].log_softmax(-1)
            sums.append(logs.gather(1, ids[0, 1:, None])[len(start) - 1 :].sum().item())
        right.append(int(sums.index(max(sums)) == item["gold"]))
        per_byte = [s / len(c) for s, c in zip(sums, item["choices"], strict=True)]
        right_norm.append(int(per_byte.index(max(per_byte)) == item["gold"]))
    assert (score.right, score.right_norm) == (right, right_norm)
    assert score.acc == pytest.approx(sum(right) / ITEMS) and score.chance == 0.25
    assert score.acc_stderr == pytest.approx(math.sqrt(score.acc * (1 - score.acc) / (ITEMS - 1)))
    assert score.acc > 2 * score.chance  # the bundled model has learnt something that the task can see


@pytest.mark.slow
def test_the_exported_folder_gives_the_same_accuracy_on_lm_evals_command_line(tiny, tmp_path):
    [score] = answer(tiny, [CLOZE])
    save_hf(tiny.model, tiny.tokenizer, tmp_path / "model")
    (tmp_path / "tasks").mkdir()
    name = write_task(task_file(CLOZE), tmp_path / "tasks")
    command = [
        sys.executable,
        "-m",
        "lm_eval",
        "--model",
        "hf",
        "--model_args",
        f"pretrained={tmp_path / 'model'},dtype=float32",
        "--tasks",
        name,
        "--include_path",
        str(tmp_path / "tasks"),
        "--limit",
        str(ITEMS),
        "--device",
        "cpu",
        "--output_path",
        str(tmp_path / "out"),
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=800)
    [file] = (tmp_path / "out").rglob("results*.json")
    figures = json.loads(file.read_text())["results"][name]
    assert figures["acc,none"] == pytest.approx(score.acc, abs=1e-9)
    assert figures["acc_norm,none"] == pytest.approx(score.acc_norm, abs=1e-9)


def test_contexts_that_share_a_continuation_are_scored_by_it(tiny, tmp_path):
    item = {
        "context_options": ["The Congress of the United", "The zebra of the kitchen"],
        "continuation": "States",
        "gold": 0,
    }
    [score] = answer(tiny, [write(tmp_path / "Two ways.jsonl", [item, item | {"gold": 1}])])
    assert (score.right, score.acc, score.acc_norm) == ([1, 0], 0.5, None)


def test_progress_is_told_and_closing_ends_the_work(tiny):
    steps = zero_shot(tiny.model, tiny.tokenizer, [CLOZE], None)
    seen = [next(steps) for _ in range(3)]
    assert all(isinstance(step, Progress) for step in seen)
    steps.close()  # returns, so the thread behind it has ended
    with pytest.raises(StopIteration):
        next(steps)


@pytest.mark.parametrize(
    ("tasks", "limit", "sentence"),
    [
        ([], 5, "at least one task"),
        ([CLOZE], 0, "At least two items"),
        ([CLOZE], 1, "At least two items"),
        (["there_is_no_such_task"], 5, "knows no task"),
        (["/nowhere/none.jsonl"], 5, "cannot be read"),
    ],
)
def test_bad_requests_are_one_sentence(tiny, tasks, limit, sentence):
    with pytest.raises(EggsError, match=sentence):
        list(zero_shot(tiny.model, tiny.tokenizer, tasks, limit))


@pytest.mark.parametrize(
    "line",
    [
        "no JSON",
        "[1, 2]",
        '{"query": "a"}',
        '{"query": "a", "choices": ["b"], "gold": 0}',
        '{"query": "a", "choices": ["b", "c"], "gold": 2}',
        '{"query": "a", "choices": 7, "gold": 0}',
    ],
)
def test_a_bad_line_is_named(tmp_path, line):
    good = json.dumps({"query": "a", "choices": ["b", "c"], "gold": 1})
    file = tmp_path / "mine.jsonl"
    file.write_text(f"{good}\n{line}\n")
    with pytest.raises(EggsError, match=r"Line 2 of mine\.jsonl"):
        write_task(file, tmp_path)


def test_a_file_of_one_item_is_refused_before_the_work(tiny, tmp_path):
    file = tmp_path / "mine.jsonl"
    file.write_text(json.dumps({"query": "a", "choices": ["b", "c"], "gold": 1}))
    with pytest.raises(EggsError, match=r"mine\.jsonl has one item"):
        list(zero_shot(tiny.model, tiny.tokenizer, [str(file)], None))


def test_without_lm_eval_it_is_said_how_to_get_it(tiny, monkeypatch):
    monkeypatch.setattr("eggs_core.evaluation.zeroshot.installed", lambda: False)
    with pytest.raises(EggsError, match=r"requirements-eval\.txt") as caught:
        list(zero_shot(tiny.model, tiny.tokenizer, [CLOZE], 5))
    assert str(caught.value) == MISSING


def test_the_bundled_task_is_even_and_comes_from_its_script():
    items = [json.loads(line) for line in (ASSETS / "tasks" / "cloze.jsonl").read_text().splitlines()]
    assert len(items) >= 500
    golds = [item["gold"] for item in items]
    assert max(golds.count(g) for g in range(4)) - min(golds.count(g) for g in range(4)) <= 1
    heldout = (ASSETS / "corpus" / "heldout.txt").read_text()
    for item in items[:50]:
        assert f"{item['query']} {item['choices'][item['gold']]}" in " ".join(heldout.split())
        assert len({word[-2:] for word in item["choices"]}) == 1 and len(set(item["choices"])) == 4


def test_the_difference_is_paired():
    def score(right):
        return TaskScore("t", 4, 0.25, 0, 0, None, None, right, [])

    found = difference(score([1, 1, 0, 1]), score([1, 0, 0, 0]))
    assert found.value == -0.5 and found.low <= -0.5 <= found.high <= 0
    same = difference(score([1, 0, 1, 0]), score([1, 0, 1, 0]))
    assert (same.value, same.low, same.high) == (0, 0, 0)
    with pytest.raises(EggsError):
        paired_difference([1], [1, 0])


def test_a_tokenizer_without_special_tokens_works(tiny):
    plain = copy.deepcopy(tiny.tokenizer)
    for name in ("pad_token", "eos_token", "bos_token", "unk_token"):
        setattr(plain, name, None)
    scores = [e for e in zero_shot(tiny.model, plain, [CLOZE], 8) if isinstance(e, TaskScore)]
    assert scores[0].right == answer(tiny, [CLOZE], 8)[0].right
    assert plain.pad_token is None  # the visitor's tokenizer is not changed


def test_output_that_is_not_finite_is_an_error(tiny):
    broken = copy.deepcopy(tiny.model)
    with torch.no_grad():
        next(broken.parameters())[:] = float("nan")
    with pytest.raises(EggsError, match="NaN"):
        list(zero_shot(broken, tiny.tokenizer, [CLOZE], 4))


@pytest.mark.parametrize("begins", [True, False])
def test_every_choice_is_read_behind_one_bos_if_the_model_has_one(tmp_path, bundled, begins):
    dense = load(make_bos_model(tmp_path / "with-bos"), torch.device("cpu")) if begins else bundled()
    seen: list[torch.Tensor] = []

    def begins_with(_module, args, options):
        if "cache" not in options:  # else it goes on from what begins with it
            seen.extend(args[0])

    hook = dense.model.register_forward_pre_hook(begins_with, with_kwargs=True)
    try:
        list(zero_shot(dense.model, dense.tokenizer, [CLOZE], 2))
    finally:
        hook.remove()
    assert seen
    assert {(row[0].item() == BOS, row[1].item() == BOS) for row in seen} == {(begins, False)}
