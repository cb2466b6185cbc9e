"""Texts by a dataset's name: rows become one text, and everything that can fail is a sentence."""

import json

import httpx
import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

from eggs_core.config import make_config
from eggs_core.errors import EggsError
from eggs_core.runs.events import Finished
from eggs_core.runs.execute import execute
from eggs_core.text.datasets import PREFIX, dataset_text
from eggs_core.text.sources import bundled_text


def write(folder, rows):
    (folder / "train.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return str(folder)


def test_rows_become_one_text(tmp_path):
    name = write(tmp_path, [{"id": "a", "text": "One."}, {"id": "b", "text": "  "}, {"id": "c", "text": " Two.\n"}])
    assert dataset_text(name).content == "One.\n\nTwo."


def test_the_first_column_of_strings_stands_in(tmp_path):
    assert dataset_text(write(tmp_path, [{"number": 1, "sentence": "Three."}])).content == "Three."


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
