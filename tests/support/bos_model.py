"""A tiny model whose tokenizer begins every text with BOS, as those of Llama and Gemma do."""

import shutil
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing

from eggs_core.assets import ASSETS

BOS, WORD = 0, "<|endoftext|>"


def make_bos_model(folder: Path, end: bool = False) -> str:
    """Copy tiny-llama with a template that puts BOS first, and with `end` the same token last; returns its path."""
    shutil.copytree(ASSETS / "models" / "tiny-llama", folder)
    file = str(folder / "tokenizer.json")
    tokenizer = Tokenizer.from_file(file)
    template = f"{WORD} $A {WORD}" if end else f"{WORD} $A"
    tokenizer.post_processor = TemplateProcessing(single=template, special_tokens=[(WORD, BOS)])
    tokenizer.save(file)
    return str(folder)
