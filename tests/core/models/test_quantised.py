"""Quantised checkpoints, built by hand: opened, streamed and exported as the values that they stand for."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from eggs_core.assets import ASSETS
from eggs_core.config import make_config
from eggs_core.errors import EggsError
from eggs_core.models import quantised
from eggs_core.models.checkpoint import Checkpoint
from eggs_core.models.loading import load
from eggs_core.packed.hf_folder import save_hf
from eggs_core.pruning.loop import prune
from eggs_core.pruning.out_of_core import StreamedPruning
from eggs_core.runs.streamed import streams, too_large

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")
TOKENS = torch.randint(5, 120, (4, 16), generator=torch.Generator().manual_seed(0))
BLOCK = (16, 32)  # rows and columns that share an fp8 scale
FP4 = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])
SIZES = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 10,  # 40 and 20 rows, which blocks of 16 do not divide
    "vocab_size": 128,
    "max_position_embeddings": 64,
    "pad_token_id": None,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
MIXTURE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
GPT_OSS = {"num_local_experts": 4, "num_experts_per_tok": 2, "intermediate_size": 64, "head_dim": 16}


def fp8(weight):
    """A weight as DeepSeek and Qwen store it in fp8: values, a scale for each block, and what they stand for."""
    rows, columns = weight.shape
    counts = [-(-n // size) for n, size in zip((rows, columns), BLOCK, strict=True)]
    scales = torch.rand(counts) * 0.01 + 0.001
    each = scales.repeat_interleave(BLOCK[0], 0)[:rows].repeat_interleave(BLOCK[1], 1)[:, :columns]
    values = (weight / each).clamp(-448, 448).to(torch.float8_e4m3fn)
    return values, scales, values.float() * each


def mxfp4(weight):
    """Experts (experts, in, out) as GPT-OSS stores them: two of FP4 in a byte, an exponent for 32 inputs; and truth."""
    experts, inputs, outputs = weight.shape
    codes = torch.randint(0, 16, (experts, outputs, inputs // 32, 32))
    scales = torch.randint(118, 124, (experts, outputs, inputs // 32))
    truth = (FP4[codes] * 2.0 ** (scales[..., None] - 127)).reshape(experts, outputs, inputs).transpose(1, 2)
    blocks = codes[..., 0::2] | codes[..., 1::2] << 4
    return blocks.to(torch.uint8), scales.to(torch.uint8), truth.contiguous()


def _fp8(name, weight):
    """What an fp8 checkpoint stores in a tensor's place, and what it stands for; None for one that stays."""
    if not name.endswith("proj.weight") or weight.dim() != 2:
        return None
    values, scales, truth = fp8(weight.float())
    return {name: values, f"{name}_scale_inv": scales}, truth


def _mxfp4(name, weight):
    if not name.endswith(("experts.gate_up_proj", "experts.down_proj")):
        return None
    blocks, scales, truth = mxfp4(weight)
    return {f"{name}_blocks": blocks, f"{name}_scales": scales}, truth


FP8 = {"quant_method": "fp8", "activation_scheme": "dynamic", "fmt": "e4m3", "weight_block_size": list(BLOCK)}
MXFP4 = {"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn", "lm_head"]}
CASES = {
    "qwen3": (FP8, _fp8, {}),
    "qwen3_moe": (FP8, _fp8, MIXTURE),
    "gpt_oss": (MXFP4, _mxfp4, GPT_OSS),
}


def written(kind, folder):
    """A folder of quantised weights, and the model with the values that they stand for."""
    said, quantise, sizes = CASES[kind]
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIG_MAPPING[kind](**{**SIZES, **sizes})).to(torch.bfloat16).eval()
    model.save_pretrained(folder)
    stored, truth, file = {}, {}, folder / "model.safetensors"
    for name, tensor in load_file(file).items():
        new, truth[name] = quantise(name, tensor) or ({name: tensor}, tensor)
        stored |= new
    assert len(stored) > len(truth)
    save_file(truth, file, metadata={"format": "pt"})
    exact = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    save_file(stored, file, metadata={"format": "pt"})
    change_config(folder, quantization_config=said, dtype="bfloat16")
    for tokenizer in (ASSETS / "models" / "tiny-llama").glob("tokenizer*"):
        shutil.copy(tokenizer, folder)
    return exact


def change_config(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


@torch.no_grad()
def logits(model):
    return model(input_ids=TOKENS, use_cache=False).logits


@pytest.mark.parametrize("kind", CASES)
def test_quantised_weights_are_opened_streamed_and_exported_as_what_they_stand_for(kind, tmp_path):
    folder, out = tmp_path / "model", tmp_path / "out"
    exact = written(kind, folder)
    loaded = load(str(folder), CPU)
    assert loaded.quantised == CASES[kind][0]["quant_method"] and not hasattr(
        loaded.model.config, "quantization_config"
    )
    assert {p.dtype for p in loaded.model.parameters()} == {torch.float32}
    assert torch.allclose(logits(loaded.model), logits(exact), atol=1e-6)

    config = make_config("m", "2:4", "ria")
    checkpoint = Checkpoint(str(folder), CPU)
    assert checkpoint.fingerprint == loaded.fingerprint and checkpoint.stored_dtype == torch.bfloat16
    job = StreamedPruning(checkpoint, config, TOKENS, TOKENS, out)
    job.capture()
    streamed = list(job.prune())
    job.evaluate()
    job.finish()
    job.close()
    whole = list(prune(loaded.model, TOKENS, config))
    assert all(torch.equal(a.mask, b.mask) for a, b in zip(streamed, whole, strict=True))

    place = save_hf(loaded.model, loaded.tokenizer, tmp_path / "hf")
    for file, dtype, error in ((place, torch.float32, 1e-6), (out, torch.bfloat16, 0.02)):
        assert "quantization_config" not in json.loads((file / "config.json").read_text())
        again = AutoModelForCausalLM.from_pretrained(file)
        assert {p.dtype for p in again.parameters()} == {dtype}
        expected = logits(loaded.model)
        assert (logits(again.float()) - expected).norm() < error * expected.norm()
        assert load(str(file), CPU).quantised is None


@pytest.mark.parametrize("way", [load, Checkpoint])
@pytest.mark.parametrize("method", ["gptq", "awq", "bitsandbytes", "compressed-tensors", "no\nsuch" * 20, 5, None])
def test_other_methods_are_refused_by_their_kind_before_anything_is_read(tmp_path, way, method):
    folder = shutil.copytree(ASSETS / "models" / "tiny-llama", tmp_path / "model")
    change_config(folder, quantization_config={"quant_method": method, "bits": 4})
    with pytest.raises(EggsError, match=r"are quantised .* take the model that they were made from") as caught:
        way(str(folder), CPU)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


@pytest.mark.parametrize("way", [load, Checkpoint])
@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda key, tensor: None if key.endswith("q_proj.weight_scale_inv") else tensor, "holds no scales for"),
        (lambda key, tensor: None if "up_proj" in key else tensor, "holds no weight"),
        (lambda key, tensor: tensor[:, :1].repeat(1, 3) if "scale_inv" in key else tensor, "scales"),
        (lambda key, tensor: tensor[:-16].clone() if key[-13:] == "q_proj.weight" else tensor, "has shape|scales"),
    ],
)
def test_damaged_fp8_weights_are_refused(tmp_path, way, change, says):
    folder = tmp_path / "model"
    written("qwen3", folder)
    file = folder / "model.safetensors"
    kept = {key: change(key, tensor) for key, tensor in load_file(file).items()}
    save_file({k: t for k, t in kept.items() if t is not None}, file, metadata={"format": "pt"})
    with pytest.raises(EggsError, match=says):
        opened = way(str(folder), CPU)
        if way is Checkpoint:
            with opened.load_block(0):
                pass


def test_memory_is_that_of_the_dequantised_weights(tmp_path):
    written("gpt_oss", tmp_path)
    stored = (tmp_path / "model.safetensors").stat().st_size
    free = 4.2 * stored * 2.6
    assert not too_large(stored, True, lambda _device: free)
    assert streams(str(tmp_path), lambda _device: free)


def test_scales_of_blocks_that_do_not_divide_a_weight():
    scales = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert quantised.spread(scales, (3, 4), (2, 2)).tolist() == [[1, 2], [1, 2], [3, 4]]
    assert quantised.spread(scales, (4, 4), (2, 2)) is scales
    with pytest.raises(ValueError, match="2 scales for 7 values"):
        quantised.spread(scales, (7, 4), (2, 2))
