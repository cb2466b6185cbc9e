"""What is checked in a model's folder before transformers opens it: its small files, its index, its sizes."""

import codecs
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from eggs_core.errors import EggsError
from eggs_core.models.quantised import check_method, method_of
from eggs_core.reading import read_json

CONFIG, INDEX, SINGLE = "config.json", "model.safetensors.index.json", "model.safetensors"
OBJECTS = (  # small files that Python reads whole, each of them one JSON object
    "generation_config.json",
    "tokenizer_config.json",
    "tokenizer.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
)
DTYPES = ("auto", "float64", "float32", "float16", "bfloat16")  # that a configuration may name
_BLOCKS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")  # names of the number of blocks
MOST_SHOWN = 120  # characters of a word from a file
MOST_BLOCKS, MOST_VALUES = 10_000, 1 << 50  # of any model, before its files are known
_COUNT = re.compile(r"(num|n)_\w+")  # of heads, experts, positions: never more than there are values


def shown(value: object) -> str:
    """A word from a file as a sentence quotes it: in one line, and not at any length."""
    words = " ".join(str(value).split())
    return words if len(words) <= MOST_SHOWN else f"{words[:MOST_SHOWN]}…"


def read_object(name: str, path: Path) -> dict[str, Any]:
    """The JSON object in a file of the model `name`; raises EggsError, naming the file, for anything else."""
    try:
        found = read_json(path)
        if path.read_bytes().startswith(codecs.BOM_UTF8):
            raise ValueError("it begins with a byte order mark")
    except OSError as error:
        raise EggsError(f"The {path.name} of {name} cannot be read: {error.strerror}; copy the whole model.") from error
    except ValueError as error:
        raise EggsError(
            f"The {path.name} of {name} is not a valid JSON file ({shown(error)}); copy the whole model."
        ) from error
    if not isinstance(found, dict):
        raise EggsError(f"The {path.name} of {name} is not a JSON object; copy the whole model.")
    return found


def check_files(folder: Path) -> None:
    """Raise EggsError for a folder that lacks what every model has, or holds something else than a model."""
    if not (folder / CONFIG).is_file():
        raise EggsError(f"The folder {folder.name} holds no {CONFIG}, so it is no Hugging Face model folder.")
    if (folder / "adapter_config.json").exists():
        raise EggsError(f"The folder {folder.name} holds an adapter; merge it into its model and save that first.")
    if not any(folder.glob("*.safetensors")):
        if any(file.suffix in (".bin", ".pt", ".pth") for file in folder.iterdir()):
            raise EggsError(
                f"The folder {folder.name} holds only pickled weights, which can run code when opened; "
                f"convert them to safetensors first."
            )
        raise EggsError(f"The folder {folder.name} holds no .safetensors weights.")


def check_folder(name: str, folder: Path) -> dict[str, Any]:
    """Raise EggsError for a folder whose small files are damaged; returns its configuration as it is written there."""
    check_files(folder)
    config = read_object(name, folder / CONFIG)
    for file in OBJECTS:
        if (folder / file).exists():
            read_object(name, folder / file)
    if method := method_of(config):
        check_method(name, method)
    saved = config.get("dtype") or config.get("torch_dtype") or "auto"
    if not isinstance(saved, str) or saved.removeprefix("torch.") not in DTYPES:
        raise EggsError(
            f"The {CONFIG} of {name} says dtype {shown(saved)}; only fp32, fp16 and bf16 weights can be pruned."
        )
    if config.get("transformers_weights"):
        raise EggsError(f"The {CONFIG} of {name} names weight files of its own, which are not read; use {SINGLE}.")
    return config


def weight_files(name: str, folder: Path) -> tuple[list[str], dict[str, str] | None]:
    """The names of the files that a folder's weights are read from, and in which of them each tensor lies.

    The second is None where there is one file and no index. Raises EggsError for an index that is damaged, or names
    anything but files of this folder.
    """
    index = read_index(name, folder) if (folder / INDEX).exists() else None
    if index and (missing := sorted(file for file in set(index.values()) if not (folder / file).is_file())):
        raise EggsError(f"{name} lacks the weight file {missing[0]}; copy the whole model.")
    if (folder / SINGLE).is_file():  # what transformers reads where there are both
        return [SINGLE], None
    if index is None:
        raise EggsError(f"{name} holds neither {SINGLE} nor {INDEX}; copy the whole model.")
    return sorted(set(index.values())), index


def read_index(name: str, folder: Path) -> dict[str, str]:
    """Which file of a folder holds each tensor; raises EggsError for an index that names anything but plain files."""
    try:
        index = read_object(name, folder / INDEX).get("weight_map")
        if not isinstance(index, dict) or not index or not all(_is_file_name(file) for file in index.values()):
            raise EggsError("Its map is empty, or names something else than files.")
    except EggsError as error:
        raise EggsError(f"{name} has a damaged {INDEX}; fetch it again.") from error
    return index


def _is_file_name(entry: object) -> bool:
    """Is it the name of a file that lies in the folder itself?"""
    if not isinstance(entry, str) or not 0 < len(entry) < 256 or set(entry) & set("/\\\0"):
        return False
    return entry.endswith(".safetensors")


def check_counts(name: str, config: dict[str, Any], tensors: int = MOST_BLOCKS, values: int = MOST_VALUES) -> None:
    """Raise EggsError for a configuration that asks for more blocks, heads or positions than its files can hold.

    tensors, values: how many of them the files have. Building such a model would take minutes, or all memory.
    """
    for key, value in _integers(config):
        least, most = (1, tensors) if key in _BLOCKS else (value, values)
        if (key in _BLOCKS or _COUNT.fullmatch(key)) and not least <= value <= most:
            raise EggsError(
                f"The {CONFIG} of {name} says {key} {shown(value)}, where at most {most:,} and at least one can be "
                f"right; copy the whole model."
            )


def _integers(config: dict[str, Any]) -> Iterator[tuple[str, int]]:
    """Every whole number of a configuration and of what lies inside it, with its name."""
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _integers(value)
        elif isinstance(value, int) and not isinstance(value, bool):
            yield key, value
