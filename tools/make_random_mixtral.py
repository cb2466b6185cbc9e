"""Write a randomly initialised Mixtral checkpoint, as published ones are stored: a large mixture of experts to prune.

    python tools/make_random_mixtral.py build/mixtral-1.2b            # 1.2 B parameters, 8 experts, fp16, 2.3 GB

The tokenizer is the bundled one, so its text uses the first 4,096 of 32,000 tokens. The model is in memory while it is
written.
"""

import argparse
import shutil
import sys
from pathlib import Path

import torch
from transformers import MixtralConfig, MixtralForCausalLM

TOKENIZER = Path(__file__).resolve().parent.parent / "assets" / "models" / "tiny-llama"


def make(folder: Path, layers: int = 12, experts: int = 8, width: int = 1024, inner: int = 3584) -> int:
    """Write the checkpoint and return its number of parameters; a token is sent to two experts."""
    config = MixtralConfig(
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        num_key_value_heads=max(1, width // 512),
        num_local_experts=experts,
        num_experts_per_tok=2,
        vocab_size=32000,
        max_position_embeddings=2048,
        tie_word_embeddings=False,
    )
    torch.manual_seed(0)
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float16)
    try:
        model = MixtralForCausalLM(config)
    finally:
        torch.set_default_dtype(default)
    model.save_pretrained(folder, max_shard_size="500MB")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(TOKENIZER / file, folder / file)
    return sum(parameter.numel() for parameter in model.parameters())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--experts", type=int, default=8)
    options = parser.parse_args()
    sys.stdout.write(f"{make(options.folder, options.layers, options.experts):,} parameters in {options.folder}\n")
