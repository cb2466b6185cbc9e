"""Damaged and hostile model folders: refused in one sentence, the same in memory and block by block, and quickly."""

import copy
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from gguf_files import write_gguf
from harness import ROOT, damaged_bytes, damaged_value, fuzz, only_sentences
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging
from typer.testing import CliRunner

from eggs_core.cli.command_line import app
from eggs_core.errors import EggsError
from eggs_core.models.checkpoint import Checkpoint
from eggs_core.models.loading import load

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")
INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
SECONDS = 2.0  # a refusal takes at most
SMALL_JSON = ("config.json", "generation_config.json", "tokenizer_config.json", "tokenizer.json")


@pytest.fixture(scope="module", autouse=True)
def quiet() -> Iterator[None]:
    """Transformers tells at length what it finds in damaged folders."""
    before = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    yield
    logging.set_verbosity(before)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    """Two blocks of width 16 over 64 words in two shards: the least that has every part of a model's folder."""
    sizes = {
        "vocab_size": 64,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 8,
        "max_position_embeddings": 64,
        "tie_word_embeddings": True,
    }
    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("models") / "tiny"
    model = AutoModelForCausalLM.from_config(CONFIG_MAPPING["llama"](**sizes)).half()
    model.save_pretrained(folder, max_shard_size="8KB")
    words = Tokenizer(WordLevel({f"w{i}": i for i in range(63)} | {"?": 63}, unk_token="?"))
    words.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="?").save_pretrained(folder)
    assert len(list(folder.glob("*.safetensors"))) == 2
    return folder


@pytest.fixture
def folder(tiny, tmp_path) -> Path:
    """A copy that may be damaged."""
    return shutil.copytree(tiny, tmp_path / "model")


@pytest.fixture
def single(folder) -> Path:
    """The same with all weights in one file."""
    save_file(stored(folder), folder / SINGLE, metadata={"format": "pt"})
    for file in (*folder.glob("model-*"), folder / INDEX):
        file.unlink()
    return folder


def stored(folder: Path) -> dict[str, torch.Tensor]:
    """Every tensor in a folder's files."""
    return {k: t for file in sorted(folder.glob("*.safetensors")) for k, t in load_file(file).items()}


def rewrite(path: Path, **changes) -> None:
    """Change entries of a JSON object in a file."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def refused(folder: Path | str) -> str:
    """The one sentence that both ways of opening a folder give, each within SECONDS."""
    said = []
    for way in (load, Checkpoint):
        started = time.process_time()
        with pytest.raises(EggsError) as caught:
            way(str(folder), CPU)
        assert time.process_time() - started < SECONDS, way
        said.append(str(caught.value))
    assert said[0] == said[1]
    assert "\n" not in said[0] and len(said[0]) < 600
    return said[0]


def shards(folder: Path) -> tuple[dict[str, str], list[str]]:
    """The index's map and the names of the shards."""
    said = json.loads((folder / INDEX).read_text())["weight_map"]
    return said, sorted(set(said.values()))


def without(path: Path, *names: str) -> None:
    """Take tensors out of a file."""
    save_file({k: t for k, t in load_file(path).items() if k not in names}, path, metadata={"format": "pt"})


def test_a_tensor_in_neither_index_nor_file(folder):
    said, _ = shards(folder)
    name = "model.layers.1.mlp.up_proj.weight"
    without(folder / said[name], name)
    rewrite(folder / INDEX, weight_map={k: f for k, f in said.items() if k != name})
    assert f"holds no weight {name}" in refused(folder)


def test_a_tensor_that_only_the_file_has_is_not_read_past_the_index(folder):
    said, _ = shards(folder)
    name = "model.norm.weight"
    rewrite(folder / INDEX, weight_map={k: f for k, f in said.items() if k != name})
    assert f"holds no weight {name}" in refused(folder)


def test_a_tensor_that_only_the_index_has(folder):
    said, _ = shards(folder)
    name = "model.layers.0.mlp.up_proj.weight"
    without(folder / said[name], name)
    message = refused(folder)
    assert "index of" in message and f"does not hold {name}" in message


def test_an_index_of_nothing(folder):
    rewrite(folder / INDEX, weight_map={})
    assert f"damaged {INDEX}" in refused(folder)


def test_an_index_that_maps_all_to_one_shard(folder):
    said, files = shards(folder)
    rewrite(folder / INDEX, weight_map=dict.fromkeys(said, files[0]))
    assert f"{files[0]} does not hold" in refused(folder)


def test_a_tensor_in_two_files_is_not_taken_from_the_wrong_one(folder):
    """The index says which file counts; transformers would take the last."""
    said, files = shards(folder)
    name = next(k for k, f in said.items() if f == files[0])
    last = load_file(folder / files[1])
    save_file({**last, name: torch.zeros_like(stored(folder)[name])}, folder / files[1], metadata={"format": "pt"})
    assert f"{name} is in both {files[0]} and {files[1]}" in refused(folder)


@pytest.mark.parametrize(
    "entry", [5, None, "", ".", "..", "../x.safetensors", "/etc/passwd", "a/b.safetensors", "a\\b", "\0", ["x"], {}]
)
def test_an_index_entry_that_is_no_file_name(folder, entry):
    said, _ = shards(folder)
    rewrite(folder / INDEX, weight_map={**said, next(iter(said)): entry})
    assert f"damaged {INDEX}" in refused(folder)


def test_an_index_entry_never_leads_out_of_the_folder(folder):
    said, files = shards(folder)
    outside = folder.parent / "outside.safetensors"
    shutil.move(folder / files[1], outside)
    moved = {k: "../outside.safetensors" if f == files[1] else f for k, f in said.items()}
    rewrite(folder / INDEX, weight_map=moved)
    assert f"damaged {INDEX}" in refused(folder)


def test_links_of_the_hubs_cache_keep_working(folder, tmp_path):
    snapshot, blobs = tmp_path / "hub" / "snapshots" / "abc", tmp_path / "hub" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for number, file in enumerate(sorted(folder.iterdir())):
        shutil.move(file, blobs / str(number))
        (snapshot / file.name).symlink_to(Path("..") / ".." / "blobs" / str(number))
    assert load(str(snapshot), CPU).parameters == Checkpoint(str(snapshot), CPU).parameters


def test_a_bit_of_the_header_that_loses_two_tensors(single):
    path = single / SINGLE
    data = path.read_bytes()
    broken = data.replace(b"model.layers.1.", b"model.layers.9.", 2)
    assert broken != data and len(broken) == len(data)
    path.write_bytes(broken)
    assert "blocks" in refused(single) or "holds no weight" in refused(single)


def test_more_blocks_in_the_config_than_in_the_file(single):
    rewrite(single / "config.json", num_hidden_layers=4)
    assert "holds no weight model.layers.2." in refused(single)


def test_fewer_blocks_in_the_config_than_in_the_file(single):
    """It would load, and compute with half of the model."""
    rewrite(single / "config.json", num_hidden_layers=1)
    message = refused(single)
    assert "2 blocks" in message and "config.json says 1" in message


@pytest.mark.parametrize("count", [0, -1, 200_000, 10**9, 10**400])
def test_an_absurd_number_of_blocks(single, count):
    rewrite(single / "config.json", num_hidden_layers=count)
    assert "num_hidden_layers" in refused(single)


@pytest.mark.parametrize(
    "changes",
    [
        {"vocab_size": -1},
        {"vocab_size": 0},
        {"vocab_size": 10**9},
        {"hidden_size": -16},
        {"hidden_size": 0},
        {"hidden_size": 10**7},
        {"hidden_size": "16"},
        {"intermediate_size": 10**12},
        {"num_attention_heads": 0},
        {"num_attention_heads": 10**9},
        {"num_key_value_heads": -1},
        {"head_dim": 10**9},
        {"num_hidden_layers": "2"},
        {"num_hidden_layers": None},
        {"num_hidden_layers": [2]},
        {"architectures": 5},
        {"model_type": ["llama"]},
        {"rope_parameters": {"rope_type": "no-such"}},
        {"hidden_act": "no-such"},
        {"dtype": "int8"},
        {"dtype": 5},
        {"transformers_weights": "other.safetensors"},
        {"quantization_config": {"quant_method": "fp8"}},
        {"quantization_config": {"quant_method": "gptq", "bits": 4}},
    ],
    ids=str,
)
def test_a_config_that_does_not_fit(single, changes):
    rewrite(single / "config.json", **changes)
    for way in (load, Checkpoint):
        started = time.process_time()
        with pytest.raises(EggsError):
            way(str(single), CPU)
        assert time.process_time() - started < SECONDS


NO_OBJECTS = {
    "list": b"[1]",
    "number": b"5",
    "empty": b"",
    "binary": b"\0\xff\xfe" * 50,
    "deep list": b"[" * 100_000,
    "deep object": b'{"a":' * 100_000,
    "BOM": b"\xef\xbb\xbf{}",
    "NaN": b'{"a": NaN}',
    "surrogate": b'{"a": "\\ud800"}',
}
NO_WEIGHTS = {"empty": b"", "ones": b"\xff" * 9, "cut": b"\x10\0\0\0\0\0\0\0{", "no tensors": b"\x02\0\0\0\0\0\0\0{}"}


@pytest.mark.parametrize("changes", [{"architectures": ["x\n" * 5000]}, {"model_type": "x\n" * 5000}], ids=list)
def test_words_of_a_file_are_quoted_in_brief(single, changes):
    rewrite(single / "config.json", **changes)
    refused(single)


@pytest.mark.parametrize("file", [*SMALL_JSON, INDEX])
@pytest.mark.parametrize("content", NO_OBJECTS.values(), ids=NO_OBJECTS)
def test_json_that_is_none(folder, file, content):
    (folder / file).write_bytes(content)
    assert file in refused(folder)


@pytest.mark.parametrize("file", [SINGLE, "model-00002-of-00002.safetensors"])
@pytest.mark.parametrize("content", NO_WEIGHTS.values(), ids=NO_WEIGHTS)
def test_weights_that_are_none(request, tiny, tmp_path, file, content):
    folder = request.getfixturevalue("single" if file == SINGLE else "folder")
    (folder / file).write_bytes(content)
    refused(folder)


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2, torch.int8, torch.int32])
def test_weights_that_cannot_be_pruned_are_refused_by_their_type(single, dtype):
    tensors = stored(single)
    name = "model.layers.0.mlp.up_proj.weight"
    save_file({**tensors, name: tensors[name].to(dtype)}, single / SINGLE, metadata={"format": "pt"})
    message = refused(single)
    assert f"stores {name} as" in message and "only fp32, fp16 and bf16 weights can be pruned" in message


def test_an_adapter_is_no_model(single):
    (single / "adapter_config.json").write_text('{"base_model_name_or_path": "other"}')
    assert "adapter" in refused(single)


LONG = ["x" * 499, "a/" + "x" * 490, "/" + "x" * 490, "~" + "x" * 400, "./" + "x" * 300, "~nobody-here/model"]


@pytest.mark.parametrize("name", LONG, ids=range(len(LONG)))
def test_names_that_no_disk_takes(name, tmp_path):
    for arguments in (["prune", "--model", name, "--out", str(tmp_path / "out")], ["evaluate", "--model", name]):
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 2, result.exception
        assert "Traceback" not in result.output


def test_token_ids_beyond_the_embedding_are_found_before_the_work(single, small_folder, tmp_path):
    for file in small_folder.glob("tokenizer*"):  # of 4,096 tokens
        shutil.copy(file, single)
    few = ["--calibration-length", "32", "--evaluation-length", "32"]
    for arguments in (
        ["prune", "--model", str(single), "--out", str(tmp_path / "a"), *few],
        ["prune", "--stream", "--model", str(single), "--out", str(tmp_path / "b"), *few],
        ["evaluate", "--model", str(single), "--evaluation-length", "32"],
    ):
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 2, result.exception
        assert "knows 64 tokens" in result.stderr and "Calibrating" not in result.stderr


@pytest.mark.parametrize(("blocks", "says"), [(7, "holds no weight model.layers.6."), (10**6, "num_hidden_layers")])
def test_a_gguf_file_of_fewer_blocks_than_it_says(bundled, tmp_path, blocks, says):
    whole = bundled("tiny-llama").model
    config = copy.deepcopy(whole.config)
    config.num_hidden_layers = blocks
    parts = SimpleNamespace(config=config, model=whole.model)
    write_gguf(tmp_path / "lacking.gguf", SimpleNamespace(model=parts, tokenizer=bundled("tiny-llama").tokenizer))
    with pytest.raises(EggsError, match=says):
        load(str(tmp_path / "lacking.gguf"), CPU)


def test_a_model_of_the_hub_is_checked_and_its_files_are_hashed(folder, tmp_path):
    """The Hub's cache, offline: a shard that lacks a tensor is refused there too, and the whole model has a hash."""
    hub = tmp_path / "hub" / "models--owner--tiny"
    (hub / "refs").mkdir(parents=True)
    (hub / "refs" / "main").write_text("abc")
    snapshot = hub / "snapshots" / "abc"
    (hub / "blobs").mkdir()
    snapshot.mkdir(parents=True)
    for file in folder.iterdir():
        shutil.copy(file, hub / "blobs" / file.name)
        (snapshot / file.name).symlink_to(Path("../../blobs") / file.name)
    name = "model.layers.1.mlp.up_proj.weight"
    shard = shards(folder)[0][name]
    lacking = load_file(folder / shard)
    del lacking[name]
    save_file(lacking, tmp_path / "lacking", metadata={"format": "pt"})
    code = (
        "import shutil, sys, torch\nfrom eggs_core.errors import EggsError\nfrom eggs_core.models.loading import load\n"
        "print(load('owner/tiny', torch.device('cpu')).fingerprint)\n"
        "shutil.copyfile(sys.argv[1], sys.argv[2])\n"
        "try:\n    load('owner/tiny', torch.device('cpu'))\nexcept EggsError as error:\n    print(error)"
    )
    environment = os.environ | {"HF_HUB_CACHE": str(tmp_path / "hub"), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, str(tmp_path / "lacking"), str(hub / "blobs" / shard)]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()
    assert said[0] == load(str(folder), CPU).fingerprint
    assert f"does not hold {name}" in said[1] and "owner/tiny" in said[1]


def same_as_stored(loaded, folder: Path) -> None:
    """Every weight of a model is the file's, so that none was drawn at random."""
    state, tensors = loaded.model.state_dict(), stored(folder)
    for name, tensor in state.items():
        key = "model.embed_tokens.weight" if name == "lm_head.weight" and name not in tensors else name
        assert torch.equal(tensor, tensors[key].to(tensor.dtype)), name


def open_both(folder: Path) -> None:
    """Open a damaged folder both ways; what opens holds the files' values, and both open or none."""
    with only_sentences():
        same_as_stored(load(str(folder), CPU), folder)
    with only_sentences():
        checkpoint = Checkpoint(str(folder), CPU)
        with checkpoint.load_outer(head=True), checkpoint.load_block(0):
            assert all(not t.is_meta for t in checkpoint.blocks[0].state_dict().values())


@pytest.mark.parametrize("files", [["config.json"], ["generation_config.json", "tokenizer_config.json"]], ids=len)
@fuzz
@given(data=st.data())
def test_fuzzed_json(tiny, tmp_path_factory, files, data):
    file = data.draw(st.sampled_from(files))
    folder = scratch(tiny, tmp_path_factory)
    value = data.draw(damaged_value(json.loads((tiny / file).read_text())))
    (folder / file).write_text(json.dumps(value))
    open_both(folder)


@fuzz
@given(data=st.data())
def test_fuzzed_bytes_of_the_config(tiny, tmp_path_factory, data):
    folder = scratch(tiny, tmp_path_factory)
    (folder / "config.json").write_bytes(data.draw(damaged_bytes((tiny / "config.json").read_bytes())))
    open_both(folder)


@fuzz
@given(data=st.data())
def test_a_fuzzed_index(tiny, tmp_path_factory, data):
    folder = scratch(tiny, tmp_path_factory)
    whole = json.loads((tiny / INDEX).read_text())
    (folder / INDEX).write_text(json.dumps(data.draw(damaged_value(whole))))
    open_both(folder)


@fuzz
@given(data=st.data())
def test_a_fuzzed_header(tiny, tmp_path_factory, data):
    folder = scratch(tiny, tmp_path_factory)
    file = shards(tiny)[1][1]
    whole = (tiny / file).read_bytes()
    length = 8 + int.from_bytes(whole[:8], "little")
    (folder / file).unlink()
    (folder / file).write_bytes(data.draw(damaged_bytes(whole[:length])) + whole[length:])
    open_both(folder)


_SCRATCH: dict[Path, Path] = {}


def scratch(tiny: Path, factory) -> Path:
    """A folder that is as `tiny` again, for the next case."""
    place = _SCRATCH.setdefault(tiny, factory.mktemp("fuzz") / "model")
    place.mkdir(exist_ok=True)
    for file in tiny.iterdir():
        target = place / file.name
        target.unlink(missing_ok=True)
        shutil.copyfile(file, target)
    return place


def test_what_is_whole_opens(tiny):
    with safe_open(tiny / shards(tiny)[1][0], framework="pt") as opened:
        assert opened.metadata()["format"] == "pt"
    open_both(tiny)
    load(str(tiny), CPU)
    Checkpoint(str(tiny), CPU)
