"""Whatever cannot be loaded is one sentence that says why; what can be, comes in the asked dtype, ready to evaluate."""

import json
import shutil
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from gguf_files import write_gguf
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertModel,
    GPT2Config,
    GPT2Model,
    PreTrainedModel,
    T5Config,
    T5ForConditionalGeneration,
)

from eggs_core.assets import ASSETS
from eggs_core.errors import EggsError
from eggs_core.models.loading import load, outline
from eggs_core.models.opening_errors import explain
from eggs_core.models.source import BUNDLED

CPU = torch.device("cpu")
LLAMA = ASSETS / "models" / "tiny-llama"


def refused(name) -> str:
    """The message of the EggsError that loading raises: one line of readable length, without traceback."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(EggsError) as caught:
            load(str(name), CPU)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 400
    assert "Traceback" not in message
    return message


@pytest.fixture
def folder(tmp_path):
    """A copy of a bundled model that may be damaged."""
    return shutil.copytree(LLAMA, tmp_path / "model")


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_models(bundled, name):
    loaded = bundled(name)
    assert loaded.name == name
    assert not loaded.model.training
    assert {p.dtype for p in loaded.model.parameters()} == {torch.float32}
    assert 3_000_000 < loaded.parameters < 4_000_000
    assert loaded.model.get_output_embeddings().weight is loaded.model.get_input_embeddings().weight
    for path in (ASSETS / "models" / name).iterdir():
        assert path.stat().st_size < 10_000_000, "larger files need LFS on Spaces"


def test_a_dtype_may_be_asked_for():
    loaded = load("tiny-opt", CPU, torch.bfloat16)
    assert {p.dtype for p in loaded.model.parameters()} == {torch.bfloat16}


def test_a_local_folder_is_the_same_model(bundled, folder):
    loaded = load(f"  {folder} ", CPU)
    for mine, theirs in zip(loaded.model.parameters(), bundled().model.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_windows_longer_than_the_context_are_refused(bundled):
    bundled().check_window(256)
    with pytest.raises(EggsError, match="tiny-llama reads at most 256 tokens at once"):
        bundled().check_window(257)


@pytest.mark.parametrize("name", ["", "   ", "\0", "x" * 501])
def test_no_name(name):
    assert "Choose a model: tiny-llama, tiny-opt" in refused(name)


@pytest.mark.parametrize("name", ["nobody/nothing", "tiny-lama", "gpt2"])
def test_what_is_not_here_offers_the_bundled_models(name):
    """Tests run with HF_HUB_OFFLINE=1, so a Hub id is a Hub that cannot be reached."""
    message = refused(name)
    assert "cannot be reached" in message
    assert name in message
    assert "tiny-llama and tiny-opt need no download" in message


@pytest.mark.parametrize("name", ["no such id!", "a b", "owner/na me", "-x-/--", "x..y"])
def test_what_can_be_no_id(name):
    assert "tiny-llama" in refused(name)


@pytest.mark.parametrize("name", ["./nowhere", "/no/such/folder", "~/no-such-folder-here", "a/b/c", "C:\\models"])
def test_a_folder_that_is_not_there(name):
    assert "There is no folder" in refused(name)


def test_an_empty_folder(tmp_path):
    assert "holds no config.json" in refused(tmp_path)


def test_a_folder_without_weights(folder):
    (folder / "model.safetensors").unlink()
    assert "holds no .safetensors weights" in refused(folder)


def test_pickled_weights_are_never_opened(folder):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"cposix\nsystem\n(S'false'\ntR.")
    message = refused(folder)
    assert "pickled" in message
    assert "safetensors" in message


@pytest.mark.parametrize("content", [b"", b"garbage", b"\xff" * 9, b"\x10\x00\x00\x00\x00\x00\x00\x00{"])
def test_damaged_weights(folder, content):
    (folder / "model.safetensors").write_bytes(content)
    assert "damaged or only partly downloaded" in refused(folder)


def test_truncated_weights(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:100_000])
    assert "damaged or only partly downloaded" in refused(folder)


def test_a_missing_shard_is_named(folder):
    index = {"metadata": {}, "weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "lacks the weight file model-00001-of-00002.safetensors" in refused(folder)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weight_map": []}'])
def test_a_damaged_index(folder, text):
    (folder / "model.safetensors.index.json").write_text(text)
    assert "damaged model.safetensors.index.json" in refused(folder)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not a valid JSON file"),
        ("{", "not a valid JSON file"),
        ("{}", "Unrecognized model"),
        ('{"model_type": "no-such"}', "does not recognize"),
        ('{"model_type": "llama", "hidden_size": "x"}', "hidden_size"),
    ],
)
def test_a_damaged_config(folder, text, says):
    (folder / "config.json").write_text(text)
    assert says in refused(folder)


def test_a_missing_tokenizer(folder):
    for path in folder.glob("tokenizer*"):
        path.unlink()
    assert "no readable tokenizer" in refused(folder)


SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "vocab_size": 99}


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: BertForMaskedLM(BertConfig(**SMALL)), "BertForMaskedLM"),
        (lambda: BertModel(BertConfig(**SMALL)), "BertModel"),
        (lambda: GPT2Model(GPT2Config(n_embd=32, n_layer=2, n_head=2, vocab_size=99)), "GPT2Model"),
        (lambda: T5ForConditionalGeneration(T5Config(d_model=32, d_ff=64, num_layers=1, num_heads=2)), "'t5'"),
    ],
)
def test_models_that_do_not_predict_the_next_token(tmp_path, build, says):
    build().save_pretrained(tmp_path)
    message = refused(tmp_path)
    assert says in message
    assert "causal language model" in message


def test_a_folder_with_code_of_its_own_is_not_executed(folder, tmp_path):
    witness = tmp_path / "executed"
    (folder / "own.py").write_text(f"open({str(witness)!r}, 'w')\n")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.C", "AutoModelForCausalLM": "own.M"}}
    (folder / "config.json").write_text(json.dumps(config))
    refused(folder)
    assert not witness.exists()


def test_a_gguf_file_is_the_same_model(tmp_path):
    dense = load("tiny-llama")
    write_gguf(tmp_path / "tiny.gguf", dense)
    again = load(str(tmp_path / "tiny.gguf"))
    ids = dense.tokenizer("The state of the Union is strong.", return_tensors="pt").input_ids
    assert torch.equal(again.tokenizer("The state of the Union is strong.", return_tensors="pt").input_ids, ids)
    with torch.no_grad():
        assert torch.allclose(again.model(ids).logits, dense.model(ids).logits, atol=1e-3)


def test_gguf_files(tmp_path):
    assert "no GGUF file" in refused(tmp_path / "missing.gguf")
    for content in (b"", b"PK\x03\x04 something else"):
        (tmp_path / "bad.gguf").write_bytes(content)
        assert "bad.gguf is not a GGUF file" in refused(tmp_path / "bad.gguf")
    (tmp_path / "cut.gguf").write_bytes(b"GGUF\x03\x00\x00\x00")
    assert "damaged or only partly downloaded" in refused(tmp_path / "cut.gguf")


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (MemoryError(), "does not fit into memory"),
        (OSError(28, "No space left"), "disk is full"),
        (ConnectionError("reset"), "cannot be reached"),
        (ValueError("needs trust_remote_code=True"), "never executed"),
        (ValueError("first line\nsecond line"), "could not be opened: first line"),
        (KeyError(), "KeyError"),
    ],
)
def test_explanations(error, says):
    assert says in str(explain("m", error))


def test_models_opened_in_several_threads_at_once_are_those_opened_alone():
    ids = torch.arange(24)[None]
    opened = {"tiny-llama": load, "tiny-opt": load, "outline": lambda name: outline("tiny-llama")}
    alone = {name: opened[name](name).model for name in opened}
    tied, expected = PreTrainedModel.tie_weights, {name: alone[name](ids).logits for name in BUNDLED}
    with ThreadPoolExecutor(len(opened)) as threads:
        for _ in range(6):
            together = dict(zip(opened, threads.map(lambda name: opened[name](name).model, opened), strict=True))
            for name in BUNDLED:
                assert torch.equal(together[name](ids).logits, expected[name])
    assert PreTrainedModel.tie_weights is tied
