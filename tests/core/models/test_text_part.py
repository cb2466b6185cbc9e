"""The language model inside checkpoints that also see: opened, streamed and exported by itself."""

import json
import shutil

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, Gemma3nConfig

from eggs_core.assets import ASSETS
from eggs_core.config import make_config
from eggs_core.errors import EggsError
from eggs_core.models.checkpoint import Checkpoint
from eggs_core.models.loading import load
from eggs_core.packed.hf_folder import save_hf
from eggs_core.pruning.loop import prune
from eggs_core.pruning.out_of_core import StreamedPruning
from tools.tiny_architectures import OVERRIDES, build, shrunk

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")
TOKENS = torch.randint(5, 120, (2, 16), generator=torch.Generator().manual_seed(0))
FAMILIES = {
    "aria": "Aria",
    "gemma3": "Gemma3",
    "idefics3": "Idefics3",
    "internvl": "InternVL",
    "llama4": "Llama4",
    "llava": "Llava",
    "mistral3": "Mistral3",
    "qwen2_5_vl": "Qwen2_5_VL",
    "qwen3_vl": "Qwen3VL",
}
STREAMED = ("gemma3", "qwen3_vl")


def written(kind, folder):
    """A tiny random model that sees, saved as transformers saves it."""
    torch.manual_seed(0)
    config = shrunk(CONFIG_MAPPING[kind], OVERRIDES.get(kind, {}))
    whole = getattr(transformers, f"{FAMILIES[kind]}ForConditionalGeneration")(config).eval()
    whole.save_pretrained(folder)
    for tokenizer in (ASSETS / "models" / "tiny-llama").glob("tokenizer*"):
        shutil.copy(tokenizer, folder)
    return whole


@torch.no_grad()
def logits(model):
    return model(input_ids=TOKENS).logits


@pytest.mark.parametrize("kind", FAMILIES)
def test_the_text_part_computes_what_the_whole_does_and_its_export_opens_by_itself(kind, tmp_path):
    whole = written(kind, tmp_path / "model")
    loaded = load(str(tmp_path / "model"), CPU)
    assert loaded.left_out == ("vision",) and "CausalLM" in type(loaded.model).__name__
    spoken = whole.language_model if kind == "llama4" else whole  # which fails as a whole where there is no picture
    assert torch.allclose(logits(loaded.model), logits(spoken), atol=1e-6)
    config = make_config("m", "2:4", "magnitude")
    if kind in STREAMED:
        checkpoint = Checkpoint(str(tmp_path / "model"), CPU)
        assert checkpoint.fingerprint == loaded.fingerprint and checkpoint.left_out == ("vision",)
        job = StreamedPruning(checkpoint, config, TOKENS, TOKENS, tmp_path / "out")
        job.capture()
        list(job.prune())
        job.evaluate()
        job.finish()
        job.close()
    assert list(prune(loaded.model, TOKENS, config))
    save_hf(loaded.model, loaded.tokenizer, tmp_path / "hf")
    for folder in ("hf", "out") if kind in STREAMED else ("hf",):
        assert "vision_config" not in json.loads((tmp_path / folder / "config.json").read_text())
        again, info = AutoModelForCausalLM.from_pretrained(tmp_path / folder, output_loading_info=True)
        assert type(again) is type(loaded.model)
        assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
        assert torch.allclose(logits(again), logits(loaded.model), atol=1e-5)


def test_the_text_part_of_one_whose_sight_needs_a_package_that_is_missing(tmp_path):
    text = build("gemma3n_text")
    config = Gemma3nConfig(text_config=text.config.to_dict(), architectures=["Gemma3nForConditionalGeneration"])
    config.save_pretrained(tmp_path)
    stored = {f"model.language_model.{k.removeprefix('model.')}": t for k, t in text.state_dict().items()}
    seen = {"model.vision_tower.stem.weight": torch.zeros(2), "model.embed_audio.embedding.weight": torch.zeros(2)}
    kept = {key: tensor for key, tensor in stored.items() if "lm_head" not in key}
    save_file(kept | seen, tmp_path / "model.safetensors", metadata={"format": "pt"})
    for tokenizer in (ASSETS / "models" / "tiny-llama").glob("tokenizer*"):
        shutil.copy(tokenizer, tmp_path)
    loaded = load(str(tmp_path), CPU)
    assert loaded.left_out == ("audio", "vision")
    assert torch.equal(logits(loaded.model), logits(text))


@pytest.mark.parametrize("way", [load, Checkpoint])
def test_what_lacks_weights_of_its_text_part_is_refused(tmp_path, way):
    written("llava", tmp_path)
    file = tmp_path / "model.safetensors"
    kept = load_file(file)
    save_file({k: t for k, t in kept.items() if "up_proj" not in k}, file, metadata={"format": "pt"})
    with pytest.raises(EggsError, match=r"holds no weight .*; its text part cannot be opened by itself"):
        way(str(tmp_path), CPU)
    save_file({k: t for k, t in kept.items() if "embed_tokens" not in k}, file, metadata={"format": "pt"})
    with pytest.raises(EggsError, match="0 tables of embeddings fit it"):
        way(str(tmp_path), CPU)
    save_file(kept | {"talker.embed_tokens.weight": torch.zeros(128, 32)}, file, metadata={"format": "pt"})
    with pytest.raises(EggsError, match="2 tables of embeddings fit it"):
        way(str(tmp_path), CPU)
