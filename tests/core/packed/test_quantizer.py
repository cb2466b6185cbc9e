"""Packed folders in plain transformers: the same logits, no dense weights, and sentences for what cannot be."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from transformers import AutoModelForCausalLM, pipeline

from eggs_core.errors import EggsError
from eggs_core.models.experts import open_experts
from eggs_core.models.loading import load
from eggs_core.packed.file import FILE, load_packed, packed_layers
from eggs_core.packed.grid import Grid
from eggs_core.packed.hf_folder import save_hf
from eggs_core.packed.model import pack_model
from eggs_core.packed.writing import save_packed
from eggs_core.pattern import NMPattern
from eggs_core.runs.export import export_run
from eggs_core.runs.run import load_run

pytestmark = pytest.mark.usefixtures("one_thread")
ROOT = Path(__file__).resolve().parents[3]
P24 = NMPattern(2, 4)
IDS = torch.arange(20)[None]
CONFIG, INDEX = "config.json", "model.safetensors.index.json"


def packed(model: nn.Module, permuted: bool = True, bits: int | None = None) -> nn.Module:
    """A model whose decoder layers are packed at random, in place, their values rounded to `bits` bits."""
    masks, orders, grids = {}, {}, {}
    for name, layer in open_experts(model).named_modules():
        if not hasattr(layer, "weight") or layer.weight.dim() != 2 or "embed" in name or name.endswith("head"):
            continue
        if not isinstance(layer, nn.Linear) and type(layer).__name__ not in ("Conv1D", "ExpertLinear"):
            continue
        rows, columns = layer.weight.shape if type(layer).__name__ != "Conv1D" else layer.weight.T.shape
        order = torch.randperm(columns) if permuted else torch.arange(columns)
        kept = torch.zeros(rows, columns // 4, 4).scatter_(2, torch.rand(rows, columns // 4, 4).topk(2).indices, 1)
        masks[name] = torch.empty(rows, columns, dtype=torch.bool)
        masks[name][:, order] = kept.bool().view(rows, columns)
        if permuted:
            orders[name] = order
        if bits is not None:
            grid = Grid.ones((rows, columns), P24, bits)
            grids[name] = Grid(bits, None if grid.scales is None else 0.02 * torch.rand(grid.scales.shape).half())
    return pack_model(model, masks, P24, orders, grids)


@torch.no_grad()
def logits(model: nn.Module) -> torch.Tensor:
    return model(IDS, use_cache=False).logits


def held(model: nn.Module) -> int:
    """Bytes of all weights of a model."""
    return sum({t.data_ptr(): t.nbytes for t in model.state_dict().values()}.values())


@pytest.fixture
def folder(tiny_model, tmp_path) -> Path:
    return save_packed(packed(tiny_model("llama")), tmp_path / "packed").parent


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", ["llama", "qwen3", "gemma2", "gpt2", "opt", "mixtral", "gpt_oss"])
def test_transformers_computes_as_the_packed_file_does(kind, dtype, tiny_model, tmp_path):
    model = tiny_model(kind).to(dtype)
    dense = held(model)
    packed(model)
    place = save_packed(model, tmp_path / "packed").parent
    own = load_packed(place)
    opened, said = AutoModelForCausalLM.from_pretrained(place, output_loading_info=True)
    assert not any(said.values()), said
    assert dict(packed_layers(opened)).keys() == dict(packed_layers(own)).keys() != set()
    assert torch.equal(logits(opened), logits(own))
    assert held(opened) == held(own) < dense
    assert not opened.training and not any(p.requires_grad for p in opened.parameters())


@pytest.mark.parametrize("bits", [16, 8, 4, 3])
@pytest.mark.parametrize("kind", ["llama", "gpt2", "opt", "mixtral"])
def test_rounded_values_are_opened_by_transformers_too(kind, bits, tiny_model, tmp_path):
    model = packed(tiny_model(kind), bits=bits)
    place = save_packed(model, tmp_path / "packed").parent
    said = json.loads((place / CONFIG).read_text())["quantization_config"]
    assert said == {"quant_method": "eggs-nm", "format_version": "2" if bits == 16 else "3"}
    own, opened = load_packed(place), AutoModelForCausalLM.from_pretrained(place)
    assert torch.equal(logits(opened), logits(own)) and torch.allclose(logits(own), logits(model), atol=1e-5)
    assert held(opened) == held(own) == held(model)
    half = AutoModelForCausalLM.from_pretrained(place, dtype=torch.bfloat16)
    assert logits(half).dtype == torch.bfloat16
    assert torch.allclose(logits(half).float(), logits(own), atol=0.05)


@pytest.mark.parametrize("tied", [True, False])
def test_heads_that_are_tied_stay_so(tied, tiny_model, tmp_path):
    place = save_packed(packed(tiny_model("llama", tie_word_embeddings=tied)), tmp_path / "packed").parent
    opened = AutoModelForCausalLM.from_pretrained(place)
    assert (opened.lm_head.weight is opened.model.embed_tokens.weight) == tied
    assert torch.equal(logits(opened), logits(load_packed(place)))


def test_another_dtype_can_be_asked_for(folder):
    half = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    assert {t.dtype for t in half.state_dict().values()} == {torch.bfloat16, torch.int32}
    assert logits(half).dtype == torch.bfloat16
    assert torch.allclose(logits(half).float(), logits(load_packed(folder)), atol=0.05)


@pytest.mark.parametrize("first", ["import eggs_core", "import transformers", "import transformers.quantizers"])
def test_it_is_enough_to_import_eggs_core_before_or_after(first, folder, tmp_path):
    code = (
        f"import sys; {first}; import eggs_core\n"
        f"assert 'torch' not in sys.modules or {first!r} != 'import eggs_core'\n"
        "from transformers import AutoModelForCausalLM\n"
        "model = AutoModelForCausalLM.from_pretrained(sys.argv[1])\n"
        "print(type(model.model.layers[0].mlp.up_proj).__name__)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "PackedLinear", done.stderr


def test_pipelines_write_and_the_evaluation_harness_measures(tmp_path):
    """With a run's own export, tokenizer and all."""
    list(export_run(load_run(ROOT / "assets" / "runs" / "tiny-llama-2of4-wanda"), "packed", tmp_path / "packed"))
    place, prompt = str(tmp_path / "packed"), "My fellow citizens"
    written = pipeline("text-generation", place)(prompt, max_new_tokens=8, do_sample=False)[0]["generated_text"]
    own, tokenizer = load_packed(place), load("tiny-llama").tokenizer
    ids = tokenizer(prompt, return_tensors="pt").input_ids
    assert written == tokenizer.decode(own.generate(ids, max_new_tokens=8, do_sample=False, pad_token_id=0)[0])
    harness = pytest.importorskip("lm_eval.models.huggingface")
    instance = pytest.importorskip("lm_eval.api.instance").Instance
    model = harness.HFLM(pretrained=place, device="cpu", batch_size=1)
    assert dict(packed_layers(model.model))
    request = instance("loglikelihood", {}, (prompt, ", the state of the Union"), 0)
    (likelihood, _), *_ = model.loglikelihood([request], disable_tqdm=True)
    whole = tokenizer(prompt + ", the state of the Union", return_tensors="pt").input_ids
    with torch.no_grad():
        losses = own(whole).logits[0, :-1].log_softmax(-1).gather(1, whole[0, 1:, None])[ids.shape[1] - 1 :]
    assert likelihood == pytest.approx(losses.sum().item(), rel=1e-4)


def changed(file: Path, **metadata: str) -> None:
    """Write a packed file anew with other metadata."""
    with safe_open(file, framework="pt") as opened:
        tensors = {k: opened.get_tensor(k).clone() for k in opened.keys()}  # noqa: SIM118 - not a dict
        before = opened.metadata()
    save_file(tensors, file, metadata=before | metadata)


def test_a_newer_or_broken_format_gets_a_sentence(folder):
    def refused(said: str) -> None:
        with pytest.raises(EggsError, match=said):
            AutoModelForCausalLM.from_pretrained(folder)

    config, data = json.loads((folder / CONFIG).read_text()), (folder / FILE).read_bytes()
    for version in ("4", 1, None, ["1"]):
        newer = config | {"quantization_config": {"quant_method": "eggs-nm", "format_version": version, "more": 1}}
        (folder / CONFIG).write_text(json.dumps(newer))
        if version == 1:
            assert dict(packed_layers(AutoModelForCausalLM.from_pretrained(folder)))
        else:
            refused("packed format .*; this version of eggs_core reads 1, 2, 3")
    (folder / CONFIG).write_text(json.dumps(config))
    changed(folder / FILE, format_version="4")
    refused("has packed format '4'; this version reads 1, 2, 3")
    changed(folder / FILE, format_version="1", layers="[]")
    refused("do not match their checksum")
    (folder / FILE).write_bytes(data[:-1000])
    refused("is damaged or no safetensors file")
    (folder / FILE).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    refused("do not match their checksum")
    (folder / FILE).write_bytes(data)
    (folder / CONFIG).write_text(json.dumps(config | {"num_hidden_layers": 3}))
    refused(r"is damaged: tensor model.layers.2.* is missing")
    (folder / CONFIG).write_text(json.dumps(config | {"num_hidden_layers": 1}))
    refused("description of layer model.layers.1.* does not fit its model")


def test_what_is_no_packed_file_gets_a_sentence(folder, tiny_model, tmp_path):
    dense = save_hf(tiny_model("llama"), None, tmp_path / "dense")
    said = json.loads((folder / CONFIG).read_text())
    (dense / CONFIG).write_text(json.dumps(said))
    with pytest.raises(EggsError, match="no packed N:M model"):
        AutoModelForCausalLM.from_pretrained(dense)
    index = json.loads((folder / INDEX).read_text())
    (folder / "other.safetensors").write_bytes((folder / FILE).read_bytes())
    index["weight_map"][next(iter(index["weight_map"]))] = "other.safetensors"
    (folder / INDEX).write_text(json.dumps(index))
    with pytest.raises(EggsError, match="A packed model is one file"):
        AutoModelForCausalLM.from_pretrained(folder)


def test_saving_it_again_says_how(folder, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(folder)
    with pytest.raises(EggsError, match=r"eggs_core\.save_packed.*eggs_core\.save_hf"):
        model.save_pretrained(tmp_path / "again")
    assert not (tmp_path / "again").exists()
    again = save_packed(model, tmp_path / "packed again").parent
    zeros = save_hf(model, None, tmp_path / "zeros")
    assert str(tmp_path).encode() not in (again / FILE).read_bytes()
    assert (again / CONFIG).read_text() == (folder / CONFIG).read_text()
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(again)), logits(model))
    assert torch.allclose(logits(AutoModelForCausalLM.from_pretrained(zeros)), logits(model), atol=1e-5)


def test_a_disk_that_weights_are_to_be_offloaded_to_gets_a_sentence(folder, tmp_path):
    places = {"model.embed_tokens": "cpu", "model.layers": "disk", "model.norm": "cpu", "lm_head": "cpu"}
    with pytest.raises(EggsError, match="not offloaded to disk"):
        AutoModelForCausalLM.from_pretrained(
            folder, device_map={**places, "model.rotary_emb": "cpu"}, offload_folder=tmp_path / "off"
        )
    assert torch.equal(
        logits(AutoModelForCausalLM.from_pretrained(folder, device_map="cpu")), logits(load_packed(folder))
    )


@pytest.mark.gpu
def test_on_a_gpu_it_computes_and_says_how(folder, caplog):
    model = AutoModelForCausalLM.from_pretrained(folder, device_map="cuda")
    assert "multiplied as such on the CPU alone" in caplog.text
    with torch.no_grad():
        found = model(IDS.cuda()).logits.cpu()
    assert torch.allclose(found, logits(load_packed(folder)), atol=1e-2)


def test_a_folder_of_another_model_keeps_its_configuration(folder, tiny_model, tmp_path):
    dense = save_hf(tiny_model("llama"), None, tmp_path / "dense")
    before = (dense / CONFIG).read_bytes()
    expected = logits(AutoModelForCausalLM.from_pretrained(dense))
    save_packed(load_packed(folder), dense)
    assert (dense / CONFIG).read_bytes() == before and not (dense / INDEX).exists()
    assert torch.equal(logits(load_packed(dense)), logits(load_packed(folder)))
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(dense)), expected)
    save_packed(load_packed(folder), folder)
    assert dict(packed_layers(AutoModelForCausalLM.from_pretrained(folder)))


def test_a_folder_of_before_opens_as_before(folder):
    """It held the packed file and a tokenizer, and nothing for transformers."""
    expected = logits(load_packed(folder))
    for name in (CONFIG, INDEX, "generation_config.json"):
        (folder / name).unlink()
    assert torch.equal(logits(load_packed(folder)), expected)


def test_it_is_no_model_to_prune(folder):
    with pytest.raises(EggsError, match=r"are quantised \(eggs-nm\)"):
        load(str(folder))
