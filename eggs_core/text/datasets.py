"""Texts by name: rows of a dataset from the Hugging Face Hub, or from a folder of its own."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from huggingface_hub import HfApi

from eggs_core.errors import EggsError
from eggs_core.hub import HUB_SECONDS, asking, hub_error, unreachable
from eggs_core.limits import check_name, hosted, limits
from eggs_core.text import chats
from eggs_core.text.sources import Text

PREFIX = "dataset:"
CHARACTERS = 2_000_000  # read from the start of a dataset, some 500,000 tokens
LONGEST_NAME = 200
LOOKED_AT = 20  # rows that tell what a column holds
FORM = "owner/name, owner/name:configuration or owner/name:configuration:split, and #column behind it"
_PARTS = r"(?::(?P<config>[\w.-]*))?(?::(?P<split>[\w.-]+))?(?:#(?P<column>.+))?"
_NAME = re.compile(rf"(?P<path>[\w.-]+(?:/[\w.-]+)?){_PARTS}", re.ASCII)
_FOLDER = re.compile(rf"(?P<path>[^#]+?){_PARTS}")
_ALTERNATIVE = "the bundled text needs no download"


@dataclass(frozen=True, slots=True)
class Source:
    """A data set, and which part of it: None where its name leaves that open."""

    path: str
    config: str | None
    split: str
    column: str | None

    @classmethod
    def of(cls, name: str) -> "Source":
        """What a name says, see FORM; a folder's path may stand for owner/name. Raises EggsError for no name."""
        place = os.path.expanduser(name)
        if os.path.isdir(place):
            return cls(place, None, "train", None)
        match = _FOLDER.fullmatch(place)
        if match:
            check_name(match["path"])  # a public server looks at no folder, whatever stands behind its name
        if not match or not os.path.isdir(match["path"]):
            match = _NAME.fullmatch(name) if len(name) <= LONGEST_NAME else None
        if not match:
            raise EggsError(f"{name[:LONGEST_NAME]!r} is no dataset: give {FORM}; {_ALTERNATIVE}.")
        return cls(match["path"], match["config"] or None, match["split"] or "train", match["column"])


def dataset_text(name: str, characters: int = CHARACTERS) -> Text:
    """The first `characters` characters of a dataset, rows joined by empty lines, conversations one a line.

    name: see FORM; such as Salesforce/wikitext:wikitext-2-raw-v1, or the path of a folder with .txt, .json, .csv or
    .parquet files. Without a split it is "train". Rows are streamed, so the rest is never downloaded. Without a column
    it is "text", else one of conversations (chats.COLUMNS), else the only one of strings, which the text's name then
    tells. No dataset's own code is run. Raises EggsError with what to do for all that can fail.
    """
    name, characters = name.strip(), min(characters, limits().characters)
    check_name(name)
    source = Source.of(name)
    if not os.path.isdir(source.path):
        _check_hub(source.path)
    import datasets  # here, as it takes a second

    try:
        rows = datasets.load_dataset(source.path, source.config, split=source.split, streaming=True, token=_token())
        return _read(name, source.column, iter(rows), characters)
    except EggsError:
        raise
    except Exception as error:  # datasets raises many kinds; each becomes one sentence, the cause is kept
        first = (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(" .")
        raise EggsError(f"The dataset {name} could not be read: {first}; {_ALTERNATIVE}.") from error


def _token() -> bool | None:
    """No token on a public server, whose visitors must not reach what its owner's opens; else the user's own."""
    return False if hosted() else None


def _check_hub(path: str) -> None:
    """Ask the Hub for the dataset before anything else, as `datasets` tries for half a minute when there is none."""
    try:
        asking(HfApi(token=_token()).dataset_info)(path, timeout=HUB_SECONDS)
    except Exception as error:  # without a network the kind depends on the transport
        raise hub_error(error, "dataset", path, _ALTERNATIVE) or unreachable(path, _ALTERNATIVE) from error


def _read(name: str, asked: str | None, rows: Iterator[Mapping[str, Any]], characters: int) -> Text:
    """The text of a column, up to a number of characters; its name tells a column that was not asked for."""
    first = [*islice(rows, LOOKED_AT)]
    kinds = {column: _kind(row.get(column) for row in first) for row in first for column in row}
    column = asked or _only(name, kinds)
    if kinds.get(column) is None:
        raise EggsError(f"The dataset {name} has no column {column!r} of text, only {', '.join(kinds)}; name another.")
    values = (row.get(column) for row in chain(first, rows))
    told = name if asked or column == "text" else f"{name}, column {column}"
    if kinds[column] == "chats":
        return Text(told, "\n".join(_conversations(name, column, values, characters)), chats=True)
    return Text(told, "\n\n".join(_upto((v.strip() for v in values if v), characters, 2))[:characters])


def _kind(values: Iterable[Any]) -> str | None:
    """What a column holds, by some of its values: "strings", "chats", or None."""
    value = next((value for value in values if value not in (None, "", [])), None)
    return "strings" if isinstance(value, str) else "chats" if chats.is_chat(value) else None


def _only(name: str, kinds: Mapping[str, str | None]) -> str:
    """The column that a data set is read by where none is named; raises EggsError if that would be a guess."""
    if kinds.get("text") == "strings":
        return "text"
    if found := [column for column in chats.COLUMNS if kinds.get(column) == "chats"]:
        return found[0]
    strings = [column for column, kind in kinds.items() if kind == "strings"]
    if not strings:
        raise EggsError(f"The dataset {name} has no column of text, only {', '.join(kinds)}; choose another.")
    if len(strings) > 1:
        raise EggsError(
            f"The dataset {name} has the columns {', '.join(strings)}; say which holds the text: {name}#{strings[0]}."
        )
    return strings[0]


def _conversations(name: str, column: str, values: Iterable[Any], characters: int) -> Iterator[str]:
    """Conversations as lines, whole ones only."""
    try:
        yield from _upto((chats.line_of(value) for value in values if value), characters, 1, whole=True)
    except ValueError as error:
        raise EggsError(f"The column {column} of {name} holds no conversations: {error}; choose another.") from error


def _upto(parts: Iterable[str], characters: int, between: int, whole: bool = False) -> Iterator[str]:
    """Parts until their characters suffice; with `whole` the one that would be too much is left out."""
    length = 0
    for part in filter(None, parts):
        length += len(part) + between
        if whole and length > characters:
            return
        yield part
        if length >= characters:
            return
