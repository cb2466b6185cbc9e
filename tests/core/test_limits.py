"""A public server's limits: what is refused, in which words, and that nothing is downloaded to find out."""

from types import SimpleNamespace

import pytest
from huggingface_hub.errors import OfflineModeIsEnabled
from transformers import AutoConfig

from eggs_core import hub
from eggs_core import limits as hosting
from eggs_core.config import make_config
from eggs_core.errors import EggsError
from eggs_core.evaluation.zeroshot import check_tasks
from eggs_core.hub import check_model
from eggs_core.limits import check_config, check_items, check_name, check_text, hosted, limits, sentence
from eggs_core.models.loading import load
from eggs_core.text.datasets import dataset_text
from eggs_core.text.sources import Text
from eggs_core.text.windows import tokenize

GB = 1_000_000_000


@pytest.fixture
def public(monkeypatch):
    monkeypatch.setenv(hosting.HOSTED, "1")
    hub.hub_bytes.cache_clear()


def test_hosted_mode_is_on_by_itself_on_spaces_and_as_the_variable_says(monkeypatch):
    monkeypatch.delenv(hosting.HOSTED, raising=False)
    monkeypatch.delenv("SPACE_ID", raising=False)
    assert not hosted() and limits() is hosting.OWN_MACHINE
    monkeypatch.setenv("SPACE_ID", "owner/space")
    assert hosted() and limits() is hosting.PUBLIC
    monkeypatch.setenv(hosting.HOSTED, "0")
    assert not hosted()
    monkeypatch.delenv("SPACE_ID")
    monkeypatch.setenv(hosting.HOSTED, "1")
    assert hosted()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"calibration_windows": 257, "calibration_length": 16}, "at most 256 windows of 2048 tokens for calibration"),
        ({"evaluation_length": 4096}, "for evaluation"),
        ({"calibration_windows": 256, "calibration_length": 2048}, "524,288 for calibration"),
    ],
)
def test_large_configurations_are_refused_only_there(public, monkeypatch, options, said):
    config = make_config("tiny-llama", "2:4", **options)
    with pytest.raises(EggsError, match=said):
        check_config(config)
    check_config(make_config("tiny-llama", "16:32"))
    monkeypatch.setenv(hosting.HOSTED, "0")
    check_config(config)


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "~/model", "./x", "../../x", "a/b/c", "a\\b", "model.gguf", "tasks.jsonl", "assets", ".env"]
)
def test_paths_are_refused_only_there(public, monkeypatch, name):
    with pytest.raises(EggsError, match="opens no files by path") as caught:
        check_name(name)
    assert name not in str(caught.value)
    monkeypatch.setenv(hosting.HOSTED, "0")
    check_name(name)


@pytest.mark.parametrize("name", ["gpt2", "HuggingFaceTB/SmolLM2-135M", "Qwen/Qwen2.5-0.5B"])
def test_hub_ids_are_no_paths(public, name):
    check_name(name)


def test_texts_and_items_have_a_limit(public):
    check_text("x" * 500_000)
    with pytest.raises(EggsError, match="500,001 characters"):
        check_text("x" * 500_001)
    check_items(500)
    for items in (None, 501):
        with pytest.raises(EggsError, match="at most 500 items"):
            check_items(items)


def metadata(**sizes):
    """What the Hub says of a repository with these files, and how often it was asked."""
    asked = []

    def info(name, *, files_metadata, timeout):
        assert files_metadata and timeout
        asked.append(name)
        files = [SimpleNamespace(rfilename=file.replace("__", "."), size=size) for file, size in sizes.items()]
        return SimpleNamespace(siblings=files)

    return info, asked


def test_a_large_model_is_refused_by_its_metadata(public, monkeypatch):
    small, asked = metadata(model__safetensors=GB, config__json=2000, pytorch_model__bin=90 * GB)
    check_model("owner/small", small)
    check_model("owner/small", small)
    assert asked == ["owner/small"]
    large, _ = metadata(**{f"model-{i}__safetensors": 2 * GB for i in range(3)})
    with pytest.raises(EggsError, match=r"owner/large are 6\.0 GB, and .* at most 4 GB"):
        check_model("owner/large", large)
    monkeypatch.setenv(hub.MODEL_GB, "7")
    check_model("owner/large", large)
    monkeypatch.setenv(hosting.HOSTED, "0")
    check_model("owner/other", lambda *_, **__: pytest.fail("the Hub was asked on a machine of one's own"))


def test_without_the_hub_only_what_is_on_disk_is_taken(public, monkeypatch, tmp_path):
    def offline(*_, **__):
        raise OfflineModeIsEnabled("offline")

    with pytest.raises(EggsError, match="cannot be reached"):
        check_model("owner/model", offline)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(bytes(1000))
    monkeypatch.setattr(hub, "try_to_load_from_cache", lambda name, file: str(tmp_path / file))
    check_model("owner/model", offline)
    assert hub.hub_bytes("owner/model", offline) == 1002


def test_a_sentence_names_no_secret_and_no_place_of_a_public_server(public, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "secret-token")
    error = EggsError("Token secret-token or hf_abcdefghij failed for owner/model: '/home/me/.cache/x.json' 2/4.")
    assert sentence(error) == "Token … or … failed for owner/model: '…' 2/4."
    assert "abc" not in sentence(KeyError("/home/me/abc")) and "KeyError" in sentence(KeyError("x"))
    monkeypatch.setenv(hosting.HOSTED, "0")
    assert sentence(error) == str(error)
    assert "abc" not in sentence(KeyError("/home/me/abc"))


def test_the_core_refuses_by_itself_whoever_asks(public, monkeypatch, tmp_path):
    monkeypatch.setattr(AutoConfig, "from_pretrained", lambda *_, **__: pytest.fail("the Hub was asked for files"))
    (tmp_path / "text.txt").write_text("We the people")
    for refused in (
        lambda: load("/etc"),
        lambda: load("assets/models/tiny-llama"),
        lambda: dataset_text(str(tmp_path)),
    ):
        with pytest.raises(EggsError, match="opens no files by path"):
            refused()
    for task in ("tasks.jsonl", "/etc/passwd", "humaneval"):
        with pytest.raises(EggsError, match="answers only cloze"):
            check_tasks([task], 10)
    with pytest.raises(EggsError, match="at most 500 items"):
        check_tasks(["cloze"], 501)
    with pytest.raises(EggsError, match="characters"):
        tokenize(None, Text("mine", "x" * 500_001))
    monkeypatch.setattr(hub, "hub_bytes", lambda name, info: 10 * GB)
    with pytest.raises(EggsError, match=r"owner/large are 10\.0 GB"):
        load("owner/large")
