"""Saved models: ordinary folders, packed files, and files that are damaged on purpose."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM
from transformers.pytorch_utils import Conv1D

from eggs_core.errors import EggsError
from eggs_core.packed.byte_counts import size_breakdown
from eggs_core.packed.file import FILE, load_packed, packed_info, packed_layers
from eggs_core.packed.grid import Grid
from eggs_core.packed.hf_folder import save_hf
from eggs_core.packed.linear import PackedLinear
from eggs_core.packed.model import pack_model
from eggs_core.packed.writing import save_packed
from eggs_core.pattern import NMPattern

ROOT = Path(__file__).resolve().parents[3]
P24, P14 = NMPattern(2, 4), NMPattern(1, 4)
IDS = torch.arange(20)[None]


def tiny(kind: str = "llama", dtype: torch.dtype = torch.float32, tied: bool = True) -> nn.Module:
    torch.manual_seed(0)
    if kind == "gpt2":
        config = GPT2Config(vocab_size=61, n_embd=32, n_layer=2, n_head=2, n_positions=64, bos_token_id=0)
        return GPT2LMHeadModel(config).to(dtype).eval()
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=61, tie_word_embeddings=tied, **sizes)).to(dtype).eval()


def prune(model: nn.Module, pattern: NMPattern, permuted: bool = False) -> tuple[dict, dict]:
    masks, permutations = {}, {}
    for name, layer in model.named_modules():
        if not isinstance(layer, nn.Linear | Conv1D) or name == "lm_head":
            continue
        weight = layer.weight.data if isinstance(layer, nn.Linear) else layer.weight.data.t()
        out, columns = weight.shape
        chosen = torch.rand(out, columns // pattern.group, pattern.group).topk(pattern.keep, -1).indices
        mask = torch.zeros(out, columns // pattern.group, pattern.group).scatter_(2, chosen, 1).bool().view(out, -1)
        if permuted:
            permutations[name] = torch.randperm(columns)
            mask = torch.empty_like(mask).index_copy_(1, permutations[name], mask)
        masks[name] = mask
        weight *= mask
    return masks, permutations


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    model = tiny()
    masks, permutations = prune(model, P24, permuted=True)
    return save_packed(
        model, tmp_path_factory.mktemp("packed") / "a.safetensors", masks=masks, pattern=P24, permutations=permutations
    )


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("pattern", "tied"), [(P24, True), (P14, False)], ids=str)
def test_packed_files_bring_the_model_back(tmp_path, kind, dtype, pattern, tied):
    model = tiny(kind, dtype, tied)
    masks, permutations = prune(model, pattern, permuted=tied)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    file = save_packed(
        model, tmp_path / "m", masks=masks, pattern=pattern, permutations=permutations, info={"by": "me"}
    )
    beside = {"config.json", "generation_config.json", "model.safetensors.index.json"}
    assert file == tmp_path / "m" / FILE and {f.name for f in file.parent.iterdir()} == {FILE, *beside}
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    with torch.no_grad():
        expected = model(IDS).logits
        pack_model(model, masks, pattern, permutations)
        for source in (tmp_path / "m", save_packed(model, tmp_path / "again.safetensors")):
            loaded = load_packed(source)
            assert dict(packed_layers(loaded)).keys() == masks.keys()
            assert not any(t.is_meta for t in [*loaded.parameters(), *loaded.buffers()])
            assert (loaded(IDS).logits - expected).abs().max() <= (1e-5 if dtype == torch.float32 else 0.05)
    if dtype != torch.float32:
        return  # .to(bfloat16) has rounded the rotary frequencies; load_packed, as from_pretrained, has them in fp32
    texts = [m.generate(IDS, max_new_tokens=8, do_sample=False, pad_token_id=0) for m in (model, loaded)]
    assert torch.equal(*texts)
    info = packed_info(tmp_path / "m")
    assert info["info"] == {"by": "me"} and set(info["layers"]) == set(masks) and info["bytes"] == file.stat().st_size


@pytest.mark.parametrize("bits", [16, 8, 4, 2])
@torch.no_grad()
def test_rounded_values_come_back_and_files_without_them_stay_as_they_were(tmp_path, bits):
    model = tiny()
    masks, permutations = prune(model, P24, permuted=True)
    given = {"masks": masks, "pattern": P24, "permutations": permutations}
    plain = save_packed(model, tmp_path / "plain.safetensors", **given)
    ones = {name: Grid.ones(tuple(mask.shape), P24, bits).scales for name, mask in masks.items()}
    grids = {name: Grid(bits, None if scales is None else scales / 50) for name, scales in ones.items()}
    file = save_packed(model, tmp_path / "a.safetensors", **given, grids=grids)
    loaded = load_packed(file)
    pack_model(model, masks, P24, permutations, grids)
    expected = model(IDS).logits
    assert torch.equal(loaded(IDS).logits, expected)
    assert torch.equal(load_packed(save_packed(loaded, tmp_path / "b.safetensors"))(IDS).logits, expected)
    layers = {name: layer for name, layer in packed_layers(loaded) if name in masks}
    assert {layer.bits for layer in layers.values()} == {bits}
    with safe_open(plain, framework="pt") as old, safe_open(file, framework="pt") as new:
        assert (old.metadata()["format_version"], new.metadata()["format_version"]) == ("1", "2" if bits == 16 else "3")
        assert not any("bits" in spec for spec in json.loads(old.metadata()["layers"]).values())
    counted = size_breakdown(loaded)
    assert counted == size_breakdown(tiny(), masks, P24, permutations, bits)
    assert counted["packed_pruned"] == sum(layer.nbytes for layer in layers.values())


@pytest.mark.parametrize("change", [{"bits": 5}, {"bits": 8}, {"dtype": "int8"}, {"dtype": None}])
def test_a_damaged_description_of_rounded_values_is_refused(tmp_path, change):
    model = tiny()
    masks, _ = prune(model, P24)
    grids = {name: Grid.ones(tuple(mask.shape), P24, 4) for name, mask in masks.items()}
    file = save_packed(model, tmp_path / "a.safetensors", masks=masks, pattern=P24, grids=grids)
    with safe_open(file, framework="pt") as opened:
        tensors = {k: opened.get_tensor(k).clone() for k in opened.keys()}  # noqa: SIM118 - not a dict
        metadata = opened.metadata()
    layers = json.loads(metadata["layers"])
    layers[next(iter(layers))] |= change
    del metadata["sha256"]
    save_file(tensors, file, metadata=metadata | {"layers": json.dumps(layers)})
    with pytest.raises(EggsError, match="is damaged"):
        load_packed(file)


def test_a_packed_file_is_as_small_as_its_tensors(tmp_path):
    model = tiny()
    masks, _ = prune(model, P24)
    pack_model(model, masks, P24)
    file = save_packed(model, tmp_path / "a.safetensors")
    with safe_open(file, framework="pt") as opened:
        stored = {k: opened.get_tensor(k).nbytes for k in opened.keys()}  # noqa: SIM118 - not a dict
    assert "lm_head.weight" not in stored or "model.embed_tokens.weight" not in stored  # tied: stored once
    packed = sum(v for k, v in stored.items() if k.endswith((".values", ".positions")))
    assert (
        packed == sum(m.nbytes for _, m in packed_layers(model)) == 0.53125 * sum(4 * m.numel() for m in masks.values())
    )


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_hugging_face_folder_holds_the_zeros(tmp_path, kind):
    model = tiny(kind)
    masks, permutations = prune(model, P24, permuted=True)
    with torch.no_grad():
        expected = model(IDS).logits
        save_hf(model, None, tmp_path / "dense")
        pack_model(model, masks, P24, permutations)
        save_hf(model, None, tmp_path / "packed")
        for folder in ("dense", "packed"):
            loaded = AutoModelForCausalLM.from_pretrained(tmp_path / folder)
            assert torch.equal(loaded(IDS).logits, expected)
            name = next(iter(masks))
            weight = loaded.get_submodule(name).weight
            assert not (weight.t() if kind == "gpt2" else weight)[~masks[name]].any()


def test_a_model_that_came_from_gguf_can_be_saved(tmp_path):
    from transformers.utils.quantization_config import GPTQConfig

    model = tiny()
    model.config.quantization_config = GPTQConfig(bits=4)  # what an import of a quantized file leaves behind
    model.hf_quantizer = object()
    save_hf(model, None, tmp_path)
    assert "quantization_config" not in json.loads((tmp_path / "config.json").read_text())
    assert torch.equal(AutoModelForCausalLM.from_pretrained(tmp_path)(IDS).logits, model(IDS).logits)
    masks, _ = prune(model, P24)
    assert torch.equal(
        load_packed(save_packed(model, tmp_path / "p.safetensors", masks=masks, pattern=P24))(IDS).logits.argmax(-1),
        model(IDS).logits.argmax(-1),
    )


def test_what_cannot_be_saved_says_why(tmp_path):
    model = tiny()
    masks, _ = prune(model, P24)
    with pytest.raises(EggsError, match="no packed layers"):
        save_packed(model, tmp_path)
    with pytest.raises(EggsError, match="needs the N:M pattern"):
        save_packed(model, tmp_path, masks=masks)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(EggsError, match="could not be written"):
        save_packed(model, tmp_path / "file" / "a.safetensors", masks=masks, pattern=P24)
    with pytest.raises(EggsError, match="could not be written"):
        save_hf(model, None, tmp_path / "file" / "a")
    assert [f.name for f in tmp_path.iterdir()] == ["file"]


def rewrite(source: Path, target: Path, tensors=(), drop=(), **metadata: str) -> Path:
    with safe_open(source, framework="pt") as opened:
        kept = {k: opened.get_tensor(k) for k in opened.keys()}  # noqa: SIM118 - not a dict
        words = {**opened.metadata(), **metadata}
    words.pop("sha256")  # as of another writer, so that what is wrong has to be found
    kept.update(tensors)
    save_file({k: v for k, v in kept.items() if k not in drop}, target, metadata=words)
    return target


Q = "model.layers.0.self_attn.q_proj"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": "gguf"}, "is no packed N:M model"),
        ({"format_version": "9"}, "format '9'; this version reads 1"),
        ({"config": "{"}, "its model cannot be built"),
        ({"config": "[]"}, "its model cannot be built"),
        ({"config": '{"model_type": "llama", "num_hidden_layers": 1000000000}'}, "claims 1000000000 layers"),
        ({"config": '{"model_type": "nothing"}'}, "its model cannot be built"),
        ({"layers": json.dumps({Q: {"in_features": 32}})}, "description of layer"),
        (
            {"layers": json.dumps({Q: {"in_features": 32, "out_features": 32, "pattern": "9:4", "conv1d": False}})},
            "description",
        ),
        (
            {"layers": json.dumps({Q: {"in_features": 64, "out_features": 32, "pattern": "2:4", "conv1d": False}})},
            "no linear",
        ),
        ({"layers": "{}"}, "no place for tensor|missing"),
        ({"generation_config": "nothing"}, "generation settings"),
        ({"tensors": {f"{Q}.values": torch.full((32, 16), float("nan"))}}, "NaN or infinite"),
        ({"tensors": {f"{Q}.values": torch.ones(32, 15)}}, "has shape"),
        ({"tensors": {f"{Q}.positions": torch.zeros(32, 1, dtype=torch.int32)}}, "its positions are not those"),
        ({"tensors": {f"{Q}.positions": torch.zeros(32, 1)}}, "is torch.float32, not torch.int32"),
        (
            {"tensors": {f"{Q}.permutation": torch.full((32,), 77, dtype=torch.int32)}},
            "each column number 0 to 31 once",
        ),
        ({"tensors": {"stranger": torch.ones(2)}}, "no place for tensor stranger"),
        ({"drop": ["model.norm.weight"]}, "tensor model.norm.weight is missing"),
        ({"drop": [f"{Q}.values"]}, "description of layer"),
    ],
)
def test_damaged_files_are_refused_with_the_reason(saved, tmp_path, change, words):
    with pytest.raises(EggsError, match=words):
        load_packed(rewrite(saved, tmp_path / "bad.safetensors", **change))


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_no_damage_to_a_file_escapes_as_another_error(saved, tmp_path_factory, data):
    content = bytearray(saved.read_bytes())
    header = 8 + int.from_bytes(content[:8], "little")
    kind = data.draw(st.sampled_from(["cut", "header", "data", "foreign"]))
    if kind == "cut":
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    elif kind == "foreign":
        content = data.draw(st.binary(max_size=200))
    else:
        span = st.integers(0, header - 1) if kind == "header" else st.integers(header, len(content) - 1)
        for place in data.draw(st.lists(span, min_size=1, max_size=4)):
            content[place] = data.draw(st.integers(0, 255))
    file = tmp_path_factory.mktemp("fuzz") / "a.safetensors"
    file.write_bytes(content)
    try:
        model = load_packed(file)
    except EggsError as error:
        assert kind != "foreign" or "a.safetensors" in str(error)
    else:
        assert kind in ("header", "data")
        with torch.no_grad():
            for _, layer in packed_layers(model):
                layer(torch.ones(1, layer.in_features, dtype=layer.values.dtype))


def test_a_missing_file_is_told(tmp_path):
    for path in (tmp_path, tmp_path / "none.safetensors"):
        with pytest.raises(EggsError, match="no packed model file"):
            load_packed(path)


@pytest.mark.slow
@pytest.mark.parametrize("opener", ["load_packed", "transformers.AutoModelForCausalLM.from_pretrained"])
def test_opening_a_packed_file_never_holds_the_dense_weights(opener, tmp_path):
    """Peak resident memory of two processes, one of which opens a far smaller file, differs by the packed bytes."""
    if sys.platform != "linux":
        pytest.skip("peak resident memory is read from /proc")
    torch.manual_seed(0)
    sizes = {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 5, "num_attention_heads": 8}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=64, **sizes))
    masks, _ = prune(model, P24)
    dense = sum(4 * m.numel() for m in masks.values())
    place = save_packed(model, tmp_path / "a", masks=masks, pattern=P24).parent
    code = (
        "import sys, torch, transformers; from eggs_core import load_packed\n"
        f"torch.set_num_threads(1); held = [{opener}(p) for p in sys.argv[1:]]\n"
        "[model(torch.zeros(1, 1, dtype=torch.long)) for model in held]\n"
        "print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1])"
    )
    small = tiny()
    small_masks, _ = prune(small, P24)
    small_place = save_packed(small, tmp_path / "b", masks=small_masks, pattern=P24).parent

    def peak(*files: Path) -> int:
        command = [sys.executable, "-c", code, *map(str, files)]
        return 1024 * int(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)

    used = peak(place) - peak(small_place)
    assert 0.5 * dense < used < 0.75 * dense, f"{used / 1e6:.0f} MB for {dense / 1e6:.0f} MB of dense weights"


def test_packed_layers_finds_what_is_packed():
    layer = PackedLinear(8, 4, P24)
    assert [m for _, m in packed_layers(nn.Sequential(nn.Linear(8, 8), layer))] == [layer]
