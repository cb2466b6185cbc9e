"""Writing a model as one GGUF file for llama.cpp, Ollama and LM Studio; zeros are stored."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from eggs_core.errors import EggsError
from eggs_core.heavy import torch, transformers
from eggs_core.models.gguf_families import Family, add_keys, as_stored, family_of, rope_factors
from eggs_core.models.gguf_tokenizer import Vocabulary, vocabulary_of
from eggs_core.models.opening_errors import explained
from eggs_core.models.source import open_model

if TYPE_CHECKING:  # it takes transformers seconds to import its models
    from gguf import GGMLQuantizationType
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase

EMBEDDINGS, HEAD = ("model.embed_tokens.weight", "transformer.wte.weight"), "lm_head.weight"
FACTORS = "rope_freqs.weight"


class Told(NamedTuple):
    """What llama.cpp is told of a model: how it has such models, and the tokenizer."""

    family: Family
    vocabulary: Vocabulary


def told(config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase) -> Told:
    """Raises EggsError, with the reason, for a model or tokenizer that llama.cpp does not have."""
    return Told(family_of(config), vocabulary_of(tokenizer, config.vocab_size))


def check_gguf(name: str) -> None:
    """Raise EggsError, before the weights of a model are read, if llama.cpp has no such model or tokenizer."""
    with explained(name):
        opened = open_model(name)
        told(opened.config, transformers.AutoTokenizer.from_pretrained(opened.source, **opened.options))


def write_gguf(
    state: Mapping[str, torch.Tensor],
    config: PreTrainedConfig,
    tokenizer: PreTrainedTokenizerBase,
    file: Path,
    kind: str = "F16",
    name: str = "",
) -> None:
    """Write a model's tensors, by transformers' names, as one GGUF file that nobody reads yet.

    Matrices are of the kind F16 or Q8_0, where rows of 32 allow that; all else is fp32. Only one tensor at a time is
    converted. Raises EggsError for what llama.cpp does not have, and for weights beyond what F16 holds, and OSError.
    """
    import gguf

    family, vocabulary = told(config, tokenizer)
    writer = gguf.GGUFWriter(file, family.name)
    if name:
        writer.add_name(name)
    writer.add_file_type(gguf.LlamaFileType[f"MOSTLY_{kind}"])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    add_keys(writer, family, config)
    vocabulary.write(writer, tokenizer)
    places = _places(state, family, config)
    factors = rope_factors(config)
    kinds = []
    for place, key in places.items():
        shape = tuple(as_stored(family, config, key, state[key].to("meta")).shape)
        kinds.append(_kind(place, shape, kind))
        count = prod(gguf.quant_shape_to_byte_shape(shape, kinds[-1]))
        writer.add_tensor_info(place, shape, np.dtype(np.float32), count, kinds[-1])
    if factors is not None:
        writer.add_tensor_info(FACTORS, factors.shape, np.dtype(np.float32), factors.nbytes)
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for key, own in zip(places.values(), kinds, strict=True):
            writer.write_tensor_data(_values(key, as_stored(family, config, key, state[key]), own))
        if factors is not None:
            writer.write_tensor_data(factors.numpy())
        writer.flush()
    except OSError as error:  # of a disk that is full numpy says only how many values it took
        raise error if error.errno else OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
    finally:
        with suppress(OSError):  # what could not be written was said above
            writer.close()


def _places(state: Mapping[str, torch.Tensor], family: Family, config: PreTrainedConfig) -> dict[str, str]:
    """What llama.cpp calls each tensor, and what transformers does; a head that is the embeddings is left out."""
    import gguf

    arch = next(number for number, name in gguf.MODEL_ARCH_NAMES.items() if name == family.name)
    names = gguf.get_tensor_name_map(arch, config.num_hidden_layers)
    found = {}
    for key in _without_tied_head(state):
        place = names.get_name(key, try_suffixes=(".weight", ".bias"))
        if place is None:
            raise EggsError(f"llama.cpp has no place for {key} in {family.name} models; use hf instead.")
        found[place] = key
    return found


def _without_tied_head(state: Mapping[str, torch.Tensor]) -> Iterator[str]:
    embeddings = next(state[name] for name in EMBEDDINGS if name in state)
    for key, tensor in state.items():
        if key != HEAD or not (tensor.data_ptr() == embeddings.data_ptr() or torch.equal(tensor, embeddings)):
            yield key


def _kind(place: str, shape: tuple[int, ...], kind: str) -> GGMLQuantizationType:
    """What a tensor of llama.cpp's name and shape is stored as."""
    import gguf

    if len(shape) < 2 or place.startswith("position_embd"):
        return gguf.GGMLQuantizationType.F32
    fits = shape[-1] % gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType.Q8_0][0] == 0
    return gguf.GGMLQuantizationType[kind if fits else "F16"]


def _values(key: str, tensor: torch.Tensor, kind: GGMLQuantizationType) -> np.ndarray:
    """A tensor's values as they are stored; raises EggsError for any that would be infinite or are no numbers."""
    import gguf

    values = tensor.detach().cpu().float().contiguous().numpy()
    largest = float(np.abs(values).max(initial=0))
    if not largest <= float(np.finfo(np.float16).max):
        raise EggsError(f"{key} has weights up to {largest:.3g}, which F16 cannot hold; use hf instead of gguf.")
    return gguf.quantize(values, kind)
