"""Write a randomly initialised Llama checkpoint shard by shard, in little memory: something large to prune.

    python tools/make_random_llama.py build/llama-1.1b            # 1.1 B parameters, fp16, 2.2 GB

The shapes are TinyLlama's; the tokenizer is the bundled one, so its text uses the first 4,096 of 32,000 tokens.
"""

import argparse
import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, LlamaConfig

TOKENIZER = Path(__file__).resolve().parent.parent / "assets" / "models" / "tiny-llama"


def make(
    folder: Path,
    layers: int = 22,
    width: int = 2048,
    inner: int = 5632,
    vocabulary: int = 32000,
    blocks_a_shard: int = 6,
) -> int:
    """Write the checkpoint and return its number of parameters; one shard is in memory at a time."""
    heads = width // 64
    config = LlamaConfig(
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=max(1, heads // 8),
        vocab_size=vocabulary,
        max_position_embeddings=2048,
        tie_word_embeddings=False,
        dtype="float16",
        architectures=["LlamaForCausalLM"],
    )
    with torch.device("meta"):
        shapes = {n: tuple(p.shape) for n, p in AutoModelForCausalLM.from_config(config).named_parameters()}
    parts: list[list[str]] = [[n for n in shapes if ".layers." not in n]]
    for first in range(0, layers, blocks_a_shard):
        numbers = {str(i) for i in range(first, min(first + blocks_a_shard, layers))}
        parts.append([n for n in shapes if ".layers." in n and n.split(".")[2] in numbers])
    folder.mkdir(parents=True, exist_ok=True)
    generator, index = torch.Generator().manual_seed(0), {}
    for number, names in enumerate(parts, 1):
        file = f"model-{number:05d}-of-{len(parts):05d}.safetensors"
        save_file({n: _values(n, shapes[n], generator) for n in names}, folder / file, metadata={"format": "pt"})
        index |= dict.fromkeys(names, file)
    count = sum(torch.Size(s).numel() for s in shapes.values())
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {"total_size": 2 * count}, "weight_map": index}, indent=1)
    )
    config.save_pretrained(folder)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(TOKENIZER / file, folder / file)
    return count


def _values(name: str, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    if "norm" in name:
        return torch.ones(shape, dtype=torch.float16)
    return torch.empty(shape, dtype=torch.float16).normal_(0, 0.02, generator=generator)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layers", type=int, default=22)
    options = parser.parse_args()
    print(f"{make(options.folder, options.layers):,} parameters in {options.folder}")
