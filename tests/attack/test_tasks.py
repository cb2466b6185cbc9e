"""Task files that somebody else wrote: each line is refused by its number, or lm-eval gets exactly what it says."""

import json
import time
from pathlib import Path

import pytest
from harness import damaged_bytes, damaged_value, fuzz, only_sentences
from hypothesis import given
from hypothesis import strategies as st

from eggs_core.errors import EggsError
from eggs_core.evaluation.task_file import CLOZE, task_file, write_task
from eggs_core.evaluation.zeroshot import TaskScore, zero_shot
from eggs_core.models.loading import load

ITEM = {"query": "We the", "choices": ["people", "zebra"], "gold": 0}
ITEMS = [
    ITEM,
    {"query": "The United", "choices": ["States", "kitchen", "2024"], "gold": 1, "more": [1]},
    {"context_options": ["The United", "The kitchen"], "continuation": "States", "gold": 0},
]
FORMS = ({"query", "choices", "gold"}, {"context_options", "continuation", "gold"})


def lines(items: list) -> str:
    return "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items)


def written(file: Path) -> list[dict]:
    """What lm-eval is given for a file."""
    name = write_task(file, file.parent)
    task = json.loads((file.parent / f"{name}.yaml").read_text())
    data = Path(task["dataset_kwargs"]["data_files"]["test"]).read_bytes()
    return [json.loads(line) for line in data.splitlines()]


def check(file: Path) -> None:
    items = written(file)
    assert items and all(set(item) in FORMS for item in items)
    for item in items:
        options = item.get("choices") or item["context_options"]
        texts = [*options, item.get("query", ""), item.get("continuation", "")]
        assert isinstance(options, list) and all(isinstance(x, str) for x in texts)
        assert type(item["gold"]) is int and 0 <= item["gold"] < len(options) >= 2


@pytest.fixture
def file(tmp_path) -> Path:
    return tmp_path / "Mine.json"


@fuzz
@given(data=st.data())
def test_items_of_junk(tmp_path_factory, data):
    file = tmp_path_factory.getbasetemp() / "junk.json"
    form = data.draw(st.sampled_from([ITEMS[:2], ITEMS[2:]]))
    items = data.draw(damaged_value(form))
    file.write_text(lines(items if isinstance(items, list) else [items]), encoding="utf-8")
    with only_sentences():
        check(file)


@fuzz
@given(data=st.data())
def test_damaged_bytes(tmp_path_factory, data):
    file = tmp_path_factory.getbasetemp() / "bytes.json"
    file.write_bytes(data.draw(damaged_bytes(lines(ITEMS[:2]).encode())))
    with only_sentences():
        check(file)


@pytest.mark.parametrize(
    "change",
    [
        {"gold": 0.5},
        {"gold": 0.0},
        {"gold": True},
        {"gold": "0"},
        {"gold": -1},
        {"gold": 2},
        {"gold": None},
        {"choices": "bc"},
        {"choices": {"a": 1, "b": 2}},
        {"choices": ["a", 1]},
        {"choices": ["a", "a"]},
        {"choices": ["a", ""]},
        {"choices": ["a", " "]},
        {"choices": ["a"]},
        {"query": 7},
        {"query": None},
        {"query": " \n"},
        {"query": "\ud800"},
    ],
    ids=str,
)
def test_a_line_of_another_kind_is_named(file, change):
    file.write_text(f"{json.dumps(ITEM)}\n\n{json.dumps(ITEM | change)}\n")
    with pytest.raises(EggsError, match=r"Line 3 of Mine\.json"):
        write_task(file, file.parent)


@pytest.mark.parametrize(
    "line", ["[" * 100_000, '{"query":' * 100_000, '{"gold": 1e999}', '{"gold": NaN}', "7", "null"]
)
def test_a_line_that_is_no_object(file, line):
    file.write_text(f"{json.dumps(ITEM)}\n{line}\n")
    started = time.process_time()
    with pytest.raises(EggsError, match=r"Line 2 of Mine\.json"):
        write_task(file, file.parent)
    assert time.process_time() - started < 1


@pytest.mark.parametrize("path", ["/dev/zero.json", "/", "a" * 5000 + ".json", "a\0b.json"], ids=lambda p: p[:9])
def test_a_task_file_that_is_none(path, tmp_path):
    with pytest.raises(EggsError, match="cannot be read"):
        write_task(Path(path), tmp_path)


def test_a_file_without_end(tmp_path):
    (tmp_path / "endless.json").symlink_to("/dev/zero")
    with pytest.raises(EggsError, match="larger than"):
        write_task(tmp_path / "endless.json", tmp_path)


HARD = [
    ITEM | {"query": "We\u2028the\u2029\x85\x0b\x0c\x1c"},  # where str.splitlines would cut
    ITEM | {"query": "1789"},  # digits alone, which a template would turn into a number
    ITEM | {"query": "{{ 7 * 7 }} {% raw %}"},
    ITEM | {"query": "[1, 2]", "choices": ["{{gold}}", "[0]"]},
    ITEM | {"query": ""},
    ITEM | {"choices": ["people", "zebra", "zebra"]},  # as in ARC-easy
]


def test_line_separators_inside_a_text_and_a_byte_order_mark_are_no_fault(file):
    file.write_bytes(b"\xef\xbb\xbf" + lines(HARD).replace("\n", "\r\n").encode())
    assert written(file) == HARD


def test_lm_eval_gets_hard_texts_as_they_are(file):
    file.write_text(lines(HARD), encoding="utf-8")
    tiny = load("tiny-llama")
    [score] = [e for e in zero_shot(tiny.model, tiny.tokenizer, [str(file)]) if isinstance(e, TaskScore)]
    assert score.items == len(HARD)
    assert score.chance == pytest.approx(sum(1 / len(item["choices"]) for item in HARD) / len(HARD))


def test_a_choice_longer_than_the_model_reads_is_a_sentence(file):
    file.write_text(lines([ITEM, ITEM | {"choices": ["people", "zebra " * 2000]}]), encoding="utf-8")
    tiny = load("tiny-llama")
    with pytest.raises(EggsError, match="lm-eval cannot answer the items of mine"):
        list(zero_shot(tiny.model, tiny.tokenizer, [str(file)]))


def test_the_bundled_task_is_read_whole(tmp_path):
    whole = task_file(CLOZE)
    items = [json.loads(line) for line in whole.read_text(encoding="utf-8").split("\n") if line]
    (tmp_path / "copy.jsonl").write_bytes(whole.read_bytes())
    assert [item["query"] for item in written(tmp_path / "copy.jsonl")] == [item["query"] for item in items]
