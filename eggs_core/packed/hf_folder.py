"""A pruned model as an ordinary Hugging Face folder, its zeros stored."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from transformers import PreTrainedTokenizerBase

from eggs_core.files import filled, new_folder
from eggs_core.models.experts import shared_again
from eggs_core.models.meta import save_plain
from eggs_core.packed.file import PARTS, packed_layers
from eggs_core.packed.tables import embedding_of

if TYPE_CHECKING:  # it takes transformers seconds to import its models
    from transformers import PreTrainedModel

_OS_ERROR = re.compile(r"\(os error (\d+)\)")


def save_hf(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None, folder: str | Path) -> Path:
    """Write an ordinary Hugging Face folder: dense safetensors with zeros, config and tokenizer; returns the folder.

    The folder appears whole or not at all. If it is there already, its other files stay. The model may be dense, packed
    or loaded from GGUF. Raises EggsError when the folder cannot be written.
    """
    folder = Path(folder)
    with filled(folder, "model*.safetensors*") if folder.exists() else new_folder(folder) as part:
        write_hf(model, tokenizer, part)
    return folder


def write_hf(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None, folder: Path) -> None:
    """As save_hf, file by file into a folder that nobody reads yet; raises OSError or SafetensorError."""
    state = dict(model.state_dict())
    for name, layer in packed_layers(model, tied=True):
        for part in PARTS:
            state.pop(f"{name}.{part}", None)
        dense = layer.to_dense()
        state[f"{name}.weight"] = dense.t().contiguous() if layer.conv1d else dense
        if layer.bias is not None:
            state[f"{name}.bias"] = layer.bias
    if found := embedding_of(model):
        name, embedding = found
        state = {key: tensor for key, tensor in state.items() if key.rpartition(".")[0] != name}
        state[f"{name}.weight"] = embedding.weight
        for head, layer in packed_layers(model):
            if layer.values is embedding.values:
                state[f"{head}.weight"] = state[f"{name}.weight"]
    shared_again(model, state)
    save_plain(model, state, folder)
    write_tokenizer(tokenizer, folder)


def write_tokenizer(tokenizer: PreTrainedTokenizerBase | None, folder: Path) -> None:
    """Write a tokenizer's files; raises OSError, also where the tokenizers library raises a bare Exception."""
    if tokenizer is None:
        return
    try:
        tokenizer.save_pretrained(folder)
    except OSError:
        raise
    except Exception as error:
        number = _OS_ERROR.search(str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1]))) from error
