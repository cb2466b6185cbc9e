"""BOS, the token that many tokenizers put before a text: where windows have one, and whether a model has one at all."""

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from eggs_core.assets import ASSETS
from eggs_core.converted import converted_folder
from eggs_core.errors import EggsError
from eggs_core.limits import check_name
from eggs_core.reading import MOST_JSON_BYTES, read_text

EVERY, FIRST, NONE = RULES = ("every window", "first window", "none")
TOKENIZER = "tokenizer.json"
_TEMPLATE = re.compile(r'"post_processor"\s*:\s*')


def bos_rule(model: str, asked: str | None = None) -> str:
    """The rule for a model's windows: EVERY if it has a BOS, or FIRST where that was asked for; NONE if it has none.

    For a model whose tokenizer is not on this machine yet it is what was asked for, else NONE; the run finds out.
    """
    found = has_bos(model)
    if found is None:
        return asked or NONE
    return settled(asked or NONE, found)


def settled(rule: str, has: bool) -> str:
    """The rule that holds once it is known whether a model has a BOS."""
    return NONE if not has else FIRST if rule == FIRST else EVERY


def has_bos(model: str) -> bool | None:
    """Does a model's tokenizer begin a text with BOS, by its tokenizer.json? None where this machine has no such file.

    Nothing is downloaded or run, and a public server looks at no path.
    """
    try:
        file = _tokenizer_file(model.strip())
        if file is None:
            return None
        state = file.stat()
        return _begins_with_bos(file, state.st_mtime_ns, state.st_size)
    except (OSError, RuntimeError, ValueError, TypeError, LookupError, EggsError):  # opening the model says what
        return None


def bos_words(protocol: Mapping[str, Any]) -> str:
    """What a protocol says of BOS, to follow the windows that it names; nothing for a model that has none."""
    found = protocol.get("bos", NONE)
    return "" if found == NONE else f", BOS in the {found}" if found == FIRST else f", BOS in {found}"


def joined(first: str, second: str) -> str:
    """The rule of a table that holds rows of both; models without a BOS go with either."""
    return second if first == NONE else first


def _tokenizer_file(model: str) -> Path | None:
    """A model's tokenizer.json: bundled, in a folder, where a GGUF file was converted, or in the Hub's cache."""
    if (bundled := ASSETS / "models" / model / TOKENIZER).is_file() and re.fullmatch(r"[\w-]+", model):
        return bundled
    check_name(model)
    path = Path(model).expanduser()
    if path.suffix.lower() == ".gguf":
        folder = converted_folder(path)
        return folder / TOKENIZER if folder.is_dir() else None
    if path.is_dir():
        return path / TOKENIZER
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(model, TOKENIZER)
    return Path(found) if isinstance(found, str) else None


@lru_cache(maxsize=256)
def _begins_with_bos(file: Path, changed: int, size: int) -> bool | None:
    """What the template in a tokenizer.json says; `changed` and `size` tell the file from what it was before."""
    text = read_text(file, MOST_JSON_BYTES)
    if not (match := _TEMPLATE.search(text)):  # it stands before the vocabulary, which need not be read
        return None
    return _adds_first(json.JSONDecoder().raw_decode(text, match.end())[0])


def _adds_first(template: Any) -> bool | None:
    """Does a post-processor of the tokenizers library put a token before a text? None if the file leaves it open."""
    if not isinstance(template, dict):
        return None  # the tokenizer's class decides
    if template.get("type") == "Sequence":
        return any(map(_adds_first, template.get("processors", [])))
    if template.get("type") == "TemplateProcessing":
        return "SpecialToken" in template["single"][0]
    return template.get("type") in ("BertProcessing", "RobertaProcessing")
