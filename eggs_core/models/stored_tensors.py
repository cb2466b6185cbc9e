"""Tensors as safetensors files hold them, read from the headers alone and matched with the model they belong to."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

from eggs_core.errors import EggsError
from eggs_core.heavy import torch
from eggs_core.models.architectures import find_blocks
from eggs_core.models.folder import CONFIG, INDEX, check_counts, check_folder, shown, weight_files
from eggs_core.models.quantised import KINDS, conversions, is_quantised

if TYPE_CHECKING:  # it takes transformers seconds to import its models
    from transformers import PreTrainedConfig, PreTrainedModel

HEADS = ("lm_head.weight", "embed_out.weight")  # how the names of LM heads and of embedding tables end
TABLES = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight", "embed_in.weight")
ROWS = 4096  # of two tables that are compared at once
DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}  # a kind -> its dtype's name


@dataclass(frozen=True, slots=True)
class Stored:
    """Where a tensor of the model lies: file, name there, shape, and its kind as safetensors names it."""

    file: str
    key: str
    shape: tuple[int, ...]
    kind: str

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of a tensor that can be pruned."""
        return getattr(torch, DTYPES[self.kind])

    @property
    def count(self) -> int:
        """Number of values."""
        return torch.Size(self.shape).numel()


@dataclass(frozen=True, slots=True)
class Piece:
    """A stored tensor that becomes part of another: that one's name, its own name, and the rule that fits."""

    target: str
    key: str
    rule: str


def most_common_dtype(found: Mapping[str, Stored]) -> torch.dtype:
    """The dtype that most tensors are stored in, of those that can be pruned; fp32 if there is none."""
    counts = Counter(place.dtype for place in found.values() if place.kind in DTYPES)
    return max(counts, key=counts.__getitem__, default=torch.float32)


def open_file(name: str, folder: Path, file: str) -> safe_open:
    """A safetensors file of the model `name`, opened; raises EggsError if it is missing or damaged."""
    try:
        return safe_open(folder / file, framework="pt")
    except FileNotFoundError as error:
        raise EggsError(f"{name} lacks the weight file {file}; copy the whole model.") from error
    except (OSError, SafetensorError, ValueError) as error:
        raise EggsError(
            f"The weight file {file} of {name} is damaged or only partly downloaded; fetch it again."
        ) from error


def read_folder(name: str, folder: Path) -> dict[str, Stored]:
    """Every tensor of a model's folder, whose small files are checked and compared with the tensors first.

    Raises EggsError, quickly, for whatever is damaged or does not fit.
    """
    config, found = check_folder(name, folder), headers(name, folder)
    check_counts(name, config, len(found), sum(place.count for place in found.values()))
    return found


def headers(name: str, folder: Path) -> dict[str, Stored]:
    """Every tensor of a folder by its name in the files, the index checked against the files' own headers.

    Raises EggsError for files that are damaged or empty and for an index that does not agree with them.
    """
    files, index = weight_files(name, folder)
    found: dict[str, Stored] = {}
    for file in files:
        with open_file(name, folder, file) as opened:
            for key in sorted(opened.keys()):
                if key in found:
                    raise EggsError(
                        f"{shown(key)} is in both {found[key].file} and {file} of {name}; fetch the files again."
                    )
                piece = opened.get_slice(key)
                found[key] = Stored(file, key, tuple(piece.get_shape()), piece.get_dtype())
    if not found:
        raise EggsError(f"The weight files of {name} hold no weights; fetch them again.")
    if index is None:
        return found
    if lost := sorted(key for key, file in index.items() if key not in found or found[key].file != file):
        raise EggsError(
            f"The index of {name} is wrong: {index[lost[0]]} does not hold {shown(lost[0])} "
            f"({len(lost)} such tensors); fetch {INDEX} and its files again."
        )
    return {key: place for key, place in found.items() if key in index}


def matched(
    name: str, model: PreTrainedModel, found: dict[str, Stored], advice: str = "copy the whole model"
) -> tuple[dict[str, Stored], dict[str, Piece]]:
    """The files' tensors by the model's own names, tied ones once; raises EggsError unless every weight is there.

    The model may be on the meta device. The second value are those that transformers makes tensors of the model of,
    such as one of all experts; they are among the first, by names that begin with that of what they are made into.
    Where one of them may become several tensors, transformers' own report tells of missing weights.
    """
    from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key

    state = model.state_dict(keep_vars=True)
    transforms = conversions(model)
    renamings = [t for t in transforms if isinstance(t, WeightRenaming)]
    converters = [t for t in transforms if isinstance(t, WeightConverter)]
    stored: dict[str, Stored] = {}
    pieces: dict[str, Piece] = {}
    for key, place in found.items():  # named as from_pretrained names them
        target, converted = rename_source_key(key, renamings, converters, model.base_model_prefix, state)
        if target not in state:
            continue
        quantised = converted is not None and place.kind in KINDS and is_quantised(model.config)
        if place.kind not in DTYPES and not quantised:
            raise EggsError(
                f"{name} stores {shown(key)} as {place.kind}; only fp32, fp16 and bf16 weights can be pruned."
            )
        if converted is not None:
            piece = f"{target}<{key}"
            stored[piece], pieces[piece] = place, Piece(target, key, converted)
        elif place.shape != (expected := tuple(state[target].shape)):
            raise EggsError(f"{name} is damaged: {shown(key)} has shape {place.shape}, its model expects {expected}.")
        else:
            stored[target] = place
    _check_blocks(name, model, found)
    first: dict[int, str] = {}
    for target in [n for n in state if n in stored]:
        if first.setdefault(id(state[target]), target) != target:
            del stored[target]  # of tied weights one is read and written
    if is_quantised(model.config):
        check_scales(name, stored, pieces)
    made = {id(state[piece.target]) for piece in pieces.values()} | first.keys()
    if all(len(converter.target_patterns) == 1 for converter in converters):
        check_complete(name, [n for n in state if n not in stored and id(state[n]) not in made], advice)
    return stored, pieces


def check_scales(name: str, stored: Mapping[str, Stored], pieces: Mapping[str, Piece]) -> None:
    """Raise EggsError if a quantised weight lacks the scales that it is multiplied by, or if none is quantised."""
    if all(stored[label].kind in DTYPES for label in pieces):
        raise EggsError(f"The {CONFIG} of {name} says that weights are quantised, and none is; remove that from it.")
    scaled = {piece.target for piece in pieces.values() if "scale" in piece.rule}
    for label, piece in pieces.items():
        if stored[label].kind not in DTYPES and piece.target not in scaled:
            raise EggsError(f"{name} holds no scales for {shown(piece.key)}; copy the whole model.")


def settle_ties(config: PreTrainedConfig, folder: Path, found: Mapping[str, Stored]) -> PreTrainedConfig:
    """Let a configuration say that head and embeddings are tied only if the files agree; returns it, changed in place.

    Some checkpoints hold both, with other values: their weights decide, as they do when transformers loads them.
    """
    heads = [key for key in found if key.endswith(HEADS)]
    tables = [key for key in found if key.endswith(TABLES)]
    if not (getattr(config, "tie_word_embeddings", False) and len(heads) == len(tables) == 1):
        return config
    head, table = found[heads[0]], found[tables[0]]
    if head.shape == table.shape and not _equal(folder, head, table):
        config.tie_word_embeddings = False
    return config


def _equal(folder: Path, one: Stored, other: Stored) -> bool:
    with safe_open(folder / one.file, framework="pt") as a, safe_open(folder / other.file, framework="pt") as b:
        first, second = a.get_slice(one.key), b.get_slice(other.key)
        return all(
            torch.equal(first[start : start + ROWS], second[start : start + ROWS])
            for start in range(0, one.shape[0], ROWS)
        )


def check_complete(name: str, missing: Iterable[str], advice: str = "copy the whole model") -> None:
    """Raise EggsError, naming the first, if weights of a model are missing from its files."""
    if lost := list(missing):
        raise EggsError(f"{name} holds no weight {lost[0]} ({len(lost)} are missing); {advice}.")


def _check_blocks(name: str, model: PreTrainedModel, found: Iterable[str]) -> None:
    """Raise EggsError if the files hold blocks that the configuration leaves out."""
    path, blocks = find_blocks(model)
    number = re.compile(rf"(?:^|\.){re.escape(path.rpartition('.')[2])}\.(\d+)\.")
    ignored = [re.compile(pattern) for pattern in model._keys_to_ignore_on_load_unexpected or ()]
    held = {int(m[1]) for key in found if (m := number.search(key)) and not any(i.search(key) for i in ignored)}
    if held and max(held) >= len(blocks):
        raise EggsError(
            f"The weights of {name} hold {max(held) + 1} blocks and its {CONFIG} says {len(blocks)}; "
            f"copy the whole model."
        )
