"""Texts by name: rows of a dataset from the Hugging Face Hub, or from a folder of its own."""

import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

from huggingface_hub import HfApi

from eggs_core.errors import EggsError
from eggs_core.hub import HUB_SECONDS, hub_error, unreachable
from eggs_core.limits import check_name, hosted, limits
from eggs_core.text.sources import Text

PREFIX = "dataset:"
CHARACTERS = 2_000_000  # read from the start of a dataset, some 500,000 tokens
LONGEST_NAME = 200
_NAME = re.compile(r"(?P<path>[\w.-]+(?:/[\w.-]+)?)(?::(?P<config>[\w.-]+))?", re.ASCII)
_ALTERNATIVE = "the bundled text needs no download"


def dataset_text(name: str, characters: int = CHARACTERS) -> Text:
    """The first `characters` characters of a dataset's "train" split, rows joined by empty lines.

    name: "owner/name" or "owner/name:configuration" on the Hub, such as Salesforce/wikitext:wikitext-2-raw-v1, or the
    path of a folder with .txt, .json, .csv or .parquet files. Rows are streamed, so the rest is never downloaded; the
    text is the column "text", else the first column of strings. No dataset's own code is run.
    Raises EggsError with what to do for all that can fail.
    """
    name, characters = name.strip(), min(characters, limits().characters)
    check_name(name)
    place = os.path.expanduser(name)
    if os.path.isdir(place):
        path, config = place, None
    elif len(name) <= LONGEST_NAME and (match := _NAME.fullmatch(name)):
        path, config = match["path"], match["config"]
        _check_hub(path)
    else:
        raise EggsError(
            f"{name[:LONGEST_NAME]!r} is no dataset: give owner/name, or owner/name:configuration; {_ALTERNATIVE}."
        )
    import datasets  # here, as it takes a second

    try:
        rows = datasets.load_dataset(path, config, split="train", streaming=True, token=_token())
        content = _join(rows, characters)
    except EggsError:
        raise
    except Exception as error:  # datasets raises many kinds; each becomes one sentence, the cause is kept
        first = (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(" .")
        raise EggsError(f"The dataset {name} could not be read: {first}; {_ALTERNATIVE}.") from error
    return Text(name, content)


def _token() -> bool | None:
    """No token on a public server, whose visitors must not reach what its owner's opens; else the user's own."""
    return False if hosted() else None


def _check_hub(path: str) -> None:
    """Ask the Hub for the dataset before anything else, as `datasets` tries for half a minute when there is none."""
    try:
        HfApi(token=_token()).dataset_info(path, timeout=HUB_SECONDS)
    except Exception as error:  # without a network the kind depends on the transport
        raise hub_error(error, "dataset", path, _ALTERNATIVE) or unreachable(path, _ALTERNATIVE) from error


def _join(rows: Iterable[Mapping[str, Any]], characters: int) -> str:
    """The rows' text up to a number of characters."""
    parts, length, column = [], 0, None
    for row in rows:
        if column is None:
            strings = [key for key, value in row.items() if isinstance(value, str)]
            if not strings:
                raise EggsError(f"The dataset has no column of text, only {', '.join(row)}; choose another.")
            column = "text" if "text" in strings else strings[0]
        if part := (row[column] or "").strip():
            parts.append(part)
            length += len(part) + 2
        if length >= characters:
            break
    return "\n\n".join(parts)[:characters]
