"""Texts by a dataset's name: rows become one text, and everything that can fail is a sentence."""

import copy
import json

import httpx
import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

from eggs_core import hub
from eggs_core.assets import ASSETS
from eggs_core.config import make_config
from eggs_core.errors import EggsError
from eggs_core.runs.events import Finished
from eggs_core.runs.execute import execute
from eggs_core.text.datasets import PREFIX, Source, dataset_text
from eggs_core.text.sources import Text, bundled_text
from eggs_core.text.windows import tokenize


def write(folder, rows):
    (folder / "train.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return str(folder)


def test_rows_become_one_text(tmp_path):
    name = write(tmp_path, [{"id": "a", "text": "One."}, {"id": "b", "text": "  "}, {"id": "c", "text": " Two.\n"}])
    assert dataset_text(name).content == "One.\n\nTwo."


def test_the_only_column_of_strings_stands_in_and_is_named(tmp_path):
    name = write(tmp_path, [{"number": 1, "sentence": None}, {"number": 2, "sentence": "Three."}])
    assert dataset_text(name) == Text(f"{name}, column sentence", "Three.")


def test_no_column_is_guessed_among_several(tmp_path):
    name = write(tmp_path, [{"question": "Why?", "answer": "So.", "number": 1}])
    with pytest.raises(EggsError, match=r"has the columns question, answer; say which holds the text: .*#question\.$"):
        dataset_text(name)
    assert dataset_text(f"{name}#answer") == Text(f"{name}#answer", "So.")
    for column in ("number", "text"):
        with pytest.raises(EggsError, match=f"no column '{column}' of text, only question, answer, number"):
            dataset_text(f"{name}#{column}")


def test_a_split_can_be_named(tmp_path):
    name = write(tmp_path, [{"text": "Train."}])
    (tmp_path / "test.jsonl").write_text('{"text": "Test."}')
    assert dataset_text(name).content == dataset_text(f"{name}::train").content == "Train."
    assert dataset_text(f"{name}::test#text").content == "Test."
    with pytest.raises(EggsError, match=r"could not be read: Bad split: dev\. Available splits:"):
        dataset_text(f"{name}::dev")


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("owner/name", Source("owner/name", None, "train", None)),
        ("owner/name:part", Source("owner/name", "part", "train", None)),
        ("owner/name:part:test", Source("owner/name", "part", "test", None)),
        ("owner/name::test#the text", Source("owner/name", None, "test", "the text")),
    ],
)
def test_names(name, source):
    assert Source.of(name) == source


def test_a_public_server_looks_at_no_folder(monkeypatch):
    monkeypatch.setenv("EGGS_HOSTED", "1")
    monkeypatch.chdir(ASSETS)
    for name in ("corpus", "corpus::train", "corpus#text"):
        with pytest.raises(EggsError, match="opens no files by path"):
            dataset_text(name)


CHAT = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "We the people."}]
SHARED = [{"from": "human", "value": "Who?"}, {"from": "gpt", "value": "We the people."}]
TEMPLATE = "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
SPOKEN = "[user] Who?\n[assistant] We the people.\n"


@pytest.mark.parametrize("row", [{"id": "a", "messages": CHAT}, {"conversations": SHARED, "source": "b"}])
def test_conversations_go_through_the_models_template(tmp_path, bundled, row):
    text = dataset_text(write(tmp_path, [row, row]))
    assert text.chats
    assert [json.loads(line) for line in text.content.splitlines()] == [CHAT, CHAT]
    tokenizer = copy.deepcopy(bundled().tokenizer)
    with pytest.raises(EggsError, match="holds conversations, and this model's tokenizer has no chat template"):
        tokenize(tokenizer, text)
    tokenizer.chat_template = TEMPLATE
    assert tokenizer.decode(tokenize(tokenizer, text)) == SPOKEN * 2
    tokenizer.chat_template = "{{ raise_exception('no system role') }}"
    with pytest.raises(EggsError, match=r"cannot write conversation 1 of .* \(no system role\)"):
        tokenize(tokenizer, text)


def test_whole_conversations_only(tmp_path):
    line = json.dumps(CHAT)
    text = dataset_text(write(tmp_path, [{"messages": CHAT}] * 9), 2 * len(line) + 10)
    assert text.content == f"{line}\n{line}"


@pytest.mark.parametrize("row", [{"messages": [{"content": "a"}]}, {"messages": [{"role": "user"}]}])
def test_what_is_no_conversation(tmp_path, row):
    with pytest.raises(EggsError, match="holds no conversations: a message has no role or no content"):
        dataset_text(write(tmp_path, [row]))


def test_no_more_is_read_than_asked_for(tmp_path):
    name = write(tmp_path, [{"text": f"{i:09}"} for i in range(1000)])
    assert dataset_text(name, 100).content == "\n\n".join(f"{i:09}" for i in range(10))[:100]


def test_no_column_of_text(tmp_path):
    with pytest.raises(EggsError, match="no column of text, only id"):
        dataset_text(write(tmp_path, [{"id": 1}]))


def test_damaged_rows(tmp_path):
    (tmp_path / "train.jsonl").write_text('{"text": "a"}\n{"tex')
    with pytest.raises(EggsError, match="could not be read"):
        dataset_text(str(tmp_path))


@pytest.mark.parametrize("name", ["", "a b", "../../etc", "/etc/passwd", "a/b/c", "<b>", "a:b:c", "x" * 50 + "\0"])
def test_names_that_are_none(name):
    with pytest.raises(EggsError):
        dataset_text(name)


def _answer(kind):
    request = httpx.Request("GET", "https://hub.example/datasets/owner/name")
    return kind("no", response=httpx.Response(404, request=request))


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (_answer(GatedRepoError), "is gated"),
        (_answer(RepositoryNotFoundError), "no public dataset 'owner/name'"),
        (httpx.ConnectError("Name or service not known"), "cannot be reached"),
    ],
    ids=["gated", "unknown", "offline"],
)
def test_the_hub_says_no(monkeypatch, error, sentence):
    def refuse(self, path, timeout):
        raise error

    monkeypatch.setattr(hub, "reachable", lambda: True)
    monkeypatch.setattr(HfApi, "dataset_info", refuse)
    with pytest.raises(EggsError, match=sentence):
        dataset_text("owner/name:config")


def test_a_run_calibrates_on_a_dataset_and_says_so(tmp_path):
    name = write(tmp_path, [{"text": part} for part in bundled_text("heldout").content.split("\n\n")[:400]])
    options = {"calibration_windows": 2, "calibration_length": 32, "evaluation_windows": 2, "evaluation_length": 32}
    by_name = make_config("tiny-llama", "2:4", "wanda", calibration=PREFIX + name, **options)
    run = next(e.run for e in execute(by_name) if isinstance(e, Finished))
    assert run.report["calibration"]["text"] == name
    assert run.report["calibration"]["sha256"] == dataset_text(name).sha256
    bundled = next(
        e.run for e in execute(make_config("tiny-llama", "2:4", "wanda", **options)) if isinstance(e, Finished)
    )
    assert run.report["key"] != bundled.report["key"]
    assert any(
        run.report["layers"][i]["retained_score"] != layer["retained_score"]
        for i, layer in enumerate(bundled.report["layers"])
    )
